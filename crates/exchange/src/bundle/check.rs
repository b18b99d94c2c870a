//! Checking a bundle, step by step, each step by name.

mod channels;
mod confirmed;

use std::collections::{BTreeMap, BTreeSet};

use consent::{PairState, Query, UseCount, evaluate, evaluate::use_after};
use evidence::{note::log_origin, record::Release};
use trust::{Member, Trust, verify_identity};
use wire::{
    DecisionId, Message, MultiSigned, NetworkId, Signed, Timestamp, Verified,
    channel::{ChannelId, Grant},
    exchange::{Receipt, Request},
    membership::{NodeIdentity, Role, Root, TrustFile, TrustList, TrustTimestamp},
};

use super::{Bundle, ConfirmedDeny, FORMAT};
use crate::{
    credential::{CLOCK_SKEW_MS, CheckedPresentation, Expected, Terms, check_presentation},
    request::{Authentic, Received},
    source::{LONGEST_STATUS_AGE_MS, PresentConsent},
};

/// One thing that was checked, in words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    pub detail: String,
}

/// What a bundle proves.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub checks: Vec<Check>,
    /// What no bundle of this form can show.
    pub not_checked: Vec<&'static str>,
    pub release: Release,
    pub released_at: Timestamp,
    pub presentation: CheckedPresentation,
}

/// Which check failed, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{check}: {reason}")]
pub struct BundleError {
    pub check: &'static str,
    pub reason: String,
}

impl BundleError {
    /// Whether all of the bundle holds, and a deny or its receipt that was handed in with it does not.
    pub fn is_about_a_deny(&self) -> bool {
        self.check == confirmed::UNUSABLE
    }
}

fn failed<E: ToString>(check: &'static str) -> impl FnOnce(E) -> BundleError {
    move |reason| BundleError { check, reason: reason.to_string() }
}

fn ensure(check: &'static str, holds: bool, reason: &str) -> Result<(), BundleError> {
    if holds { Ok(()) } else { Err(BundleError { check, reason: reason.to_owned() }) }
}

/// Checks a bundle under the genesis root with this hash. Pure: the same bundle and root give the
/// same verdict anywhere, at any time.
pub fn verify(bytes: &[u8], root: &NetworkId) -> Result<Verdict, BundleError> {
    verify_against(bytes, root, &[])
}

/// The same against denies that the citizen got a receipt for: a source that did not show one of them, or
/// went by an older head than it had told, is caught by its own word or that of the home.
pub fn verify_against(
    bytes: &[u8],
    root: &NetworkId,
    confirmed: &[ConfirmedDeny],
) -> Result<Verdict, BundleError> {
    let bundle = Bundle::from_bytes(bytes).map_err(failed("file"))?;
    ensure("file", bundle.format == FORMAT, "not an evidence bundle of this version")?;
    let mut checks = vec![Check { name: "file", detail: format!("{} bytes", bytes.len()) }];
    let mut passed = |name, detail| checks.push(Check { name, detail });

    // The time of the release is needed to open the trust list, and proven further down.
    let claimed = evidence::record::Record::from_bytes(&bundle.release.record)
        .map_err(failed("release record"))?;
    let at = claimed.time;
    let trust = Trust::open(&bundle.trust, root, at).map_err(failed("trust list"))?;
    check_surplus(&bundle.trust, root).map_err(failed("trust list"))?;
    let versions = trust.versions();
    passed("trust list", format!("root {}, list {}, network {root}", versions.root, versions.list));

    let source = member("source", &bundle.source, &trust, at)?;
    let recipient = member("recipient", &bundle.recipient, &trust, at)?;
    let home = member("home", &bundle.home, &trust, at)?;
    ensure("home", home.has_role(Role::Home), "its descriptor names no such role")?;
    for (name, member) in [("source", &source), ("recipient", &recipient), ("home", &home)] {
        passed(name, format!("{} ({})", member.name, member.organisation));
    }

    let (release, log_index) = check_release(&bundle, &source, &trust, &mut passed)?;
    let request = check_request(&release, &recipient, &trust, at)?;
    let asked = request.request();
    passed("request", format!("{} by {}", release.request_id, release.recipient));
    match &bundle.grant {
        Some(grant) => {
            check_lease(grant, &release, &home, &trust, at)?;
            passed("lease", format!("granted by {} and live at the release", home.name));
        }
        None => {
            let on_present = release.lease.is_none() && asked.present_consent.is_some();
            ensure("lease", on_present, "there is none, and no present-consent")?;
            passed("lease", "none: released on a present-consent".to_owned());
        }
    }
    check_channel("channel head", &release.channel, &release, &home)?;
    let heads = channels::check_heads(&bundle.channels, &release, &trust, at)?;
    passed("channel head", channels::describe(&heads, &release));
    let homes: Vec<_> = heads.iter().map(|head| head.statement().channel.home.clone()).collect();
    let pair = channels::replay(heads, &bundle.channels, &release, &trust, at)?;
    let entries: usize = bundle.channels.iter().map(|channel| channel.entries.len()).sum();
    passed("decisions", format!("all {entries} entries of the pair"));

    let present = check_present(&request, &release, &pair, &trust, at)?;
    if let Some(present) = &present {
        let age_s = at.ms_since(present.status()) / 1000;
        let said = "signed at the counter for this request";
        passed("present-consent", format!("{said}; its certificate was good {age_s} s before"));
    }
    let pair = match &present {
        Some(present) => present.joined(&pair, release.lease.is_none()),
        None => pair,
    };
    check_consent(&pair, &release, asked, at)?;
    passed("consent", format!("permitted by {}", names(&release.permits)));
    let presentation = check_released(&bundle, &release, asked, &trust, at)?;
    let terms = |id| pair.permits.get(id).map(|standing| Terms::of(&standing.permit));
    let fits = presentation.terms().iter().all(|(id, said)| terms(id).as_ref() == Some(said));
    ensure("presentation", fits, "its terms are not those of the permits")?;
    passed("presentation", format!("{} items, {}", release.items.len(), release.presentation));
    match &bundle.receipt {
        Some(receipt) => {
            check_receipt(receipt, &release, &recipient, &trust)?;
            passed("receipt", format!("signed by {}", recipient.name));
        }
        None => passed("receipt", "none came".to_owned()),
    }
    // Last: a deny that proves nothing must not hide what the bundle does.
    for (number, deny) in (1..).zip(confirmed) {
        let of = |mut error: BundleError| {
            error.reason = format!("number {number}: {}", error.reason);
            error
        };
        let standing = confirmed::check(deny, &pair, &homes, (&release, log_index), &trust, at);
        let standing = standing.map_err(of)?;
        let says = match standing {
            Ok(confirmed::Standing { pair, says }) => {
                check_consent(&pair, &release, asked, at).map_err(|error| BundleError {
                    check: confirmed::CHECK,
                    reason: format!("{says}; with it: {}", error.reason),
                })?;
                format!("{says}; the release heeds it")
            }
            Err(beside) => beside,
        };
        passed(confirmed::CHECK, says);
    }
    let not_checked = vec![
        "how often a counted permit had been used before",
        "denies that reached the source outside of the channels of the pair's homes, or by a former \
         home after it let go, but for those handed in with their receipt",
        "witness cosignatures and a timestamp token: this bundle carries none",
        "revocation status of the certificates, other than the denylist",
    ];
    Ok(Verdict { checks, not_checked, release, released_at: at, presentation })
}

/// A trust file passes with a threshold of signatures, whatever stands beside them: in a bundle,
/// where every byte counts, the others must be good ones too. A list may be older than the root in
/// force, and carry signatures of keys that only an earlier root names.
fn check_surplus(file: &TrustFile, network: &NetworkId) -> Result<(), String> {
    let roots = file.roots.iter().map(|bytes| MultiSigned::<Root>::decode(bytes));
    let roots = roots.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    let keys: Vec<_> = roots
        .iter()
        .map(MultiSigned::unverified)
        .flat_map(|root| [&root.root, &root.trust_list, &root.timestamp])
        .flat_map(|role| role.keys.iter().copied())
        .collect();
    fn all_known<M: Message>(
        envelope: Result<MultiSigned<M>, wire::EnvelopeError>,
        keys: &[wire::PublicKey],
        network: &NetworkId,
    ) -> Result<(), String> {
        let envelope = envelope.map_err(|error| error.to_string())?;
        let valid = envelope.signers(network, keys).map_err(|error| error.to_string())?.len();
        if valid == envelope.signatures() {
            return Ok(());
        }
        Err(format!("the {} carries a signature of a key that no root names", M::TYPE))
    }
    roots.into_iter().try_for_each(|root| all_known(Ok(root), &keys, network))?;
    all_known(MultiSigned::<TrustList>::decode(&file.trust_list), &keys, network)?;
    all_known(MultiSigned::<TrustTimestamp>::decode(&file.timestamp), &keys, network)
}

/// Evaluates the request again. A counted permit that the release does not cite may have been spent
/// before, which no bundle can show: it is taken as spent, so that it does not stand before the one
/// that is cited. What is cited must then be exactly what the items passed on.
///
/// A deny handed straight to the source, and named by a permit since, may not have come through the
/// channel yet. The source held it, and went past the permits that do not name it: so does this.
fn check_consent(
    pair: &PairState,
    release: &Release,
    request: &Request,
    at: Timestamp,
) -> Result<(), BundleError> {
    passes(pair, release, request, at).or_else(|error| {
        let mut named = pair.clone();
        named.assume_named(&release.permits);
        if named == *pair { Err(error) } else { passes(&named, release, request, at) }
    })
}

fn passes(
    pair: &PairState,
    release: &Release,
    request: &Request,
    at: Timestamp,
) -> Result<(), BundleError> {
    let spent: BTreeMap<DecisionId, UseCount> = pair
        .permits
        .iter()
        .filter(|(id, _)| !release.permits.contains(id))
        .filter_map(|(id, permit)| Some((*id, use_after(permit, UseCount::default(), at)?)))
        .map(|(id, used)| (id, UseCount { count: u32::MAX, ..used }))
        .collect();
    let query = Query {
        recipient: &request.recipient,
        recipient_subject: &request.subject,
        items: &request.items,
        whole: request.whole,
        purpose: &request.purpose,
        consent_hash: request.consent_hash(),
        at,
        released: None,
    };
    let permitted = evaluate(pair, &spent, &query).map_err(failed("consent"))?;
    let passed_on = |item| {
        let leaf = permitted.leaves().iter().find(|(leaf, _)| leaf == item);
        leaf.map(|(_, permit)| *permit)
    };
    let cited: Option<BTreeSet<_>> = release.items.iter().map(passed_on).collect();
    let cited =
        cited.ok_or("an item went out that was not permitted").map_err(failed("consent"))?;
    ensure("consent", cited.iter().eq(&release.permits), "it passed on other permits")
}

fn names(ids: &[DecisionId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn member(
    name: &'static str,
    identity: &NodeIdentity,
    trust: &Trust,
    at: Timestamp,
) -> Result<Member, BundleError> {
    verify_identity(identity, trust, at).map_err(failed(name))
}

fn check_release(
    bundle: &Bundle,
    source: &Member,
    trust: &Trust,
    passed: &mut impl FnMut(&'static str, String),
) -> Result<(Release, u64), BundleError> {
    let origin = log_origin(trust.network(), &source.organisation);
    let log_key: [u8; 32] = source.descriptor.log_key[..]
        .try_into()
        .map_err(|_| "the source's log key is not 32 bytes long")
        .map_err(failed("release record"))?;
    let proven = bundle.release.verify(&origin, &log_key).map_err(failed("release record"))?;
    let release: Release = proven.record().body().map_err(failed("release record"))?;
    ensure(
        "release record",
        source.owns(&release.pair.source) && release.channel.source == release.pair.source,
        "it is about a service that is not the source's",
    )?;
    passed(
        "release record",
        format!("entry {} of {} in the source's log", proven.index(), proven.checkpoint().size),
    );
    let index = proven.index();
    Ok((release, index))
}

/// The request as the source took it, at the time of the release.
fn check_request(
    release: &Release,
    recipient: &Member,
    trust: &Trust,
    at: Timestamp,
) -> Result<Authentic, BundleError> {
    let services = std::slice::from_ref(&release.pair.source);
    let request = Received::decode(&release.request, trust.network())
        .and_then(|request| request.authenticate(recipient, services, at))
        .map_err(failed("request"))?;
    ensure("request", request.id() == release.request_id, "the release names another request")?;
    let Request { id, recipient, .. } = request.request();
    ensure("request", *id == release.request_nonce, "the release names another request id")?;
    ensure("request", *recipient == release.recipient, "it is by another service")?;
    Ok(request)
}

fn signed_by<M: Message>(
    check: &'static str,
    bytes: &[u8],
    member: &Member,
    trust: &Trust,
) -> Result<Verified<M>, BundleError> {
    Signed::<M>::decode(bytes, trust.network())
        .and_then(|signed| signed.verify(member.organisation_key()))
        .map_err(failed(check))
}

fn check_lease(
    grant: &[u8],
    release: &Release,
    home: &Member,
    trust: &Trust,
    at: Timestamp,
) -> Result<(), BundleError> {
    let grant = signed_by::<Grant>("lease", grant, home, trust)?;
    ensure("lease", release.lease == Some(grant.id()), "the release was made under another grant")?;
    check_channel("lease", &grant.message().channel, release, home)?;
    let head = grant.message().head;
    let covers = head.position.length < release.position.length
        || (head.position == release.position && head.map == release.map);
    ensure("lease", covers, "it is for a head that the source had not applied")?;
    // The home's clock said `time` after the pull was sent, so that the source stopped no later.
    let end = grant.message().time.plus_ms(grant.message().granted_ms);
    ensure("lease", at < end.plus_ms(CLOCK_SKEW_MS), "it had run out when the release was made")?;
    let begin = at.plus_ms(CLOCK_SKEW_MS);
    ensure("lease", grant.message().time <= begin, "it was granted after the release")
}

fn check_channel(
    check: &'static str,
    channel: &ChannelId,
    release: &Release,
    home: &Member,
) -> Result<(), BundleError> {
    let fits = *channel == release.channel && channel.home == home.organisation;
    ensure(check, fits, "it is for another channel")
}

/// The present-consent that the request carries, if it carries one: looked at as the source did. How old
/// a status the source took is its own affair, within a day.
fn check_present(
    request: &Authentic,
    release: &Release,
    pair: &PairState,
    trust: &Trust,
    at: Timestamp,
) -> Result<Option<PresentConsent>, BundleError> {
    const CHECK: &str = "present-consent";
    if request.request().present_consent.is_none() {
        return Ok(None);
    }
    let present = PresentConsent::admit(request, pair, trust, LONGEST_STATUS_AGE_MS, at)
        .map_err(failed(CHECK))?;
    let theirs = present.subject() == release.pair.subject;
    ensure(CHECK, theirs, "it is by another citizen than the release is about")?;
    Ok(Some(present))
}

fn check_released(
    bundle: &Bundle,
    release: &Release,
    request: &Request,
    trust: &Trust,
    at: Timestamp,
) -> Result<CheckedPresentation, BundleError> {
    let fits = wire::sha256(&bundle.presentation) == release.presentation;
    ensure("presentation", fits, "it is not the one that was released")?;
    let expected = Expected::answer_to(request, release.request_id, at);
    let presentation = check_presentation(&bundle.presentation, &expected, trust)
        .map_err(failed("presentation"))?;
    let items: Vec<_> = presentation.items().keys().cloned().collect();
    ensure("presentation", items == release.items, "its items are not those of the release")?;
    let cites = presentation.decisions() == release.permits;
    ensure("presentation", cites, "it cites other permits than the release")?;
    Ok(presentation)
}

fn check_receipt(
    receipt: &[u8],
    release: &Release,
    recipient: &Member,
    trust: &Trust,
) -> Result<(), BundleError> {
    let receipt = signed_by::<Receipt>("receipt", receipt, recipient, trust)?;
    let Receipt { request, presentation, .. } = receipt.message();
    let fits = *request == release.request_id && *presentation == release.presentation;
    ensure("receipt", fits, "it is for another release")
}
