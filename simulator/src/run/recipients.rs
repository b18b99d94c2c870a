//! Recipients and their systems: asking until there is an answer, receipts until they are noted.

use exchange::Answer;

use super::{Event, NO_WRITE, Run, at};
use crate::{
    cast::{Paper, PaperId, PlainRequest, RequestId, Says},
    script::What,
    world::{Flight, NodeId},
};

/// A system that got no answer asks so often in all.
pub(super) const TRIES: u32 = 3;

impl Run<'_> {
    /// What a recipient's system wants to know, with the time that its node's clock shows.
    pub(super) fn new_request(&mut self, plain: PlainRequest, fetch_ms: u64) -> RequestId {
        let node = self.cast.homes.len() + self.cast.sources.len() + plain.recipient;
        let request = self.cast.ask(plain, self.world.now(node).wall);
        self.fetches.insert(request, fetch_ms);
        request
    }

    /// A message arrives; at a source that begins to answer, the records come some time later.
    pub(super) fn arrive(&mut self, flight: &Flight) {
        let what = match flight {
            Flight::Pull { .. } => "answer to a pull",
            Flight::Pulled { .. } => "entries pulled",
            Flight::Push { .. } => "entries pushed",
            Flight::Applied { .. } => "acknowledgement",
            Flight::Reply { .. } => "answer received",
            Flight::Receipt { .. } => "receipt",
            Flight::Noted { .. } => "receipt crossed off",
            Flight::Forked { .. } | Flight::Request { .. } => NO_WRITE,
        };
        let to = flight.to();
        let Flight::Request { request, .. } = flight else {
            return self.at_node(to, what, |world, cast| world.deliver(cast, flight));
        };
        let is_answering = |run: &Self| run.world.nodes[to].memory.answers.contains_key(request);
        let before = is_answering(self);
        self.world.deliver(&self.cast, flight);
        if !before && is_answering(self) {
            let fetch_ms = self.fetches.get(request).copied().unwrap_or(0);
            self.schedule(self.world.true_ms + fetch_ms, Event::Commit(*request));
        }
    }

    /// An answer leaves, once the witnesses know what they must; the source waits 3 s for them.
    pub(super) fn leave(&mut self, request: RequestId, tries: u32) {
        let source = self.world.source(&self.cast, self.cast.request(request).pair);
        if self.world.may_leave(source, request) {
            self.world.leave(&self.cast, request);
        } else if tries < 100 {
            let leave = Event::Leave { request, tries: tries + 1 };
            self.schedule(self.world.true_ms + 30, leave);
        } else {
            self.count("answers given up for lack of cosignatures");
            self.world.give_up_answer(&self.cast, request);
        }
    }

    fn is_pending(&self, node: NodeId, request: RequestId) -> bool {
        let own = self.world.nodes[node].disk.requests.get(&request);
        let answer = own.and_then(|own| own.stored()).map(|stored| &stored.answer);
        matches!(answer, None | Some(Answer::Prepared | Answer::Pending))
    }

    pub(super) fn ask(&mut self, request: RequestId, tries: u32) {
        let node = self.world.recipient(&self.cast, request);
        self.at_node(node, "request", |world, cast| world.ask(cast, request));
        if tries < TRIES && self.is_pending(node, request) {
            let wait_ms = self.luck(("ask", request)).u64(10_000..40_000);
            let again = Event::Ask { request, tries: tries + 1 };
            self.schedule(self.world.true_ms + wait_ms, again);
        }
    }

    /// The citizen reads the request at the counter and signs.
    pub(super) fn sign(&mut self, request: RequestId, script: usize) {
        let What::Present { pair, phone, names, status_old_ms, .. } = self.script[script].what
        else {
            return;
        };
        let reopens = self.named(pair, phone, names);
        let status_ms = self.world.true_ms - status_old_ms;
        let says = Says::Present { request, reopens, status_ms };
        let paper = self.cast.write(Paper { pair, phone, says }, at(self.world.true_ms));
        self.attach(request, paper, 0);
    }

    pub(super) fn attach(&mut self, request: RequestId, paper: PaperId, tries: u32) {
        let node = self.world.recipient(&self.cast, request);
        // Its write was lost with the node: the desk begins again, with the same request.
        self.at_node(node, "prepared request", |world, cast| world.prepare(cast, request));
        let step = |world: &mut crate::world::World, cast: &_| world.attach(cast, request, paper);
        self.at_node(node, "request with a present-consent", step);
        if tries < TRIES && self.is_pending(node, request) {
            let wait_ms = self.luck(("attach", request)).u64(10_000..40_000);
            let again = Event::Attach { request, paper, tries: tries + 1 };
            self.schedule(self.world.true_ms + wait_ms, again);
        }
    }

    pub(super) fn send_receipts(&mut self, node: NodeId) {
        let requests = &self.world.nodes[node].disk.requests;
        let owed = requests.iter().filter(|(_, own)| own.owed().is_some());
        let owed: Vec<_> = owed.map(|(request, _)| *request).collect();
        for request in owed {
            self.world.send_receipt(&self.cast, request);
        }
    }
}
