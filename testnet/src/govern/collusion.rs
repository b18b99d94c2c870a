//! A network whose every role takes four of seven signatures, and three signers who try to get their way.

use anyhow::bail;
use trust::{
    Trust,
    ceremony::{self, Ceremony, CeremonyError, Proposal, Renew, Wanted},
};
use wire::{
    Bytes, MultiSigned, PublicKey, Signer, Timestamp,
    membership::{Committee, Denied, Municipality, RoleKeys, TrustList, TrustTimestamp},
};

use super::Table;
use crate::{
    citizen::{PhoneKey, now},
    roster,
};

const DAY_MS: u64 = 24 * 3_600_000;
const FRESH: (u64, u64) = (DAY_MS, 14 * DAY_MS);

/// Seven people, with a key for each role.
struct Signers([Vec<PhoneKey>; 3]);

impl Signers {
    fn seven() -> anyhow::Result<Self> {
        let keys = || (0..7).map(|_| PhoneKey::generate()).collect::<anyhow::Result<Vec<_>>>();
        Ok(Self([keys()?, keys()?, keys()?]))
    }

    fn first(&self, people: usize) -> impl Iterator<Item = &PhoneKey> {
        self.0.iter().flat_map(move |role| &role[..people])
    }
}

fn role(keys: &[PhoneKey], threshold: u32) -> RoleKeys {
    let mut keys: Vec<PublicKey> = keys.iter().map(Signer::public_key).collect();
    keys.sort();
    RoleKeys { keys, threshold }
}

/// What three try, in words, and how.
type Attempt = (&'static str, fn(&mut Wanted, &Signers));

const ATTEMPTS: [Attempt; 4] = [
    ("make a firm a municipality", |wanted, _| wanted.list.municipalities.push(firm())),
    ("lower the root's threshold to three", |wanted, _| wanted.root.threshold = 3),
    ("be the only ones who sign roots", |wanted, signers| {
        wanted.root = role(&signers.0[0][..3], 3);
    }),
    ("lower the list's threshold, and admit the firm", |wanted, _| {
        wanted.trust_list.threshold = 3;
        wanted.list.municipalities.push(firm());
    }),
];

/// Every attempt fails; each is a row with the reason.
pub fn attempts(table: &mut Table) -> anyhow::Result<()> {
    let signers = Signers::seven()?;
    let trust = found(&signers)?;
    table.row("three of seven collude, where it takes four", "", true);
    for (what, change) in ATTEMPTS {
        let mut wanted = Wanted::of(&trust);
        change(&mut wanted, &signers);
        let mut ceremony = Ceremony::new(Some(trust.clone()));
        for proposal in ceremony::propose(Some(&trust), &wanted, Renew::Changed, now())? {
            ceremony.add(proposal)?;
        }
        ceremony.add(ceremony.draft_timestamp(now(), FRESH)?)?;
        failed(table, what, ceremony, &signers)?;
    }
    let mut ceremony = Ceremony::new(Some(trust.clone()));
    let Proposal::Timestamp(draft) = ceremony.draft_timestamp(now(), FRESH)? else {
        bail!("a timestamp was asked for")
    };
    let victim = roster::CITIES[0].organisation();
    let denylist = vec![Denied::Organisation(victim)];
    let struck = TrustTimestamp { denylist, ..draft.unverified().clone() };
    ceremony.add(Proposal::Timestamp(MultiSigned::new(struck)))?;
    failed(table, "strike a city off", ceremony, &signers)?;
    let mut ceremony = Ceremony::new(Some(trust.clone()));
    ceremony.add(ceremony.draft_timestamp(now(), (DAY_MS, 3650 * DAY_MS))?)?;
    failed(table, "keep the network on today's list for ten years", ceremony, &signers)?;
    // What was true once, and was signed by enough, is no way back.
    let mut ceremony = Ceremony::new(Some(trust.clone()));
    ceremony.add(ceremony.draft_timestamp(now(), FRESH)?)?;
    sign(&mut ceremony, signers.first(4))?;
    let (_, newer) = ceremony.publish(now())?;
    let back = newer.update(trust.file(), now());
    let seen = back.err().map(|error| error.to_string());
    let met = seen.is_some();
    table.row("  hand in an older trust file", seen.unwrap_or_else(|| "taken".to_owned()), met);
    Ok(())
}

fn failed(
    table: &mut Table,
    what: &str,
    mut ceremony: Ceremony,
    signers: &Signers,
) -> anyhow::Result<()> {
    sign(&mut ceremony, signers.first(3))?;
    let outcome = ceremony.publish(now());
    let met = matches!(outcome, Err(CeremonyError::NotEnough { signed: 3, needed: 4, .. }));
    let seen = outcome.err().map_or("published".to_owned(), |error| error.to_string());
    table.row(format!("  {what}"), seen, met);
    Ok(())
}

fn sign<'a>(
    ceremony: &mut Ceremony,
    signers: impl Iterator<Item = &'a PhoneKey>,
) -> anyhow::Result<()> {
    for signer in signers {
        match ceremony.sign(signer) {
            // Of a role in which nothing changes.
            Err(CeremonyError::NoSay(_)) => {}
            signed => drop(signed?),
        }
    }
    Ok(())
}

fn found(signers: &Signers) -> anyhow::Result<Trust> {
    let [root, trust_list, timestamp] = signers.0.each_ref().map(|keys| role(keys, 4));
    let city = |city: &roster::Participant| Municipality {
        organisation: city.organisation(),
        name: city.name.to_owned(),
    };
    let list = TrustList {
        version: 0,
        issued: Timestamp(0),
        expires: Timestamp(0),
        authorities: vec![],
        municipalities: roster::CITIES.iter().map(city).collect(),
        witnesses: vec![],
        committee: Committee { members: vec![], threshold: 0, public_key: Bytes(vec![]) },
        denied: vec![],
    };
    let (root_ms, list_ms) = (365 * DAY_MS, 90 * DAY_MS);
    let wanted = Wanted { testnet: true, root, trust_list, timestamp, list, root_ms, list_ms };
    let mut founding = Ceremony::new(None);
    for proposal in ceremony::propose(None, &wanted, Renew::Changed, now())? {
        founding.add(proposal)?;
    }
    founding.add(founding.draft_timestamp(now(), FRESH)?)?;
    sign(&mut founding, signers.first(4))?;
    Ok(founding.publish(now())?.1)
}

fn firm() -> Municipality {
    let firm = &roster::PROVIDERS[0];
    Municipality { organisation: firm.organisation(), name: firm.name.to_owned() }
}
