//! A provider's side as a recipient: it asks for a presentation, checks what comes, and signs that
//! it got it. What it does when is [`exchange::recipient`]'s to say; here are store, network and keys.

pub mod asking;

use std::{collections::BTreeMap, sync::Arc};

use evidence::record::Record;
use exchange::{Answer, Ending, Next, NoEnding, OwnRequest, OwnRequestError, StoredRequest, Terms};
use wire::{
    Bytes, DecisionId, ItemType, Nonce, Purpose, ServiceId, ServiceName, Signed, cbor,
    exchange::{ExchangeMessage, ExchangeReply, PresentConsent, Receipt, Rejection, Request},
};

use crate::{
    context::{Context, Fault},
    courier::Courier,
    net::Protocol,
    source::exchange::rejection_code,
    store::{Column, Read, Scan, StoreError, Transaction, TypedRead},
};

/// How long a request is good for: time for a retry after a crash on either side.
const VALIDITY_MS: u64 = wire::limits::REQUEST_VALIDITY_MS;

/// How often receipts are sent again that the source has not noted.
const OWED_RECEIPTS: std::time::Duration = std::time::Duration::from_secs(30);

/// What the recipient's own system wants to know.
#[derive(Debug, Clone)]
pub struct Ask {
    pub source: ServiceName,
    pub recipient: ServiceName,
    pub subject: ServiceId,
    pub items: Vec<ItemType>,
    pub purpose: Purpose,
    pub whole: bool,
    /// The caller's own id for a safe retry.
    pub id: Option<Nonce>,
}

impl Ask {
    fn question(&self) -> exchange::Ask {
        exchange::Ask {
            source: self.source.clone(),
            recipient: self.recipient.clone(),
            subject: self.subject,
            items: self.items.clone(),
            whole: self.whole,
            purpose: self.purpose.clone(),
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Presented {
        items: serde_json::Map<String, serde_json::Value>,
        /// What each permit asks of us.
        terms: BTreeMap<DecisionId, Terms>,
        presentation: String,
    },
    NotPermitted,
    Rejected(Rejection),
    /// Sent, or about to be; no answer yet.
    Pending,
    /// Waits for the citizen's present-consent.
    Prepared(Box<Request>),
}

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("the recipient is not a service of this node")]
    NotOurs,
    #[error("{0}")]
    Malformed(String),
    #[error("this id names another request")]
    OtherRequest,
    #[error("no request with this id waits for a present-consent")]
    NotPrepared,
    #[error("the request waits for the citizen's present-consent")]
    Waits { id: Nonce },
    #[error("the source did not answer: {reason}")]
    Unreachable { id: Nonce, reason: String },
    #[error("the presentation does not hold: {reason}")]
    BadPresentation { id: Nonce, reason: String },
    #[error(transparent)]
    Fault(#[from] Fault),
}

pub struct Recipient {
    context: Arc<Context>,
    /// Consent requests on their way to the citizens' homes.
    asks: Arc<Courier<asking::AsksOwed>>,
    follows_channels: bool,
}

impl Recipient {
    /// `follows_channels`: this node is a source, too, to which homes send what their citizens say there.
    pub fn new(context: Arc<Context>, follows_channels: bool) -> Arc<Self> {
        let asks = asking::courier(&context);
        Arc::new(Self { context, asks, follows_channels })
    }

    /// Asks, and waits for the answer. Asked again with the same id, it goes on where it was: a
    /// presentation that was received is given again, anything else is asked anew with the very same
    /// signed request.
    pub async fn ask(self: &Arc<Self>, ask: Ask) -> Result<(Nonce, Outcome), AskError> {
        if !self.context.owns(&ask.recipient) {
            return Err(AskError::NotOurs);
        }
        let id = ask.id.unwrap_or_else(|| Nonce(self.context.entropy.array()));
        let question = ask.question();
        let next = self.own(&id)?.ask(&question, self.context.trust().network());
        let next = match next.map_err(|error| of_machine(id, error))? {
            Next::New => Next::Sign(Box::new(self.new_request(id, question)?)),
            next => next,
        };
        Ok((id, self.go_on(id, next).await?))
    }

    /// Prepares a request for a citizen at the counter and makes it durable: they sign a permit for
    /// this very one. The same id and question give the same request again.
    pub async fn prepare(&self, ask: Ask) -> Result<(Nonce, Request), AskError> {
        if !self.context.owns(&ask.recipient) {
            return Err(AskError::NotOurs);
        }
        let id = ask.id.unwrap_or_else(|| Nonce(self.context.entropy.array()));
        let question = ask.question();
        let fresh = self.new_request(id, question.clone())?;
        let prepared = self.changed(id, move |own, _| own.prepare(&question, fresh)).await?;
        Ok((id, prepared.map_err(|error| of_machine(id, error))?))
    }

    /// Joins the citizen's present-consent to the request that was prepared under `id`, and sends it.
    /// Handed in again, the same one goes on where it was; there is never a second one.
    pub async fn attach(
        self: &Arc<Self>,
        id: Nonce,
        present: PresentConsent,
    ) -> Result<Outcome, AskError> {
        let next = self.own(&id)?.attach(&present, self.context.trust().network());
        self.go_on(id, next.map_err(|error| of_machine(id, error))?).await
    }

    async fn go_on(self: &Arc<Self>, id: Nonce, next: Next) -> Result<Outcome, AskError> {
        match next {
            Next::Sign(request) => {
                let signed = self.begin(*request).await?;
                self.send(id, &signed).await
            }
            Next::Send(signed) => self.send(id, &signed).await,
            Next::New | Next::Ended => self.outcome(&id)?.ok_or(Fault::Protocol.into()),
        }
    }

    /// How a request ended that was made before.
    pub fn outcome(&self, id: &Nonce) -> Result<Option<Outcome>, AskError> {
        Ok(self.own(id)?.stored().map(outcome).transpose()?)
    }

    fn own(&self, id: &Nonce) -> Result<OwnRequest, Fault> {
        Ok(load(&*self.context.committer.read(), id)?)
    }

    fn new_request(&self, id: Nonce, ask: exchange::Ask) -> Result<Request, AskError> {
        let nonce = Nonce(self.context.entropy.array());
        ask.request(id, nonce, self.context.now().wall, VALIDITY_MS)
            .map_err(|fault| AskError::Malformed(fault.to_string()))
    }

    /// Changes what is kept under an id, in one write: what `change` leaves there, and what it logs.
    async fn changed<T: Send + 'static>(
        &self,
        id: Nonce,
        change: impl FnOnce(&mut OwnRequest, &mut Transaction<'_>) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let changed = self.context.commit(move |tx| {
            let before = load(tx, &id)?;
            let mut own = before.clone();
            let result = change(&mut own, tx);
            keep(tx, &id, &before, &own);
            Ok::<_, StoreError>(result)
        });
        Ok(changed.await??)
    }

    /// Signs a request and makes it durable: from here on it may leave.
    async fn begin(&self, request: Request) -> Result<Signed<Request>, AskError> {
        let id = request.id;
        let signed = self.context.sign(request).await?;
        let begun = signed.clone();
        let begun = self.changed(id, move |own, tx| {
            let sent = own.begin(&begun)?;
            let now = tx.wall();
            tx.log(&Record::new(&sent, now));
            Ok::<_, OwnRequestError>(())
        });
        begun.await?.map_err(|error| of_machine(id, error))?;
        Ok(signed)
    }

    async fn send(
        self: &Arc<Self>,
        id: Nonce,
        signed: &Signed<Request>,
    ) -> Result<Outcome, AskError> {
        let request = signed.unverified();
        let source = request.source.organisation();
        let message = ExchangeMessage::Request(Bytes(signed.bytes().to_vec()));
        let reply = match self.context.ask(&source, Protocol::Exchange, &message).await {
            Ok(reply) => reply,
            Err(fault @ (Fault::Network(_) | Fault::Protocol)) => {
                self.context.metrics.requests_failed.with_label_values(&["unreachable"]).inc();
                return Err(AskError::Unreachable { id, reason: fault.to_string() });
            }
            Err(fault) => return Err(fault.into()),
        };
        let failed =
            |code: &str| self.context.metrics.requests_failed.with_label_values(&[code]).inc();
        let trust = match &reply {
            ExchangeReply::Presentation(_) => self.context.live_trust()?,
            _ => self.context.trust(),
        };
        match Ending::of(&reply, signed, &trust, self.context.now().wall) {
            Ok(ending) => {
                match &ending {
                    Ending::Presented(_) => {}
                    Ending::NotPermitted => failed("not-permitted"),
                    Ending::Rejected(rejection) => failed(rejection_code(*rejection)),
                }
                self.settle(id, signed, ending).await
            }
            Err(NoEnding::Later(rejection)) => {
                let code = rejection_code(rejection);
                failed(code);
                Err(AskError::Unreachable { id, reason: format!("the source is {code}") })
            }
            Err(NoEnding::BadPresentation(error)) => {
                failed("bad-presentation");
                tracing::warn!(source = %request.source, %error, "a presentation does not hold");
                Err(AskError::BadPresentation { id, reason: error.to_string() })
            }
            Err(NoEnding::Foreign) => Err(Fault::Protocol.into()),
        }
    }

    /// Makes the end of a request durable, unless it has one, and sends the receipt. Gives what stands.
    async fn settle(
        self: &Arc<Self>,
        id: Nonce,
        signed: &Signed<Request>,
        ending: Ending,
    ) -> Result<Outcome, AskError> {
        let signed = signed.clone();
        let settled = self.changed(id, move |own, tx| {
            let now = tx.wall();
            let news = own.settle(&signed, &ending, now);
            if let Some(record) = &news {
                tx.log(record);
            }
            (own.clone(), news.is_some())
        });
        let (own, is_news) = settled.await?;
        if let Some((source, receipt)) = own.owed().filter(|_| is_news).cloned() {
            self.context.metrics.presentations_received.inc();
            let recipient = Arc::clone(self);
            tokio::spawn(async move { recipient.send_receipt(id, receipt, source).await });
        }
        let stored = own.stored().ok_or(Fault::Protocol)?;
        Ok(outcome(stored)?)
    }

    /// Sends what was owed when the node stopped: consent requests, and receipts until each is noted.
    pub fn start(self: &Arc<Self>) -> Result<(), Fault> {
        asking::resume(&self.asks, &self.context)?;
        let recipient = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                recipient.send_owed_receipts().await;
                tokio::time::sleep(OWED_RECEIPTS).await;
            }
        });
        Ok(())
    }

    async fn send_owed_receipts(&self) {
        let owed = {
            let read = self.context.committer.read();
            read.scan_values::<(ServiceName, Receipt)>(
                Column::ReceiptOutbox,
                &Scan::prefix(&[], 256),
            )
        };
        for (key, (source, receipt)) in owed.unwrap_or_default() {
            if let Ok(id) = Nonce::try_from(&key[..]) {
                self.send_receipt(id, receipt, source).await;
            }
        }
    }

    /// A receipt is the source's evidence: it is owed until the source has noted it.
    async fn send_receipt(&self, id: Nonce, receipt: Receipt, source: ServiceName) {
        let sent = async {
            let signed = self.context.sign(receipt).await?;
            let message = ExchangeMessage::Receipt(Bytes(signed.bytes().to_vec()));
            let organisation = source.organisation();
            self.context.ask::<_, ExchangeReply>(&organisation, Protocol::Exchange, &message).await
        };
        match sent.await {
            Ok(ExchangeReply::Noted) => {
                if let Err(fault) = self.changed(id, |own, _| own.noted()).await {
                    tracing::warn!(%fault, "a noted receipt will be sent again");
                }
            }
            Ok(reply) => tracing::warn!(%source, ?reply, "a receipt was not noted"),
            Err(fault) => tracing::warn!(%source, %fault, "a receipt could not be sent"),
        }
    }
}

fn of_machine(id: Nonce, error: OwnRequestError) -> AskError {
    match error {
        OwnRequestError::OtherRequest => AskError::OtherRequest,
        OwnRequestError::NotPrepared => AskError::NotPrepared,
        OwnRequestError::Waits => AskError::Waits { id },
        OwnRequestError::Damaged => Fault::Protocol.into(),
    }
}

fn load(read: &(impl Read + ?Sized), id: &Nonce) -> Result<OwnRequest, StoreError> {
    let (stored, owed) =
        (read.read(Column::Requests, &id.0)?, read.read(Column::ReceiptOutbox, &id.0)?);
    Ok(OwnRequest::load(stored, owed))
}

fn keep(tx: &mut Transaction<'_>, id: &Nonce, before: &OwnRequest, own: &OwnRequest) {
    if let Some(stored) = own.stored().filter(|stored| before.stored() != Some(*stored)) {
        tx.write(Column::Requests, id.0, stored);
    }
    match own.owed() {
        owed if owed == before.owed() => {}
        Some(owed) => tx.write(Column::ReceiptOutbox, id.0, owed),
        None => tx.delete(Column::ReceiptOutbox, id.0),
    }
}

fn outcome(stored: &StoredRequest) -> Result<Outcome, Fault> {
    Ok(match &stored.answer {
        Answer::Pending => Outcome::Pending,
        Answer::Prepared => {
            let bare = cbor::from_slice(&stored.request).map_err(|_| Fault::Protocol)?;
            Outcome::Prepared(Box::new(bare))
        }
        Answer::NotPermitted => Outcome::NotPermitted,
        Answer::Rejected(rejection) => Outcome::Rejected(*rejection),
        Answer::Presented { presentation, items, terms } => Outcome::Presented {
            terms: terms.clone(),
            items: serde_json::from_slice(items).map_err(|_| Fault::Protocol)?,
            presentation: String::from_utf8_lossy(presentation).into_owned(),
        },
    })
}
