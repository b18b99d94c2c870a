//! At the counter: a permit for the one request that the recipient shows, stapled with the status of
//! the certificate that signs it. The home need not answer; what it last said is then used.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::json;
use trust::Trust;
use wallet::{NoticeText, PermitDraft, RegisterView};
use wire::{
    Bytes, ServiceName, Timestamp, cbor,
    citizen::PairRegister,
    consent::Attested,
    exchange::{PresentConsent, Request},
};

use super::{
    PresentArgs, Report, Session,
    directory::Last,
    hint,
    reopening::{InTheWay, in_the_way},
    words,
};
use crate::wallet_client::ClientError;

impl Session<'_> {
    pub(super) async fn present(&mut self, args: &PresentArgs) -> anyhow::Result<Report> {
        let request = read_request(&args.request)?;
        let source = request.source.clone();
        let mut text = String::new();
        let trust = self.trust_at_hand().await?;
        let view = match self.register(&source).await {
            Ok(view) => Some(view),
            Err(error) if is_offline(&error) => {
                text += "Your home does not answer: what it last said of your denies is used.\n";
                self.last_register(&source, &trust)?.map(|(_, view)| view)
            }
            Err(error) => return Err(error),
        };
        let draft = self.draft(&request, args)?;
        text += &draft.notice.text;
        let standing = match &view {
            Some(view) => {
                let InTheWay { text: denies, standing, .. } = in_the_way(view, &draft)?;
                text += &denies;
                standing
            }
            None => {
                text += "This wallet never saw the register: denies it does not know still hold.\n";
                Vec::new()
            }
        };
        let hash = request.consent_hash();
        let mut json = json!({ "consent_hash": hash, "denies_standing": standing });
        if args.dry_run {
            return Ok(Report { text, json });
        }
        if !standing.is_empty() {
            bail!("{text}Nothing was signed.");
        }
        let (status, checked) = self.certificate_status(&source, &trust).await?;
        text += &format!("Your certificate was good at {}.\n", words::date(checked));
        let (nonce, now) = (self.nonce(), self.now());
        let unsigned = self.wallet.permit(&draft, nonce, now).map_err(hint)?;
        self.save()?;
        let signed = self.sign(&source, unsigned)?;
        let permit = self.wallet.attest_with_service_key(&source, &signed)?;
        let present = Bytes(cbor::to_vec(&PresentConsent { permit, status }));
        json["decision"] = json!(signed.id());
        json["present_consent"] = json!(present);
        let shown = json["present_consent"].as_str().unwrap_or_default();
        text += &format!("present-consent for the recipient:\n{shown}\n");
        Ok(Report { text, json })
    }

    pub(super) async fn status(&mut self, source: &ServiceName) -> anyhow::Result<Report> {
        let trust = self.trust_at_hand().await?;
        let (_, time) = self.certificate_status(source, &trust).await?;
        Ok(Report {
            text: format!("your certificate at {source} was good at {}\n", words::date(time)),
            json: json!({ "source": source, "time": time }),
        })
    }

    fn draft(&self, request: &Request, args: &PresentArgs) -> anyhow::Result<PermitDraft> {
        let reopens = args.reopen.all();
        let notice = NoticeText {
            text: String::new(),
            language: words::NOTICE_LANGUAGE.to_owned(),
            version: words::NOTICE_VERSION,
        };
        let mut draft = self.wallet.present_draft(request, reopens, notice, self.now())?;
        draft.notice.text = words::notice(&draft);
        Ok(draft)
    }

    /// The CA's word on this wallet's certificate: a new one if it answers, else the last one.
    async fn certificate_status(
        &self,
        source: &ServiceName,
        trust: &Trust,
    ) -> anyhow::Result<(Attested, Timestamp)> {
        let certificate = self.wallet.certificate_hash(source).map_err(hint)?;
        let ca = self.wallet.certified_by(source, trust, self.now())?;
        let status = match self.client(&ca.url)?.certificate_status(&certificate).await {
            Ok(status) => {
                self.directory.save_last(Last::Status, source, &status)?;
                status
            }
            Err(error) if error.is_offline() => {
                let last = self.directory.last(Last::Status, source)?;
                last.with_context(|| {
                    format!("{error}, and this wallet holds no status (`status {source}` gets one)")
                })?
            }
            Err(error) => return Err(error.into()),
        };
        let time = self.wallet.check_status(source, &status, trust, self.now())?;
        Ok((status, time))
    }

    /// The home's trust list, or the one on disk while the home does not answer.
    pub(super) async fn trust_at_hand(&self) -> anyhow::Result<Trust> {
        match self.trust(&self.home()?).await {
            Err(error) if is_offline(&error) => {
                let known = self.directory.trust()?.context("this wallet holds no trust list")?;
                Trust::open(&known, self.wallet.network(), self.now())
                    .context("the stored trust list does not hold")
            }
            other => other,
        }
    }

    pub(super) fn last_register(
        &self,
        source: &ServiceName,
        trust: &Trust,
    ) -> anyhow::Result<Option<(PairRegister, RegisterView)>> {
        let Some(register) = self.directory.last(Last::Register, source)? else { return Ok(None) };
        let view = self.wallet.read_register(source, &register, trust, self.now())?;
        Ok(Some((register, view)))
    }
}

pub(super) fn is_offline(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ClientError>().is_some_and(ClientError::is_offline)
}

/// The request as the recipient's system shows it: CBOR in hexadecimal.
fn read_request(path: &Path) -> anyhow::Result<Request> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let bytes: Bytes =
        serde_json::from_value(json!(text.trim())).context("the request is not in hexadecimal")?;
    cbor::from_slice(&bytes).context("not a request")
}
