//! `wallet requests` and `wallet answer`: what recipients ask, and the citizen's answer.

use anyhow::bail;
use serde_json::{Value, json};
use wallet::AskedConsent;
use wire::{ServiceName, asking::Answered, consent::Reopen};

use super::{AnswerArgs, AnswerWord, Report, Session, hint, words};
use crate::wallet_client::WalletClient;

impl Session<'_> {
    pub(super) async fn requests(&mut self, recipient: &ServiceName) -> anyhow::Result<Report> {
        let asked = self.asked(recipient).await?;
        let asked: Vec<_> = asked.into_iter().map(|(_, one)| one).collect();
        let mut text = String::new();
        for one in &asked {
            text += &describe(one);
        }
        if text.is_empty() {
            text += "nothing is asked\n";
        }
        Ok(Report { text, json: Value::Array(asked.iter().map(as_json).collect()) })
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
                draft.reopens = args.reopen.iter().copied().map(Reopen::Deny).collect();
                text += &describe(&asked);
                // The permit first: who agreed has permitted.
                let permit = self.permit_as(draft, &args.reopen, args.leave_denies, false).await?;
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
            let home = WalletClient::new(&home.url)?;
            let waiting = match home.requests(&query).await {
                Ok(waiting) => waiting,
                Err(error) if error.is_offline() && home.url() != present.url() => continue,
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
