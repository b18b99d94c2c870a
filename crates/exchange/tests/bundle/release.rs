//! One release in a [`World`] and its evidence: an honest one, through every stage of the exchange,
//! or one that a source makes up against the rules.

use std::collections::BTreeMap;

use consent::lease::{LeaseKeeper, NoLease};
use evidence::record::{Record, Release};
use exchange::{
    Ask, Authentic, ChannelView, Claims, Evaluated, Expected, PairView, PresentConsent, Received,
    Terms, UnsignedPresentation, View,
    bundle::{Bundle, BundleError, FORMAT, Verdict, verify},
    check_presentation, receipt,
    source::STATUS_AGE_MS,
};
use trust::{testing::NOW, verify_identity};
use wire::{
    Bytes, DecisionId, Hash, ItemType, Signed, Timestamp,
    channel::Grant,
    citizen::{CertificateStatus, Standing},
    consent::{Attested, Onward, Permit, Uses},
    exchange::{self as messages, ExchangeReply, Request},
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
    let (release, presentation) = release(&mut world, &authentic, Some(&grant));
    let bundle = assemble(&mut world, &request, &release, presentation, Some(&grant));
    Case { world, release, bundle }
}

/// A release without a lease, on a permit that the citizen signed at the counter, changed by `change`.
pub fn at_the_counter(mut world: World, change: impl FnOnce(&mut Permit)) -> Case {
    world.sync();
    let request = present(&mut world, change, |_| ());
    let authentic = authentic(&world, &request);
    let (release, presentation) = release(&mut world, &authentic, None);
    let bundle = assemble(&mut world, &request, &release, presentation, None);
    Case { world, release, bundle }
}

/// The hospital's request with a present-consent for it; its permit and status may be changed before
/// they are signed.
pub fn present(
    world: &mut World,
    change: impl FnOnce(&mut Permit),
    alter: impl FnOnce(&mut CertificateStatus),
) -> Request {
    let bare = request(world, "health.allergy");
    let permit = world.signed_permit(&hospital(), |permit| {
        permit.request = Some(bare.consent_hash());
        permit.uses = Uses::Once;
        change(permit);
    });
    let mut status = CertificateStatus {
        certificate: wire::sha256(&permit.chain[0]),
        standing: Standing::Good,
        time: Timestamp(world.clock.0 - 5_000),
    };
    alter(&mut status);
    // The first city certified the phone, wherever the citizen lives now.
    let city = world.network.city(0);
    let status = Attested { object: world.sign(status, &city.signer), chain: city.chain };
    Request { present_consent: Some(messages::PresentConsent { permit, status }), ..bare }
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
    let bundle = assemble(&mut world, &request, &release, presentation.into_bytes(), Some(&grant));
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
        self.bundle.grant = Some(self.world.sign(grant.clone(), &self.world.home.signer));
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

pub fn authentic(world: &World, request: &Request) -> Authentic {
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

/// Every stage at the source, with the use it spends; on a present-consent without a grant.
fn release(world: &mut World, authentic: &Authentic, grant: Option<&Grant>) -> (Release, Vec<u8>) {
    let (channel, now) = (world.channel(), world.now());
    let mut keeper = LeaseKeeper::new(channel.clone());
    let applied = *world.source_end.applied();
    let lease = match grant {
        Some(grant) => {
            keeper.sending(grant.nonce, now);
            keeper.granted(grant, signed_id(world, grant)).unwrap();
            keeper.live(&applied.position, now)
        }
        None => Err(NoLease::Never),
    };
    let state = world.source_store.pairs[&HERE].clone();
    let present = authentic.request().present_consent.is_some().then(|| {
        let trust = &world.network.trust;
        PresentConsent::admit(authentic, &state, trust, STATUS_AGE_MS, world.clock).unwrap()
    });
    let view = View {
        pair: Some(PairView {
            subject: &HERE,
            state: &state,
            channel: Some(ChannelView { id: &channel, applied: &applied, lease }),
        }),
        uses: &world.source_store.uses,
        present: present.as_ref(),
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
    grant: Option<&Grant>,
) -> Bundle {
    let at = world.clock;
    let proof = world.logged(&Record::new(release, at));
    let channels = world.former.iter().cloned().chain([world.extract()]).collect();
    Bundle {
        format: FORMAT.to_owned(),
        trust: world.network.file.clone(),
        source: world.lunch.identity.clone(),
        recipient: world.hospital.identity.clone(),
        home: world.home.identity.clone(),
        release: proof,
        receipt: Some(receipt_of(world, request, release, &presentation, at)),
        presentation: presentation.into(),
        grant: grant.map(|grant| world.sign(grant.clone(), &world.home.signer)),
        channels,
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
