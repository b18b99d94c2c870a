//! What the source had applied of the pair: the channel of each of its homes, all of it, and what comes
//! of it.

use consent::{CheckedExtract, CheckedHead, PairState, home::adopt, moving};
use evidence::record::Release;
use trust::Trust;
use wire::{Timestamp, channel::PairExtract};

use super::{BundleError, ensure, failed};

/// Checks the homes' words on the heads. One of them is that of the release.
pub(super) fn check_heads(
    channels: &[PairExtract],
    release: &Release,
    trust: &Trust,
    at: Timestamp,
) -> Result<Vec<CheckedHead>, BundleError> {
    const CHECK: &str = "channel head";
    let mut heads: Vec<CheckedHead> = Vec::with_capacity(channels.len());
    for extract in channels {
        let head = CheckedHead::check(&extract.statement, &release.pair.source, trust, at)
            .map_err(failed(CHECK))?;
        let channel = &head.statement().channel;
        let twice = heads.iter().any(|before| before.statement().channel == *channel);
        ensure(CHECK, !twice, "one channel stands twice")?;
        if *channel == release.channel {
            let head = head.statement().head;
            let fits = head.position == release.position && head.map == release.map;
            ensure(CHECK, fits, "the release was made at another head")?;
        }
        heads.push(head);
    }
    let there = heads.iter().any(|head| head.statement().channel == release.channel);
    ensure(CHECK, there, "it is for another channel")?;
    Ok(heads)
}

pub(super) fn describe(heads: &[CheckedHead], release: &Release) -> String {
    let former: Vec<_> = heads
        .iter()
        .map(|head| &head.statement().channel.home)
        .filter(|home| **home != release.channel.home)
        .map(ToString::to_string)
        .collect();
    let own = format!("{} entries, signed by the home", release.position.length);
    match former.is_empty() {
        true => own,
        false => format!("{own}; of the homes before, {}, by theirs", former.join(", ")),
    }
}

/// Lets every entry of the pair act on an empty state, and proves that there were no others.
pub(super) fn replay(
    heads: Vec<CheckedHead>,
    channels: &[PairExtract],
    release: &Release,
    trust: &Trust,
    at: Timestamp,
) -> Result<PairState, BundleError> {
    const CHECK: &str = "decisions";
    let mut extracts: Vec<CheckedExtract> = Vec::with_capacity(heads.len());
    for (head, extract) in heads.into_iter().zip(channels) {
        let PairExtract { entries, map_proof, .. } = extract;
        let proven = head.prove(entries, map_proof, &release.pair.subject);
        extracts.push(proven.map_err(failed(CHECK))?);
    }
    let of = |extract: &CheckedExtract| extract.statement().channel.clone();
    let ids: Vec<_> = extracts.iter().map(of).collect();
    let read = ids.iter().zip(&extracts).map(|(id, extract)| (id, extract.entries()));
    let ordered = moving::in_order(read, trust.network());
    let in_order = ordered.iter().map(|(id, _)| *id).eq(&ids);
    ensure(
        CHECK,
        in_order,
        "the channels are not in the order in which their homes were the pair's",
    )?;
    let mut pair = PairState::default();
    for (channel, entries) in ordered {
        pair = adopt(channel, pair, entries, trust, at);
    }
    let is_home = pair.home.as_ref() == Some(&release.channel.home);
    ensure(CHECK, is_home, "by them another municipality is the pair's home")?;
    let theirs = ids
        .iter()
        .all(|id| id.home == release.channel.home || pair.former_homes.contains(&id.home));
    ensure(CHECK, theirs, "the channel of a municipality that never was the pair's home")?;
    Ok(pair)
}
