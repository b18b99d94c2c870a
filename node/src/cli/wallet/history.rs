//! `wallet history` and `wallet effect`: who looked at what, and since when a decision is in force.

use std::{fmt::Write, path::Path};

use anyhow::bail;
use exchange::bundle::ConfirmedDeny;
use serde_json::{Value, json};
use wallet::HistoryView;
use wire::{
    DecisionId, ServiceName, Signed, Timestamp, cbor,
    channel::EntryKind,
    consent::{Attested, Decision},
    notice::{Effect, EffectHow, Notice, NoticeOutcome},
};

use super::{Report, Session, directory::write_private, hint, words};

impl Session<'_> {
    pub(super) async fn history(&mut self, source: &ServiceName) -> anyhow::Result<Report> {
        let query = self.wallet.query(source, self.nonce(), self.now()).map_err(hint)?;
        let query = self.sign(source, query)?;
        let query = self.wallet.attest_with_service_key(source, &query)?;
        let present = self.home_of(source)?;
        let trust = self.trust(&present).await?;
        let homes: Vec<_> = self.wallet.homes_of(source).cloned().collect();
        let mut all = HistoryView { notices: Vec::new(), older: false };
        let mut silent = Vec::new();
        // Each home has what happened in its time: the oldest first.
        for home in homes.iter().rev() {
            let history = match self.client(&home.url)?.history(&query).await {
                Ok(history) => history,
                Err(error) if error.knows_nothing() && home.url != present.url() => {
                    silent.push(&home.organisation);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let view = self.wallet.read_history(source, &history, &trust, self.now())?;
            all.older |= view.older;
            all.notices.extend(view.notices);
        }
        let mut text = text(&all);
        for home in &silent {
            let _ = writeln!(
                text,
                "what happened while {home} was home is not shown: it does not answer this key"
            );
        }
        let mut json = as_json(&all);
        json["silent"] = json!(silent);
        Ok(Report { text, json })
    }

    pub(super) async fn effect(
        &mut self,
        source: &ServiceName,
        decision: DecisionId,
        out: Option<&Path>,
    ) -> anyhow::Result<Report> {
        let (nonce, now) = (self.nonce(), self.now());
        let query = self.wallet.effect_query(source, decision, nonce, now).map_err(hint)?;
        let query = self.sign(source, query)?;
        let query = self.wallet.attest_with_service_key(source, &query)?;
        let trust = self.trust(&self.home_of(source)?).await?;
        let receipt = self.receipt(source, &query).await?;
        let now = self.now();
        let effect = self.wallet.accept_effect(source, &decision, &receipt, &trust, now)?;
        self.save()?;
        if let Some(out) = out {
            let deny = self.deny_of(source, &decision).await?;
            write_private(out, &ConfirmedDeny::new(deny, receipt).to_bytes())?;
        }
        Ok(Report {
            text: format!("{decision}: {}\n", effect_words(&effect)),
            json: serde_json::to_value(&effect)?,
        })
    }

    /// The citizen's deny as the register holds it.
    async fn deny_of(
        &mut self,
        source: &ServiceName,
        decision: &DecisionId,
    ) -> anyhow::Result<Attested> {
        let (register, _) = self.whole_register(source).await?;
        let network = self.wallet.network();
        let listed = register.entries.iter().map(|row| &row.entry);
        // A deny of before a move stands in the channel of the home of then.
        let brought = register.brought.iter().flat_map(|extract| &extract.entries);
        let mut decisions = listed.chain(brought).filter_map(|entry| {
            let body: Attested = cbor::from_slice(&entry.body).ok()?;
            let signed = Signed::<Decision>::decode(&body.object, network).ok()?;
            (DecisionId::from(signed.id()) == *decision).then_some((entry.kind, body))
        });
        match decisions.next() {
            Some((EntryKind::DENY, deny)) => Ok(deny),
            Some(_) => bail!("{decision} is no deny: nothing is written"),
            None => bail!("the register at {source} does not show {decision}: nothing is written"),
        }
    }

    /// The receipt of whichever of the pair's homes has the decision in its channel.
    async fn receipt(&self, source: &ServiceName, query: &Attested) -> anyhow::Result<Attested> {
        let mut unknown = None;
        for home in self.wallet.homes_of(source) {
            match self.client(&home.url)?.effect(query).await {
                Ok(receipt) => return Ok(receipt),
                Err(error) if matches!(error.status(), Some(403 | 404)) => {
                    unknown.get_or_insert(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        // The pair has one home at least.
        Err(unknown.map_or_else(|| anyhow::anyhow!("no home is known"), Into::into))
    }

    /// Checks and keeps the receipt of a source. Saying no needs no home and no fresh trust list:
    /// where the one at hand does not do, the source's word is told as no more than that. Says last whether
    /// the receipt may be passed on: it was not found wrong.
    pub(super) fn keep_direct_effect(
        &mut self,
        source: &ServiceName,
        decision: &DecisionId,
        receipt: &Attested,
    ) -> anyhow::Result<(String, Value, bool)> {
        let now = self.now();
        let trust = self
            .directory
            .trust()?
            .map(|known| trust::Trust::open(&known, self.wallet.network(), Timestamp(0)));
        let taken = match trust {
            Some(Ok(trust)) => self.wallet.accept_effect(source, decision, receipt, &trust, now),
            _ => {
                let text =
                    "発効 in force at the source by its word; no trust list to check it with";
                return Ok((text.to_owned(), Value::Null, true));
            }
        };
        Ok(match taken {
            Ok(effect) => {
                self.save()?;
                (effect_words(&effect), serde_json::to_value(&effect)?, true)
            }
            Err(error) => {
                (format!("handed in, but its receipt does not hold: {error}"), Value::Null, false)
            }
        })
    }
}

/// 発効, with how it is known.
pub(super) fn effect_words(effect: &Effect) -> String {
    let how = match effect.how {
        EffectHow::Acknowledged => "acknowledged",
        EffectHow::LeasesLapsed => "lapsed",
        EffectHow::AtSource => "at the source, which tells your home next",
    };
    let excepted = if effect.present_consent_excepted {
        "; a consent you sign at a counter there is excepted until the source has it"
    } else {
        ""
    };
    format!("発効 in force since {} ({how}){excepted}", words::date(effect.since))
}

fn text(view: &HistoryView) -> String {
    let mut text = String::new();
    if view.older {
        text += "older ones are not shown\n";
    }
    for notice in &view.notices {
        let _ = writeln!(text, "{}", line(notice));
    }
    if text.is_empty() { "nobody has asked\n".to_owned() } else { text }
}

fn line(notice: &Notice) -> String {
    let Notice { recipient, items, purpose, first, last, count, outcome, .. } = notice;
    let when = if count == &1 {
        words::date(*first)
    } else {
        format!("{} to {}, {count} times", words::date(*first), words::date(*last))
    };
    let what = match items.is_empty() {
        true => "many different things".to_owned(),
        false => items.iter().map(|item| item.as_str()).collect::<Vec<_>>().join(", "),
    };
    let why = purpose.as_ref().map_or("various purposes", |purpose| purpose.as_str());
    let how = match outcome {
        NoticeOutcome::Released { permits, .. } => {
            let permits: Vec<_> = permits.iter().map(ToString::to_string).collect();
            format!("released 提供, on permit {}", permits.join(", "))
        }
        NoticeOutcome::Refused(reason) => {
            format!("refused 拒否: {}", reason_words(reason.as_str()))
        }
    };
    format!("{when}  {recipient}: {what}, for {why}\n       {how}")
}

/// Why a source refused; a code that is not known here is shown as it is.
fn reason_words(code: &str) -> &str {
    match code {
        "unknown-item" => "no such item (項目なし)",
        "no-permit" => "you have not permitted it (同意なし)",
        "key-does-not-stand" => "the key behind the permit does not stand (鍵が無効)",
        "not-yet-valid" => "the permit has not begun (開始前)",
        "expired" => "the permit has expired (期限切れ)",
        "uses-spent" => "the permit's uses are spent (回数終了)",
        "denied" => "you denied it (拒否中)",
        "no-data" => "the source holds nothing of it (データなし)",
        "no-lease" => "the source was cut off from your home (接続なし)",
        other => other,
    }
}

fn as_json(view: &HistoryView) -> Value {
    json!({ "older": view.older, "notices": view.notices })
}

#[cfg(test)]
mod tests {
    use wire::{Hash, Nonce, ServiceId};

    use super::*;

    #[test]
    fn a_line_says_who_what_why_and_how_it_ended() {
        let mut notice = Notice {
            seq: 0,
            subject: ServiceId([1; 32]),
            recipient: "9000020102016/hospital".parse().unwrap(),
            items: vec!["health.allergy".parse().unwrap()],
            purpose: Some("treatment".parse().unwrap()),
            first: Timestamp::from_secs(0),
            last: Timestamp::from_secs(0),
            count: 1,
            outcome: NoticeOutcome::Released {
                request: Hash([2; 32]),
                permits: vec![DecisionId([3; 32])],
            },
            salt: Nonce([0; 16]),
        };
        assert_eq!(
            line(&notice),
            format!(
                "1970-01-01 00:00:00Z  9000020102016/hospital: health.allergy, for treatment\n       \
                 released 提供, on permit {}",
                "03".repeat(32)
            )
        );
        notice.outcome = NoticeOutcome::Refused("denied".parse().unwrap());
        (notice.count, notice.last) = (3, Timestamp::from_secs(60));
        (notice.items, notice.purpose) = (Vec::new(), None);
        assert_eq!(
            line(&notice),
            "1970-01-01 00:00:00Z to 1970-01-01 00:01:00Z, 3 times  9000020102016/hospital: many \
             different things, for various purposes\n       refused 拒否: you denied it (拒否中)"
        );
    }
}
