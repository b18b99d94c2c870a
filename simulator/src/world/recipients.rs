//! Recipients: a request is durable before it leaves, of two answers the first stands, a receipt is owed
//! until the source has it. What to do is the machine's to say; this is the shell around it.

use exchange::{Answer, Next, OwnRequest};
use wire::{
    Bytes, Signed,
    exchange::{ExchangeReply, Request},
};

use super::{Flight, NodeId, World};
use crate::{
    cast::{Cast, PaperId, RequestId},
    shared::Shared,
};

impl World {
    fn own(&self, node: NodeId, request: RequestId) -> OwnRequest {
        let own = self.nodes[node].disk.requests.get(&request);
        own.map(|own| (**own).clone()).unwrap_or_default()
    }

    /// One durable write. Its witness sees it at once: a recipient waits for none before it goes on, so
    /// that of what they have not seen nothing is promised.
    fn keep(
        &mut self,
        cast: &Cast,
        node: NodeId,
        request: RequestId,
        own: &OwnRequest,
        logs: bool,
    ) {
        self.nodes[node].update(|node| {
            node.disk.update(|disk| {
                if logs {
                    disk.append(&(request, own));
                }
                if *own != OwnRequest::default() {
                    disk.requests.insert(request, Shared::new(own.clone()));
                }
            });
        });
        self.cosign(cast, node);
        self.judge_recipient(node, |kept| kept == request);
    }

    /// What a recipient gave out and owes is there.
    pub(super) fn judge_recipient(&mut self, node: NodeId, which: impl Fn(RequestId) -> bool) {
        if let Some(found) = self.judge.lacks(&self.nodes[node].disk, which) {
            self.judge.update(|judge| judge.violated(found));
        }
    }

    /// The recipient's system asks, for the first time or again.
    pub fn ask(&mut self, cast: &Cast, request: RequestId) {
        let node = self.recipient(cast, request);
        if !self.nodes[node].serves() {
            return;
        }
        let own = self.own(node, request);
        match own.ask(&cast.question(request), &cast.network.id) {
            Ok(Next::New) => {
                let made = self.judge.asked.get(&request).map_or(0, |_| 1);
                self.begin(cast, request, own, &cast.draft(request, made));
            }
            Ok(Next::Send(signed)) => self.send_request(cast, request, &signed),
            Ok(Next::Sign(_) | Next::Ended) | Err(_) => {}
        }
    }

    /// A citizen stands at the counter: the request is made and kept, not sent.
    pub fn prepare(&mut self, cast: &Cast, request: RequestId) {
        let node = self.recipient(cast, request);
        if !self.nodes[node].serves() {
            return;
        }
        let mut own = self.own(node, request);
        let before = own.clone();
        let prepared = own.prepare(&cast.question(request), cast.draft(request, 0));
        if prepared.is_ok() && own != before {
            self.keep(cast, node, request, &own, false);
        }
    }

    /// The citizen signed a present-consent for a request that was prepared.
    pub fn attach(&mut self, cast: &Cast, request: RequestId, paper: PaperId) {
        let node = self.recipient(cast, request);
        if !self.nodes[node].serves() {
            return;
        }
        let own = self.own(node, request);
        match own.attach(&cast.present(paper), &cast.network.id) {
            Ok(Next::Sign(joined)) => self.begin(cast, request, own, &joined),
            Ok(Next::Send(signed)) => self.send_request(cast, request, &signed),
            Ok(Next::New | Next::Ended) | Err(_) => {}
        }
    }

    fn begin(&mut self, cast: &Cast, request: RequestId, mut own: OwnRequest, bare: &Request) {
        let node = self.recipient(cast, request);
        let signed = cast.sign_request(request, bare);
        if own.begin(&signed).is_err() {
            return;
        }
        self.keep(cast, node, request, &own, true);
        self.send_request(cast, request, &signed);
    }

    fn send_request(&mut self, cast: &Cast, request: RequestId, signed: &Signed<Request>) {
        self.judge.update(|judge| judge.asks(request, signed.id()));
        let (from, to) =
            (self.recipient(cast, request), self.source(cast, cast.request(request).pair));
        let signed = Shared::new(Bytes(signed.bytes().to_vec()));
        self.send(Flight::Request { from, to, request, signed });
    }

    /// The source's reply comes, perhaps late, perhaps a second one.
    pub(super) fn receive(&mut self, cast: &Cast, request: RequestId, reply: &ExchangeReply) {
        let node = self.recipient(cast, request);
        let mut own = self.own(node, request);
        let kept = own.stored().filter(|stored| stored.answer != Answer::Prepared);
        let signed = kept.and_then(|kept| Signed::decode(&kept.request, &cast.network.id).ok());
        let Some(signed) = signed else { return };
        let now = self.now(node).wall;
        let Ok(ending) = cast.ending(reply, &signed, now) else { return };
        if own.settle(&signed, &ending, now).is_none() {
            return;
        }
        let answer = own.stored().map(|stored| &stored.answer);
        if let Some(Answer::Presented { presentation, .. }) = answer {
            let presentation = wire::sha256(presentation);
            self.judge.update(|judge| judge.given(request, presentation));
        }
        self.keep(cast, node, request, &own, true);
        self.send_receipt(cast, request);
    }

    /// A receipt that is owed goes out, for the first time or again.
    pub fn send_receipt(&mut self, cast: &Cast, request: RequestId) {
        let node = self.recipient(cast, request);
        if !self.nodes[node].serves() {
            return;
        }
        let own = self.own(node, request);
        let Some((_, receipt)) = own.owed() else { return };
        let signed = Shared::new(cast.sign_receipt(request, receipt));
        let to = self.source(cast, cast.request(request).pair);
        self.send(Flight::Receipt { from: node, to, request, signed });
    }

    /// The source takes a receipt: durable before it says so.
    pub(super) fn note(
        &mut self,
        cast: &Cast,
        (from, source): (NodeId, NodeId),
        request: RequestId,
        signed: &Bytes,
    ) {
        let now = self.now(source).wall;
        let disk = &self.nodes[source].disk;
        let Some(stored) = disk.releases.get(&request) else { return };
        if !cast.receipt_holds(request, signed, &stored.released, now) {
            return;
        }
        if !disk.receipts.contains(&request) {
            self.nodes[source].update(|node| {
                node.disk.update(|disk| {
                    disk.append(&("receipt", request));
                    disk.receipts.insert(request);
                });
            });
            self.judge.update(|judge| judge.noted(request));
        }
        self.send(Flight::Noted { from: source, to: from, request });
    }

    pub(super) fn noted(&mut self, cast: &Cast, request: RequestId) {
        let node = self.recipient(cast, request);
        let mut own = self.own(node, request);
        if own.owed().is_some() {
            own.noted();
            self.keep(cast, node, request, &own, false);
        }
    }
}
