//! What the citizen allows and refuses, and the register of it.

use anyhow::bail;
use exchange::bundle::ConfirmedDeny;
use serde_json::{Value, json};
use wallet::{NoticeText, PermitDraft, RegisterView};
use wire::{
    DecisionId, ServiceName, Unsigned,
    citizen::{DecisionReply, InForce, PairRegister},
    consent::{Decision, Onward, Uses, Window},
};

use super::{
    DirectArgs, PermitArgs, Report, Session,
    directory::{Last, write_private},
    hint, json as programs,
    reopening::{InTheWay, in_the_way},
    words,
};

impl Session<'_> {
    /// Fetches and checks the register of the pair at a source.
    pub(super) async fn register(&mut self, source: &ServiceName) -> anyhow::Result<RegisterView> {
        Ok(self.whole_register(source).await?.1)
    }

    /// The same, with what the home said.
    pub(super) async fn whole_register(
        &mut self,
        source: &ServiceName,
    ) -> anyhow::Result<(PairRegister, RegisterView)> {
        let query = self.wallet.query(source, self.nonce(), self.now()).map_err(hint)?;
        let query = self.sign(source, query)?;
        let home = self.home_of(source)?;
        let trust = self.trust(&home).await?;
        let register = home.register(&self.wallet.attest_with_service_key(source, &query)?).await?;
        let view = self.wallet.read_register(source, &register, &trust, self.now())?;
        self.directory.save_last(Last::Register, source, &register)?;
        self.wallet.note_register(source, &view);
        self.save()?;
        Ok((register, view))
    }

    pub(super) async fn permit(&mut self, args: &PermitArgs) -> anyhow::Result<Report> {
        self.permit_as(permit_draft(args), args.leave_denies, args.dry_run).await
    }

    /// Says what a permit would mean, signs it unless denies that were not named stand in its way, and
    /// hands it in.
    pub(super) async fn permit_as(
        &mut self,
        draft: PermitDraft,
        leave_denies: bool,
        dry_run: bool,
    ) -> anyhow::Result<Report> {
        let view = self.register(&draft.source).await?;
        let InTheWay { text: denies, named, standing } = in_the_way(&view, &draft)?;
        let allowed = view.leaves_allowed_by(&draft);
        let mut text = draft.notice.text.clone() + &denies;
        let leaves: Vec<_> = allowed.iter().map(|leaf| leaf.as_str()).collect();
        if leaves.is_empty() {
            text += "So it would allow nothing.\n";
        } else if !standing.is_empty() {
            text += &format!("So it allows only {}.\n", leaves.join(", "));
        }
        let mut json = json!({
            "allows": leaves, "denies_named": named, "denies_standing": standing,
            "together": programs::together(&view, &standing),
        });
        if dry_run {
            return Ok(Report { text, json });
        }
        // A deny stands until a permit names it, and only the citizen says which ones they saw. A
        // permit that could never come to life is not signed at all.
        if !standing.is_empty() && (leaves.is_empty() || !leave_denies) {
            bail!(
                "{text}Nothing was signed. Name each deny that you saw and want to lift with \
                 --reopen ID (or many with --reopen-list and --reopen-key), or let them stand with \
                 --leave-denies."
            );
        }
        let (nonce, now) = (self.nonce(), self.now());
        let unsigned = self.wallet.permit(&draft, nonce, now).map_err(hint)?;
        // What was shown is kept before what was signed leaves the house.
        self.save()?;
        let reply = self.decide(&draft.source, unsigned).await?;
        text += &format!("permit {}: {}\n", reply.decision, words::status(&reply.status));
        json["decision"] = json!(reply.decision);
        json["seq"] = json!(reply.seq);
        json["status"] = json!(reply.status);
        Ok(Report { text, json })
    }

    pub(super) async fn deny(
        &mut self,
        draft: &wallet::DenyDraft,
        args: &DirectArgs,
    ) -> anyhow::Result<Report> {
        let direct = args.direct.as_deref();
        // A key that another began since says on whose behalf it denies. Saying no does not hang on it.
        let begun = self.wallet.service(&draft.source).map_err(hint)?.begun;
        if direct.is_none() && !begun {
            let _ = self.register(&draft.source).await;
        }
        let (nonce, now) = (self.nonce(), self.now());
        let unsigned = self.wallet.deny(draft, nonce, now).map_err(hint)?;
        let says = words::scope(&deny_scope(draft));
        let Some(url) = direct else {
            let reply = self.decide(&draft.source, unsigned).await?;
            return Ok(Report {
                text: format!(
                    "denied {says}\ndeny {}: {}\n",
                    reply.decision,
                    words::status(&reply.status)
                ),
                json: serde_json::to_value(&reply)?,
            });
        };
        let client = self.client(url)?;
        let signed = self.sign(&draft.source, unsigned)?;
        let id = DecisionId::from(signed.id());
        let deny = self.wallet.attest_with_service_key(&draft.source, &signed)?;
        let reply = client.deny(&deny).await?;
        self.wallet.check_decision_reply(&signed, &reply)?;
        let (text, effect, usable) = match (&reply.effect, reply.seq) {
            (Some(receipt), _) => self.keep_direct_effect(&draft.source, &id, receipt)?,
            (None, None) => (words::DURABLE_AT_SOURCE.to_owned(), Value::Null, false),
            (None, Some(_)) if is_bound(&reply.status) => {
                (words::status(&reply.status), Value::Null, false)
            }
            (None, Some(_)) => (words::KEPT_FOR_LATER.to_owned(), Value::Null, false),
        };
        let mut written = String::new();
        match (&args.out, reply.effect) {
            (Some(out), Some(receipt)) if usable => {
                write_private(out, &ConfirmedDeny::new(deny, receipt).to_bytes())?;
            }
            (Some(out), receipt) => {
                let why =
                    if receipt.is_some() { "its receipt does not hold" } else { "no receipt yet" };
                written = format!("{}: not written, {why}\n", out.display());
            }
            (None, _) => {}
        }
        Ok(Report {
            text: format!("denied {says}\ndeny {id}: {text}\n{written}"),
            json: json!({
                "decision": id, "direct": true, "effect": effect, "seq": reply.seq,
                "status": reply.status,
            }),
        })
    }

    /// Signs a decision and hands it to the home.
    async fn decide(
        &self,
        source: &ServiceName,
        unsigned: Unsigned<Decision>,
    ) -> anyhow::Result<DecisionReply> {
        let signed = self.sign(source, unsigned)?;
        let decision = self.wallet.attest_with_service_key(source, &signed)?;
        let reply = self.home_of(source)?.decide(&decision).await?;
        self.wallet.check_decision_reply(&signed, &reply)?;
        Ok(reply)
    }
}

/// The draft that the arguments mean, with its notice written.
pub(super) fn permit_draft(args: &PermitArgs) -> PermitDraft {
    let uses = match (args.once, args.per_day) {
        (true, _) => Uses::Once,
        (false, Some(count)) => Uses::Per { count, period_ms: wallet::decision::DAY_MS },
        (false, None) => Uses::Unlimited,
    };
    let mut draft = PermitDraft {
        source: args.source.clone(),
        recipient: args.recipient.clone(),
        items: args.items.iter().cloned().collect(),
        purpose: args.purpose.clone(),
        reopens: args.reopen.all(),
        valid_days: args.days,
        uses,
        // The one is not taken without the other.
        window: args.data_from.zip(args.data_until).map(|(from, until)| Window { from, until }),
        retention_days: args.retention_days,
        onward: if args.onward { Onward::Allowed } else { Onward::Forbidden },
        notice: NoticeText {
            text: String::new(),
            language: words::NOTICE_LANGUAGE.to_owned(),
            version: words::NOTICE_VERSION,
        },
        request: None,
    };
    draft.notice.text = words::notice(&draft);
    draft
}

/// Whether the source is bound.
fn is_bound(status: &InForce) -> bool {
    matches!(status, InForce::Acknowledged(_) | InForce::LeasesLapsed(_))
}

pub(super) fn deny_scope(draft: &wallet::DenyDraft) -> wire::consent::Scope {
    wire::consent::Scope {
        recipient: draft.recipient.clone(),
        items: draft.items.clone(),
        purpose: draft.purpose.clone(),
    }
}
