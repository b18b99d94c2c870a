//! `wallet requests` and `wallet answer`: what recipients ask, and the citizen's answer.

use std::collections::BTreeMap;

use anyhow::bail;
use serde_json::{Value, json};
use wallet::{AskedConsent, RegisterView};
use wire::{ServiceName, asking::Answered};

use super::{AnswerArgs, AnswerWord, Report, Session, hint, words};
use crate::wallet_client::{ClientError, WalletClient};

impl Session<'_> {
    /// What waits for an answer. What a standing deny answers already is left out unless `all` is asked
    /// for: only the wallet can tell, since its home does not know which of its pairs are one person's.
    pub(super) async fn requests(
        &mut self,
        recipient: &ServiceName,
        all: bool,
    ) -> anyhow::Result<Report> {
        let (mut text, mut shown, mut denied) = (String::new(), Vec::new(), 0);
        let mut registers = BTreeMap::new();
        for (_, one) in self.asked(recipient).await? {
            let source = &one.request.source;
            if !registers.contains_key(source) {
                let view = self.register_if_seen(source).await?;
                registers.insert(source.clone(), view);
            }
            let view = registers.get(source).and_then(Option::as_ref);
            let is_denied = view.is_some_and(|view| view.denies_all_of(&one.permit()));
            denied += usize::from(is_denied);
            if all || !is_denied {
                text += &describe(&one);
                if is_denied {
                    text += "You deny all of it already.\n";
                }
                let mut json = as_json(&one);
                json["denied"] = json!(is_denied);
                shown.push(json);
            }
        }
        if shown.is_empty() {
            text += "nothing is asked\n";
        }
        if !all && denied > 0 {
            text += &format!("{denied} for what you deny already are not shown (--all)\n");
        }
        Ok(Report { text, json: Value::Array(shown) })
    }

    /// The register at a source, if this wallet has a key there that may see it.
    async fn register_if_seen(
        &mut self,
        source: &ServiceName,
    ) -> anyhow::Result<Option<RegisterView>> {
        if self.wallet.service(source).is_err() {
            return Ok(None);
        }
        match self.register(source).await {
            Ok(view) => Ok(Some(view)),
            Err(error) => match error.downcast_ref::<ClientError>() {
                Some(ClientError::Problem(problem)) if problem.status == 403 => Ok(None),
                _ => Err(error),
            },
        }
    }

    pub(super) async fn answer(&mut self, args: &AnswerArgs) -> anyhow::Result<Report> {
        let asked = self.asked(&args.service).await?;
        let Some((home, asked)) = asked.into_iter().find(|(_, one)| one.id == args.id) else {
            bail!("no request {} waits at {}", args.id, args.service);
        };
        let mut text = String::new();
        let mut json = json!({ "request": asked.id });
        let answer = match args.answer {
            AnswerWord::Agree => {
                let mut draft = asked.permit();
                draft.reopens = args.reopen.all();
                text += &describe(&asked);
                // The permit first: who agreed has permitted.
                let permit = self.permit_as(draft, args.leave_denies, false).await?;
                text += &permit.text;
                json["permit"] = permit.json;
                Answered::Agreed
            }
            AnswerWord::Decline => Answered::Declined,
        };
        let unsigned = self.wallet.answer(&asked, answer, self.now()).map_err(hint)?;
        let signed = self.sign(&args.service, unsigned)?;
        let answered = self.wallet.attest_with_service_key(&args.service, &signed)?;
        home.answer(&answered).await?;
        text += match answer {
            Answered::Agreed => "agreed 同意: the recipient is told so\n",
            Answered::Declined => "declined 不同意: the recipient is told so, and nothing else\n",
        };
        json["answer"] = json!(answer);
        Ok(Report { text, json })
    }

    /// Fetches and checks what a recipient asks, with the home that has it: what was asked before a move
    /// waits at the home before.
    async fn asked(
        &mut self,
        recipient: &ServiceName,
    ) -> anyhow::Result<Vec<(WalletClient, AskedConsent)>> {
        let query = self.wallet.query(recipient, self.nonce(), self.now()).map_err(hint)?;
        let query = self.sign(recipient, query)?;
        let present = self.home_of(recipient)?;
        let trust = self.trust(&present).await?;
        let query = self.wallet.attest_with_service_key(recipient, &query)?;
        let mut all = Vec::new();
        for home in self.wallet.homes_of(recipient) {
            let home = self.client(&home.url)?;
            let waiting = match home.requests(&query).await {
                Ok(waiting) => waiting,
                // A home before may be away, or never have heard of a key that began since.
                Err(error) if error.knows_nothing() && home.url() != present.url() => continue,
                Err(error) => return Err(error.into()),
            };
            let read = self.wallet.read_requests(recipient, &waiting, &trust, self.now())?;
            all.extend(read.into_iter().map(|one| (home.clone(), one)));
        }
        Ok(all)
    }
}

fn describe(asked: &AskedConsent) -> String {
    let until = words::date(asked.request.expires);
    let terms = words::notice(&asked.permit());
    let text = asked.request.text.trim_end();
    format!("{}  (answer by {until})\n{terms}In their words: {text}\n", asked.id)
}

fn as_json(asked: &AskedConsent) -> Value {
    json!({ "id": asked.id, "request": asked.request })
}
