//! Whether a recorded history keeps the promises. A pure function: it sees what wallets were told,
//! what recipients' systems received and what the nodes' evidence says, and trusts none of them
//! alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use wire::{DecisionId, Hash, Nonce};

use super::history::{Asked, Got, Handed, History, Lane, Made, Ms, Place, Said, Via};

/// How far two readings of one clock by two processes may seem to differ: each is cut to a whole
/// millisecond. Nothing else is allowed for, as all clocks of a run are this machine's.
pub const READING_MS: u64 = 2;

/// What is looked at. The text says what must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    NothingOnceInForce,
    NothingBeyondTheLease,
    PermitCited,
    AcknowledgedKept,
    EverythingApplied,
    AcceptedWhenSaid,
    ReleasedOnce,
    ReceivedAsReleased,
    SpentOnce,
    DenyNeverRefused,
    HeadsNeverGoBack,
    RuleAtTheEnd,
}

impl Check {
    pub const ALL: [Self; 12] = [
        Self::NothingOnceInForce,
        Self::NothingBeyondTheLease,
        Self::PermitCited,
        Self::AcknowledgedKept,
        Self::EverythingApplied,
        Self::AcceptedWhenSaid,
        Self::ReleasedOnce,
        Self::ReceivedAsReleased,
        Self::SpentOnce,
        Self::DenyNeverRefused,
        Self::HeadsNeverGoBack,
        Self::RuleAtTheEnd,
    ];
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NothingOnceInForce => "no data to a request begun after a deny was in force (S2)",
            Self::NothingBeyondTheLease => "no release later than the lease after a deny (S1)",
            Self::PermitCited => "data only on a permit of that citizen for just that",
            Self::AcknowledgedKept => "an acknowledged decision is in the register",
            Self::EverythingApplied => "every registered decision is in force at its source",
            Self::AcceptedWhenSaid => "a home accepted what it acknowledged before it said so",
            Self::ReleasedOnce => "a released request is in the source's log exactly once (S3)",
            Self::ReceivedAsReleased => "what was received is what was released, byte for byte",
            Self::SpentOnce => "a permit good once gave data to one request at most (S3)",
            Self::DenyNeverRefused => "a deny that reached a node was not refused (S4)",
            Self::HeadsNeverGoBack => "logs and applied channels never get shorter (S3)",
            Self::RuleAtTheEnd => "what may pass at the end is what the register says",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub check: Check,
    pub what: String,
}

/// What the judge found.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// How often each check was made.
    pub made: BTreeMap<Check, usize>,
    pub violations: Vec<Violation>,
    /// The longest time from a home's accepting a deny to a release that it covers: with a lease out
    /// that did not know of it, this is up to the lease.
    pub longest_gap_ms: Option<Ms>,
    /// How many releases were committed after a home had accepted a deny that covers them.
    pub after_accepted: usize,
}

/// After what time nothing may be released against a deny: the lease, and what clocks may drift.
pub const fn lease_bound_ms(granted_ms: u64) -> u64 {
    granted_ms + granted_ms.div_ceil(1000) + 1
}

pub fn judge(history: &History) -> Findings {
    let mut judge = Judge::new(history);
    judge.in_force();
    judge.beyond_the_lease();
    judge.cited();
    judge.kept();
    judge.applied();
    judge.released();
    judge.spent();
    judge.denies_taken();
    judge.heads();
    judge.rule();
    judge.findings
}

struct Judge<'a> {
    history: &'a History,
    made: BTreeMap<DecisionId, &'a Made>,
    /// The denies of each citizen at each source.
    denies: BTreeMap<(usize, Place), Vec<&'a Made>>,
    /// When the wallet was first told that a decision is in force.
    in_force: BTreeMap<DecisionId, Ms>,
    /// When a wallet was first told by anybody that a decision was accepted, or more than that.
    told: BTreeMap<DecisionId, Ms>,
    /// The same, told by the home.
    told_by_home: BTreeMap<DecisionId, Ms>,
    accepted: BTreeMap<DecisionId, Ms>,
    lane: BTreeMap<Nonce, Lane>,
    findings: Findings,
}

impl<'a> Judge<'a> {
    fn new(history: &'a History) -> Self {
        let mut denies: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for deny in history.made.iter().filter(|made| made.is_deny()) {
            denies.entry((deny.citizen, deny.source)).or_default().push(deny);
        }
        let earliest = |wanted: fn(&Handed) -> bool| {
            let mut first: BTreeMap<DecisionId, Ms> = BTreeMap::new();
            for handed in history.handed.iter().filter(|handed| wanted(handed)) {
                let at = first.entry(handed.decision).or_insert(handed.ended);
                *at = handed.ended.min(*at);
            }
            first
        };
        Self {
            history,
            made: history.made.iter().map(|made| (made.id, made)).collect(),
            denies,
            in_force: earliest(|handed| handed.said == Said::InForce),
            told: earliest(Handed::acknowledges),
            told_by_home: earliest(|handed| handed.via == Via::Home && handed.acknowledges()),
            accepted: history.registered.iter().map(|row| (row.decision, row.accepted)).collect(),
            lane: history
                .asked
                .iter()
                .chain(&history.probes)
                .map(|asked| (asked.request, asked.lane))
                .collect(),
            findings: Findings::default(),
        }
    }

    fn check(&mut self, check: Check, holds: bool, what: impl FnOnce() -> String) {
        *self.findings.made.entry(check).or_default() += 1;
        if !holds {
            self.findings.violations.push(Violation { check, what: what() });
        }
    }

    /// The denies that cover a lane and that no permit of `permits` names.
    fn standing(&self, lane: &Lane, permits: &[DecisionId]) -> Vec<&'a Made> {
        let denies = self.denies.get(&(lane.citizen, lane.source)).into_iter().flatten();
        denies
            .filter(|deny| deny.covers(lane))
            .filter(|deny| {
                !permits.iter().any(|permit| {
                    self.made.get(permit).is_some_and(|permit| permit.reopens(&deny.id))
                })
            })
            .copied()
            .collect()
    }

    /// S2, from outside alone. A retry counts from its own beginning if the recipient's node had said
    /// after every earlier attempt that it has no answer: then what it got, it got now.
    fn in_force(&mut self) {
        let mut since: BTreeMap<Nonce, Ms> = BTreeMap::new();
        for asked in self.in_order() {
            let begun = since.get(&asked.request).copied().unwrap_or(asked.begun);
            match &asked.got {
                Got::Data { permits, .. } => {
                    for deny in self.standing(&asked.lane, permits) {
                        let Some(told) = self.in_force.get(&deny.id).copied() else { continue };
                        self.check(Check::NothingOnceInForce, begun <= told, || {
                            format!(
                                "request {} ({}) was begun at {begun} ms and got data at {} ms; deny {} \
                                 was told in force at {told} ms",
                                asked.request, of(&asked.lane), asked.ended, deny.id
                            )
                        });
                    }
                    // Whatever comes now is what the recipient holds.
                    since.insert(asked.request, begun);
                }
                Got::NoAnswer => {}
                _ => {
                    since.insert(asked.request, begun);
                }
            }
            if !matches!(asked.got, Got::Data { .. })
                && self
                    .standing(&asked.lane, &[])
                    .iter()
                    .any(|deny| self.in_force.get(&deny.id).is_some_and(|told| begun > *told))
            {
                self.check(Check::NothingOnceInForce, true, String::new);
            }
        }
    }

    fn in_order(&self) -> Vec<&'a Asked> {
        let mut all: Vec<_> = self.history.asked.iter().chain(&self.history.probes).collect();
        all.sort_by_key(|asked| (asked.begun, asked.ended));
        all
    }

    /// S1: by the source's own clock, against the home's time of acceptance and, in case that lies,
    /// against what the wallet was told.
    fn beyond_the_lease(&mut self) {
        let bound = lease_bound_ms(self.history.granted_ms);
        let permits: BTreeMap<Nonce, &[DecisionId]> = self
            .in_order()
            .into_iter()
            .filter_map(|asked| match &asked.got {
                Got::Data { permits, .. } => Some((asked.request, permits.as_slice())),
                _ => None,
            })
            .collect();
        for release in &self.history.released {
            let Some(lane) = self.lane.get(&release.request).copied() else {
                self.check(Check::NothingBeyondTheLease, false, || {
                    format!("{} released {}, which nobody asked", release.source, release.request)
                });
                continue;
            };
            // A release whose answer was lost names no permits here: then any permit that covers it
            // may have been the one, and a deny counts if none of them names it.
            let any: Vec<DecisionId>;
            let permits = match permits.get(&release.request) {
                Some(permits) => *permits,
                None => {
                    let covering =
                        self.history.made.iter().filter(|p| !p.is_deny() && p.covers(&lane));
                    any = covering.map(|permit| permit.id).collect();
                    &any
                }
            };
            for deny in self.standing(&lane, permits) {
                if let Some(told) = self.in_force.get(&deny.id).copied() {
                    self.check(Check::NothingOnceInForce, release.at <= told + READING_MS, || {
                        format!(
                            "{} released {} ({}) at {} ms; deny {} was told in force at {told} ms",
                            release.source,
                            release.request,
                            of(&lane),
                            release.at,
                            deny.id
                        )
                    });
                }
                let accepted = self.accepted.get(&deny.id).copied();
                let Some(from) = [accepted, self.told_by_home.get(&deny.id).copied()]
                    .into_iter()
                    .flatten()
                    .min()
                else {
                    continue;
                };
                if let Some(gap) = release.at.checked_sub(from) {
                    self.findings.after_accepted += 1;
                    self.findings.longest_gap_ms = self.findings.longest_gap_ms.max(Some(gap));
                }
                self.check(
                    Check::NothingBeyondTheLease,
                    release.at <= from + bound + READING_MS,
                    || {
                        format!(
                            "{} released {} ({}) at {} ms; deny {} was accepted at {from} ms, the lease \
                             is {bound} ms with its drift",
                            release.source, release.request, of(&lane), release.at, deny.id
                        )
                    },
                );
            }
        }
    }

    fn cited(&mut self) {
        for asked in self.in_order() {
            let Got::Data { permits, .. } = &asked.got else { continue };
            let good = !permits.is_empty()
                && permits.iter().all(|permit| {
                    self.made
                        .get(permit)
                        .is_some_and(|made| !made.is_deny() && made.covers(&asked.lane))
                });
            self.check(Check::PermitCited, good, || {
                format!("request {} ({}) got data on {permits:?}", asked.request, of(&asked.lane))
            });
        }
    }

    fn kept(&mut self) {
        let told: Vec<_> = self.told.iter().map(|(id, at)| (*id, *at)).collect();
        for (id, told) in told {
            let accepted = self.accepted.get(&id).copied();
            self.check(Check::AcknowledgedKept, accepted.is_some(), || {
                format!("decision {id} was acknowledged at {told} ms and is in no register")
            });
        }
        // A deny that went straight to the source comes to the home later; for the others the home
        // must have accepted between the first attempt and its first word.
        let mut first: BTreeMap<DecisionId, (Ms, Option<Ms>)> = BTreeMap::new();
        for handed in &self.history.handed {
            let entry = first.entry(handed.decision).or_insert((handed.begun, None));
            entry.0 = handed.begun.min(entry.0);
            if handed.via == Via::Home && handed.acknowledges() {
                entry.1 = Some(entry.1.map_or(handed.ended, |at| at.min(handed.ended)));
            }
        }
        for (id, (begun, said)) in first {
            let (Some(accepted), Some(said)) = (self.accepted.get(&id).copied(), said) else {
                continue;
            };
            let holds = accepted + READING_MS >= begun && accepted <= said + READING_MS;
            self.check(Check::AcceptedWhenSaid, holds, || {
                format!(
                    "decision {id} was handed in at {begun} ms and acknowledged at {said} ms; the \
                     register says {accepted} ms"
                )
            });
        }
    }

    fn applied(&mut self) {
        let history = self.history;
        for row in &history.registered {
            self.check(Check::EverythingApplied, row.in_force, || {
                format!("decision {} is in the register and not in force at the end", row.decision)
            });
        }
        for channel in &history.applied {
            self.check(Check::EverythingApplied, channel.applied >= channel.owed, || {
                format!(
                    "{} has applied {} of {} entries of {}",
                    channel.source, channel.applied, channel.owed, channel.home
                )
            });
        }
    }

    fn released(&mut self) {
        let history = self.history;
        let mut logged: BTreeMap<(Place, Nonce), usize> = BTreeMap::new();
        for entry in &history.logged {
            *logged.entry(*entry).or_default() += 1;
        }
        let mut released: BTreeMap<Nonce, BTreeSet<Hash>> = BTreeMap::new();
        for release in &history.released {
            released.entry(release.request).or_default().insert(release.presentation);
            let count = logged.remove(&(release.source, release.request)).unwrap_or(0);
            self.check(Check::ReleasedOnce, count == 1, || {
                let (source, request) = (release.source, release.request);
                format!("{source} released {request}, which stands {count} times in its log")
            });
        }
        for ((source, request), count) in logged {
            self.check(Check::ReleasedOnce, false, || {
                format!(
                    "{source}'s log has {count} releases of {request}, of which it knows nothing"
                )
            });
        }
        for asked in self.in_order() {
            let Got::Data { presentation, .. } = &asked.got else { continue };
            let known = released.get(&asked.request);
            let same = known.is_some_and(|known| known.len() == 1 && known.contains(presentation));
            self.check(Check::ReceivedAsReleased, same, || {
                format!("request {} got {presentation}; released was {known:?}", asked.request)
            });
        }
    }

    fn spent(&mut self) {
        let mut spent: BTreeMap<DecisionId, BTreeSet<Nonce>> = BTreeMap::new();
        for asked in self.in_order() {
            let Got::Data { permits, .. } = &asked.got else { continue };
            for permit in permits {
                if self.made.get(permit).is_some_and(|made| made.is_once()) {
                    spent.entry(*permit).or_default().insert(asked.request);
                }
            }
        }
        for (permit, requests) in spent {
            self.check(Check::SpentOnce, requests.len() == 1, || {
                format!("permit {permit} is good once and gave data to {requests:?}")
            });
        }
    }

    fn denies_taken(&mut self) {
        for handed in &self.history.handed {
            if !self.made.get(&handed.decision).is_some_and(|made| made.is_deny())
                || handed.said == Said::NoAnswer
            {
                continue;
            }
            let refused = matches!(handed.said, Said::Refused(_));
            self.check(Check::DenyNeverRefused, !refused, || {
                format!(
                    "deny {} was handed to {} ({:?}) at {} ms: {:?}",
                    handed.decision, handed.to, handed.via, handed.begun, handed.said
                )
            });
        }
    }

    fn heads(&mut self) {
        let mut heads: Vec<_> = self.history.heads.iter().collect();
        heads.sort_by_key(|head| head.at);
        let mut last: BTreeMap<(Place, &str), u64> = BTreeMap::new();
        for head in heads {
            let before = last.insert((head.node, &head.of), head.length).unwrap_or(0);
            self.check(Check::HeadsNeverGoBack, head.length >= before, || {
                let (node, of) = (head.node, &head.of);
                format!("{node}: {of} was {before} and is {} at {} ms", head.length, head.at)
            });
        }
    }

    /// The `allowed` rule over what the registers hold, against what was answered when all was quiet.
    /// Where only permits good once are left, it cannot be known from outside whether a use was
    /// spent on an answer that was lost: those are not looked at.
    fn rule(&mut self) {
        for probe in &self.history.probes {
            let registered = |made: &&Made| self.accepted.contains_key(&made.id);
            let denies = self.denies.get(&(probe.lane.citizen, probe.lane.source));
            let covering: Vec<_> = (denies.into_iter().flatten().copied())
                .filter(|deny| registered(deny) && deny.covers(&probe.lane))
                .collect();
            let permits = self.history.made.iter().filter(|made| {
                registered(made)
                    && !made.is_deny()
                    && made.covers(&probe.lane)
                    && covering.iter().all(|deny| made.reopens(&deny.id))
            });
            let (once, unlimited): (Vec<_>, Vec<_>) = permits.partition(|permit| permit.is_once());
            if unlimited.is_empty() && !once.is_empty() {
                continue;
            }
            let allowed = !unlimited.is_empty();
            let holds = match &probe.got {
                Got::Data { .. } => allowed,
                Got::NotPermitted => !allowed,
                _ => false,
            };
            self.check(Check::RuleAtTheEnd, holds, || {
                format!("{}: allowed is {allowed}, the answer {:?}", of(&probe.lane), probe.got)
            });
        }
    }
}

fn of(lane: &Lane) -> String {
    format!("citizen {}, {} to {}, {}", lane.citizen, lane.source, lane.recipient, lane.item)
}
