//! One release in a [`World`] and its evidence: an honest one, through every stage of the exchange,
//! or one that a source makes up against the rules.

use std::collections::BTreeMap;

use consent::lease::LeaseKeeper;
use evidence::{
    map,
    record::{Record, Release},
};
use exchange::{
    Ask, Authentic, ChannelView, Claims, Evaluated, Expected, PairView, Received, Terms,
    UnsignedPresentation, View,
    bundle::{Bundle, BundleError, FORMAT, Verdict, verify},
    check_presentation, receipt,
};
use trust::{testing::NOW, verify_identity};
use wire::{
    Bytes, DecisionId, Hash, ItemType, Signed, Timestamp,
    channel::Grant,
    consent::Onward,
    exchange::{ExchangeReply, Request},
    ids::Pair,
};

use crate::world::{HERE, THERE, World, hospital, item, lunch};

const ALLERGY: &str = r#"{"resourceType":"AllergyIntolerance","code":{"text":"そば"}}"#;

/// A world, one release in it, and the bundle of that release.
pub struct Case {
    pub world: World,
    pub release: Release,
    pub bundle: Bundle,
}

/// Maebashi's citizen permits the hospital, denies the insurer, and the hospital asks.
pub fn honest() -> Case {
    let mut world = World::new();
    world.permit(&hospital(), |_| ());
    world.deny(&crate::world::insurer());
    world.neighbours_deny();
    released(world)
}

/// Those of every permit here.
const TERMS: Terms = Terms {
    window: None,
    retention_days: Some(30),
    onward: Onward::Forbidden,
    valid_until: NOW.plus_ms(30 * 86_400_000),
};

/// As [`honest`], in a world that stands ready, at its clock.
pub fn released(mut world: World) -> Case {
    world.sync();
    let request = request(&mut world, "health.allergy");
    let authentic = authentic(&world, &request);
    let grant = world.grant();
    let (release, presentation) = release(&mut world, &authentic, &grant);
    let bundle = assemble(&mut world, &request, &release, presentation, &grant);
    Case { world, release, bundle }
}

/// A release of `what` that the source makes up, citing `permits`. The home plays along: it signs
/// head and lease.
pub fn forged(mut world: World, what: &str, permits: &[DecisionId]) -> Case {
    world.sync();
    let request = request(&mut world, what);
    let signed = Signed::new(request.clone(), &world.network.id, &world.hospital.signer).unwrap();
    let grant = world.grant();
    let claims = Claims {
        source: lunch(),
        recipient: hospital(),
        subject: THERE,
        request: signed.id(),
        nonce: request.nonce,
        purpose: request.purpose.clone(),
        decisions: permits.iter().map(|id| (*id, TERMS)).collect(),
        issued: world.clock,
        expires: world.clock.plus_ms(120_000),
        items: records(&[item(what)]),
    };
    let presentation = UnsignedPresentation::new(&claims, &world.credential_chain, [9; 32])
        .unwrap()
        .sign(&world.credential)
        .unwrap();
    let applied = *world.source_end.applied();
    let release = Release {
        request: signed.bytes().to_vec().into(),
        request_id: signed.id(),
        request_nonce: request.id,
        permits: claims.decisions.into_keys().collect(),
        items: vec![item(what)],
        presentation: presentation.hash(),
        pair: Pair { source: lunch(), subject: HERE },
        recipient: hospital(),
        channel: world.channel(),
        position: applied.position,
        map: applied.map,
        lease: Some(signed_id(&world, &grant)),
    };
    let bundle = assemble(&mut world, &request, &release, presentation.into_bytes(), &grant);
    Case { world, release, bundle }
}

impl Case {
    pub fn verify(&self) -> Result<Verdict, BundleError> {
        verify(&self.bundle.to_bytes(), &self.world.network.id)
    }

    /// The check that the bundle fails.
    #[track_caller]
    pub fn fails(&self) -> &'static str {
        self.verify().map(|_| ()).expect_err("a bundle that proves nothing").check
    }

    /// The source logs another release in the place of this one, at the world's clock.
    pub fn relog(&mut self, change: impl FnOnce(&mut Release)) {
        change(&mut self.release);
        self.bundle.release = self.world.logged(&Record::new(&self.release, self.world.clock));
    }

    /// The home signs another lease, and the source names it.
    pub fn regrant(&mut self, change: impl FnOnce(&mut Grant)) {
        let mut grant = self.world.grant();
        change(&mut grant);
        self.bundle.grant = self.world.sign(grant.clone(), &self.world.home.signer);
        let id = signed_id(&self.world, &grant);
        self.relog(|release| release.lease = Some(id));
    }
}

pub fn signed_id(world: &World, grant: &Grant) -> Hash {
    Signed::new(grant.clone(), &world.network.id, &world.home.signer).unwrap().id()
}

pub fn request(world: &mut World, what: &str) -> Request {
    let ask = Ask {
        source: lunch(),
        recipient: hospital(),
        subject: THERE,
        items: vec![item(what)],
        whole: true,
        purpose: "treatment".parse().unwrap(),
    };
    let (id, nonce) = (world.nonce(), world.nonce());
    ask.request(id, nonce, world.clock, 60_000).unwrap()
}

fn authentic(world: &World, request: &Request) -> Authentic {
    let bytes = world.sign(request.clone(), &world.hospital.signer);
    let trust = &world.network.trust;
    let member = verify_identity(&world.hospital.identity, trust, world.clock).unwrap();
    Received::decode(&bytes, &world.network.id)
        .unwrap()
        .authenticate(&member, &[lunch()], world.clock)
        .unwrap()
}

pub fn records(items: &[ItemType]) -> BTreeMap<ItemType, exchange::Record> {
    let record = exchange::Record::from_json(ALLERGY.as_bytes()).unwrap();
    items.iter().map(|item| (item.clone(), record.clone())).collect()
}

/// Every stage at the source, with the use it spends.
fn release(world: &mut World, authentic: &Authentic, grant: &Grant) -> (Release, Vec<u8>) {
    let (channel, now) = (world.channel(), world.now());
    let mut keeper = LeaseKeeper::new(channel.clone());
    keeper.sending(grant.nonce, now);
    keeper.granted(grant, signed_id(world, grant)).unwrap();
    let applied = *world.source_end.applied();
    let lease = keeper.live(&applied.position, now);
    let state = world.source_store.pairs[&HERE].clone();
    let view = View {
        pair: Some(PairView {
            subject: &HERE,
            state: &state,
            channel: Some(ChannelView { id: &channel, applied: &applied, lease }),
        }),
        uses: &world.source_store.uses,
        present: None,
        previous: None,
        at: world.clock,
    };
    let Evaluated::Fetch(allowed) = authentic.evaluate(&view).unwrap() else {
        panic!("released before")
    };
    let leaves: Vec<_> = allowed.leaves().iter().map(|(leaf, _)| leaf.clone()).collect();
    let prepared = allowed
        .prepare(records(&leaves), &world.credential_chain, [9; 32], world.clock)
        .unwrap()
        .sign(&world.credential)
        .unwrap();
    let committed = prepared.commit(&view).unwrap();
    let write = committed.write().unwrap();
    let release = write.released.release.clone();
    let uses = write.uses.to_vec();
    let ExchangeReply::Presentation(sent) = committed.send(&view).unwrap() else {
        panic!("no presentation")
    };
    world.source_store.uses.extend(uses);
    (release, sent.0)
}

/// Puts the evidence together, as the source's node does when it is asked for a bundle.
fn assemble(
    world: &mut World,
    request: &Request,
    release: &Release,
    presentation: Vec<u8>,
    grant: &Grant,
) -> Bundle {
    let at = world.clock;
    let proof = world.logged(&Record::new(release, at));
    let statement = world.statement(*world.source_end.applied());
    let entries = world.source_store.source_entries.iter();
    Bundle {
        format: FORMAT.to_owned(),
        trust: world.network.file.clone(),
        source: world.lunch.identity.clone(),
        recipient: world.hospital.identity.clone(),
        home: world.home.identity.clone(),
        release: proof,
        receipt: Some(receipt_of(world, request, release, &presentation, at)),
        presentation: presentation.into(),
        grant: world.sign(grant.clone(), &world.home.signer),
        statement: world.sign(statement, &world.home.signer),
        entries: entries.filter(|entry| entry.subject == HERE).cloned().collect(),
        map_proof: map::prove(&world.source_store.map, &Hash(HERE.0)).unwrap(),
    }
}

/// The hospital checks what came and signs for it.
fn receipt_of(
    world: &World,
    request: &Request,
    release: &Release,
    presentation: &[u8],
    at: Timestamp,
) -> Bytes {
    let expected = Expected::answer_to(request, release.request_id, at);
    let checked = check_presentation(presentation, &expected, &world.network.trust).unwrap();
    world.sign(receipt::receipt(&checked, at.plus_ms(50)), &world.hospital.signer)
}
