//! `wallet move`: the citizen lives in another municipality now, and takes their registers along. All
//! that was done stays done: whoever is interrupted gives the same command again.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use trust::Trust;
use wallet::{Home, MoveStep, RegisterView, Wallet, moving};
use wire::{
    ServiceName,
    citizen::{MoveSubmission, PairRegister},
};

use super::{MoveArgs, Report, Session, find_home, hint, present::is_offline};
use crate::wallet_client::WalletClient;

/// How the move of one pair stands.
enum Moved {
    /// The new municipality is its home.
    Begun,
    /// The home before has not let go.
    Waits,
    /// No key ever began there: nothing was to be moved.
    Nothing,
}

impl Session<'_> {
    pub(super) async fn move_home(&mut self, args: &MoveArgs) -> anyhow::Result<Report> {
        self.wallet.id().map_err(hint)?;
        let client = self.client(&args.to)?;
        let trust = self.trust(&client).await?;
        let to = find_home(&client, &trust, self.now()).await?;
        let services = match &args.service {
            Some(service) => {
                self.wallet.service(service).map_err(hint)?;
                vec![service.clone()]
            }
            None => self.wallet.services().keys().cloned().collect(),
        };
        self.enrol_if_new(&client, &to, &trust, args.card.as_deref()).await?;
        if args.service.is_none() {
            self.wallet.settle(to.clone());
            self.save()?;
        }
        let (mut text, mut json, mut failed) = (String::new(), Vec::new(), 0);
        for service in &services {
            let moved = self.move_pair(service, &to, &client).await;
            let (words, state, error) = match &moved {
                Ok(Moved::Begun) => ("moved 転入".to_owned(), "moved", None),
                Ok(Moved::Waits) => {
                    let words = "handed in; it waits until the home before lets go, or is off the \
                                 trust list. Until then you can deny (`deny --direct` holds at once), \
                                 but not permit; give this command again later";
                    (words.to_owned(), "waits", None)
                }
                Ok(Moved::Nothing) => ("had no register yet".to_owned(), "nothing", None),
                Err(error) => {
                    failed += 1;
                    (format!("not moved: {error:#}"), "failed", Some(format!("{error:#}")))
                }
            };
            text += &format!("{service}: {words}\n");
            json.push(json!({ "service": service, "state": state, "error": error }));
        }
        let Home { organisation, .. } = &to;
        if failed > 0 {
            bail!(
                "{text}{failed} of {} were not moved; give the same command again",
                services.len()
            );
        }
        let lives = match args.service {
            None => format!("your home is {organisation} now\n"),
            Some(_) => String::new(),
        };
        Ok(Report {
            text: lives + &text,
            json: json!({ "home": to, "services": Value::Array(json) }),
        })
    }

    /// The new municipality certifies only whom it has proofed.
    async fn enrol_if_new(
        &mut self,
        client: &WalletClient,
        to: &Home,
        trust: &Trust,
        card: Option<&Path>,
    ) -> anyhow::Result<()> {
        if self.wallet.enrolled_by(trust, self.now()).is_ok_and(|by| by == to.organisation) {
            return Ok(());
        }
        self.enrol_at(client, card, None).await.context("the new municipality did not enrol you")
    }

    async fn move_pair(
        &mut self,
        service: &ServiceName,
        to: &Home,
        client: &WalletClient,
    ) -> anyhow::Result<Moved> {
        let pending = self.wallet.pending_move(service, &to.organisation).is_some();
        let is_there = self.wallet.home_of(service).organisation == to.organisation;
        let (submission, before) = match (is_there, pending) {
            (true, false) => return Ok(Moved::Begun),
            (true, true) => (self.waiting_move(service, to).await?, None),
            (false, _) => match self.leave(service, to).await? {
                Some((submission, before)) => (submission, Some(before)),
                None => {
                    self.wallet.follow(service, to);
                    self.save()?;
                    return Ok(Moved::Nothing);
                }
            },
        };
        let reply = client.move_pair(&submission).await?;
        let begun = self.wallet.accept_move(service, to, &reply)?;
        self.save()?;
        let after = self.register(service).await?;
        if let Some(before) = &before {
            Wallet::check_arrival(before, &after)?;
        }
        if !begun {
            return Ok(Moved::Waits);
        }
        // The same key, certified by where the citizen lives: nothing hangs on the old one any more.
        self.certify_at(client, service).await?;
        Ok(Moved::Begun)
    }

    /// Signs the move, or takes up the one that was signed, and has the old home let go. Gives what the
    /// new home needs, and what the old one showed. `None` if there is no register.
    async fn leave(
        &mut self,
        service: &ServiceName,
        to: &Home,
    ) -> anyhow::Result<Option<(MoveSubmission, RegisterView)>> {
        let shown = self.whole_register(service).await;
        let answers = shown.is_ok();
        let (register, view) = match shown {
            Ok(shown) => shown,
            Err(error) if is_offline(&error) => self.last_shown(service, error).await?,
            Err(error) => return Err(error),
        };
        let (nonce, now) = (self.nonce(), self.now());
        let moving = match self.wallet.next_move(service, to, (&register, &view), nonce, now)? {
            MoveStep::Nothing => return Ok(None),
            MoveStep::Signed(moving) => {
                self.wallet.keep_signed_move(service, to, moving.clone());
                moving
            }
            MoveStep::Sign(unsigned) => {
                let signed = self.sign(service, *unsigned)?;
                self.wallet.keep_move(service, to, &signed)?
            }
        };
        // What was signed is kept before it leaves the house.
        self.save()?;
        if !answers {
            return Ok(Some((moving::submission(moving, Some(&register)), view)));
        }
        self.home_of(service)?.move_pair(&moving::submission(moving.clone(), None)).await?;
        // Now it is all that the old home ever had to say.
        let (register, view) = self.whole_register(service).await?;
        Ok(Some((moving::submission(moving, Some(&register)), view)))
    }

    /// What the home last showed, while it does not answer.
    async fn last_shown(
        &self,
        service: &ServiceName,
        error: anyhow::Error,
    ) -> anyhow::Result<(PairRegister, RegisterView)> {
        let trust = self.trust_at_hand().await?;
        self.last_register(service, &trust)?.with_context(|| {
            format!("{error:#}, and this wallet never saw what it holds (`register {service}`)")
        })
    }

    /// A move that the new home has taken and that waits: the home before may answer by now.
    async fn waiting_move(
        &self,
        service: &ServiceName,
        to: &Home,
    ) -> anyhow::Result<MoveSubmission> {
        let pending = self.wallet.pending_move(service, &to.organisation);
        let moving = pending.context("no move of this pair is pending")?.moving.clone();
        let Some(former) = self.wallet.homes_of(service).nth(1) else {
            return Ok(moving::submission(moving, None));
        };
        let old = self.client(&former.url)?;
        let query = self.wallet.query(service, self.nonce(), self.now()).map_err(hint)?;
        let query = self.sign(service, query)?;
        let query = self.wallet.attest_with_service_key(service, &query)?;
        let let_go = old.move_pair(&moving::submission(moving.clone(), None)).await;
        match let_go {
            Ok(_) => {
                let register = old.register(&query).await?;
                Ok(moving::submission(moving, Some(&register)))
            }
            Err(error) if error.is_offline() => Ok(moving::submission(moving, None)),
            Err(error) => Err(error.into()),
        }
    }
}
