//! A provider's side as a recipient: it asks for a presentation, checks what comes, and signs that
//! it got it. A request is durable before it leaves, so that a crash on either side ends in a retry
//! of the same request and never in a second one.

pub mod asking;

use std::{collections::BTreeMap, sync::Arc};

use evidence::record::{PresentationReceived, Record, RefusalReceived, RequestSent};
use exchange::{Expected, Terms, check_presentation, receipt};
use serde::{Deserialize, Serialize};
use wire::{
    Bytes, DecisionId, ItemType, Nonce, Purpose, ServiceId, ServiceName, Signed, cbor,
    exchange::{ExchangeMessage, ExchangeReply, PresentConsent, Receipt, Rejection, Request},
};

use crate::{
    context::{Context, Fault},
    courier::Courier,
    net::Protocol,
    source::exchange::rejection_code,
    store::{Column, Scan, StoreError, Transaction, TypedRead},
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

/// The recipient's side of one request, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredRequest {
    /// The signed request; while it is prepared, the CBOR of the bare one.
    pub request: Bytes,
    pub answer: Answer,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Pending,
    /// Not signed yet: it waits for the citizen's present-consent.
    Prepared,
    /// Checked, durable; the receipt is signed over it.
    Presented {
        presentation: Bytes,
        /// The disclosed items, as JSON text: what was checked is what is shown.
        items: Bytes,
        terms: BTreeMap<DecisionId, Terms>,
    },
    NotPermitted,
    Rejected(Rejection),
}

pub struct Recipient {
    context: Arc<Context>,
    /// Consent requests on their way to the citizens' homes.
    asks: Arc<Courier<asking::AsksOwed>>,
}

impl Recipient {
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let asks = asking::courier(&context);
        Arc::new(Self { context, asks })
    }

    /// Asks, and waits for the answer. Asked again with the same id, it goes on where it was: a
    /// presentation that was received is given again, anything else is asked anew with the very same
    /// signed request.
    pub async fn ask(self: &Arc<Self>, ask: Ask) -> Result<(Nonce, Outcome), AskError> {
        if !self.context.owns(&ask.recipient) {
            return Err(AskError::NotOurs);
        }
        let id = ask.id.unwrap_or_else(|| Nonce(self.context.entropy.array()));
        let signed = match self.stored(&id)? {
            Some(StoredRequest { answer: Answer::Prepared, .. }) => {
                return Err(AskError::Waits { id });
            }
            Some(stored) => {
                let signed = self.decode(&stored.request)?;
                if !is_the_same(&ask, signed.unverified()) {
                    return Err(AskError::OtherRequest);
                }
                if !matches!(stored.answer, Answer::Pending) {
                    return Ok((id, self.view(&stored)?));
                }
                signed
            }
            None => self.begin(id, ask).await?,
        };
        let outcome = self.send(id, &signed).await?;
        Ok((id, outcome))
    }

    /// Prepares a request for a citizen at the counter and makes it durable: they sign a permit for
    /// this very one. The same id and question give the same request again.
    pub async fn prepare(&self, ask: Ask) -> Result<(Nonce, Request), AskError> {
        if !self.context.owns(&ask.recipient) {
            return Err(AskError::NotOurs);
        }
        let id = ask.id.unwrap_or_else(|| Nonce(self.context.entropy.array()));
        let request = self.new_request(id, ask.clone())?;
        let prepared = self.context.commit(move |tx| {
            let known: Option<StoredRequest> =
                tx.read(Column::Requests, &id.0).map_err(Fault::from)?;
            match known {
                Some(StoredRequest { request, answer: Answer::Prepared }) => {
                    let known: Request = cbor::from_slice(&request).map_err(|_| Fault::Protocol)?;
                    if is_the_same(&ask, &known) { Ok(known) } else { Err(AskError::OtherRequest) }
                }
                Some(_) => Err(AskError::OtherRequest),
                None => {
                    let row = StoredRequest {
                        request: Bytes(cbor::to_vec(&request)),
                        answer: Answer::Prepared,
                    };
                    tx.write(Column::Requests, id.0, &row);
                    Ok(request)
                }
            }
        });
        Ok((id, prepared.await??))
    }

    /// Joins the citizen's present-consent to the request that was prepared under `id`, and sends it.
    /// Handed in again, the same one goes on where it was; there is never a second one.
    pub async fn attach(
        self: &Arc<Self>,
        id: Nonce,
        present: PresentConsent,
    ) -> Result<Outcome, AskError> {
        let stored = self.stored(&id)?.ok_or(AskError::NotPrepared)?;
        let signed = match stored.answer {
            Answer::Prepared => {
                let bare: Request =
                    cbor::from_slice(&stored.request).map_err(|_| Fault::Protocol)?;
                let request = Request { present_consent: Some(present), ..bare };
                self.keep(request, true).await?
            }
            answer => {
                let signed = self.decode(&stored.request)?;
                if signed.unverified().present_consent != Some(present) {
                    return Err(AskError::NotPrepared);
                }
                if answer != Answer::Pending {
                    return self.view(&StoredRequest { request: stored.request, answer });
                }
                signed
            }
        };
        self.send(id, &signed).await
    }

    /// How a request ended that was made before.
    pub fn outcome(&self, id: &Nonce) -> Result<Option<Outcome>, AskError> {
        self.stored(id)?.map(|stored| self.view(&stored)).transpose()
    }

    fn stored(&self, id: &Nonce) -> Result<Option<StoredRequest>, Fault> {
        Ok(self.context.committer.read().read(Column::Requests, &id.0)?)
    }

    fn decode(&self, request: &[u8]) -> Result<Signed<Request>, AskError> {
        Signed::decode(request, self.context.trust().network()).map_err(|_| Fault::Protocol.into())
    }

    fn new_request(&self, id: Nonce, ask: Ask) -> Result<Request, AskError> {
        let nonce = Nonce(self.context.entropy.array());
        let asked = exchange::Ask {
            source: ask.source,
            recipient: ask.recipient,
            subject: ask.subject,
            items: ask.items,
            whole: ask.whole,
            purpose: ask.purpose,
        };
        asked
            .request(id, nonce, self.context.now().wall, VALIDITY_MS)
            .map_err(|fault| AskError::Malformed(fault.to_string()))
    }

    /// Signs a new request and makes it durable.
    async fn begin(&self, id: Nonce, ask: Ask) -> Result<Signed<Request>, AskError> {
        let request = self.new_request(id, ask)?;
        self.keep(request, false).await
    }

    /// Signs a request and makes it durable, in the place of a prepared one or of none.
    async fn keep(&self, request: Request, prepared: bool) -> Result<Signed<Request>, AskError> {
        let (id, source) = (request.id, request.source.clone());
        let signed = self.context.sign(request).await?;
        let row =
            StoredRequest { request: Bytes(signed.bytes().to_vec()), answer: Answer::Pending };
        let sent = RequestSent { request: row.request.clone(), request_id: signed.id(), source };
        let begun = self
            .context
            .commit(move |tx| {
                let known: Option<StoredRequest> =
                    tx.read(Column::Requests, &id.0).map_err(Fault::from)?;
                match (known.map(|known| known.answer), prepared) {
                    (None, false) | (Some(Answer::Prepared), true) => {}
                    _ => return Err(AskError::OtherRequest),
                }
                let now = tx.wall();
                tx.log(&Record::new(&sent, now));
                tx.write(Column::Requests, id.0, &row);
                Ok(())
            })
            .await?;
        begun?;
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
        match reply {
            ExchangeReply::Presentation(bytes) => self.receive(id, signed, bytes).await,
            ExchangeReply::NotPermitted => {
                self.close(id, signed, Answer::NotPermitted, "not-permitted", None).await
            }
            // The source may be able to answer the same request in a moment.
            ExchangeReply::Rejected(rejection @ (Rejection::Busy | Rejection::Unavailable)) => {
                let code = rejection_code(rejection);
                self.context.metrics.requests_failed.with_label_values(&[code]).inc();
                Err(AskError::Unreachable { id, reason: format!("the source is {code}") })
            }
            ExchangeReply::Rejected(rejection) => {
                let code = rejection_code(rejection);
                let answer = Answer::Rejected(rejection);
                self.close(id, signed, answer, code, Some(rejection)).await
            }
            ExchangeReply::Noted => Err(Fault::Protocol.into()),
        }
    }

    /// Checks a presentation, makes it durable, and sends the receipt.
    async fn receive(
        self: &Arc<Self>,
        id: Nonce,
        signed: &Signed<Request>,
        bytes: Bytes,
    ) -> Result<Outcome, AskError> {
        let trust = self.context.live_trust()?;
        let now = self.context.now().wall;
        let expected = Expected::answer_to(signed.unverified(), signed.id(), now);
        let checked = check_presentation(&bytes, &expected, &trust).map_err(|error| {
            self.context.metrics.requests_failed.with_label_values(&["bad-presentation"]).inc();
            tracing::warn!(source = %signed.unverified().source, %error, "a presentation does not hold");
            AskError::BadPresentation { id, reason: error.to_string() }
        })?;
        let items = serde_json::to_vec(checked.items()).map_err(|_| Fault::Protocol)?;
        let received = PresentationReceived {
            request_id: signed.id(),
            source: signed.unverified().source.clone(),
            presentation: checked.hash(),
        };
        let row = StoredRequest {
            request: Bytes(signed.bytes().to_vec()),
            answer: Answer::Presented {
                presentation: bytes,
                items: Bytes(items),
                terms: checked.terms().clone(),
            },
        };
        let receipt = receipt(&checked, now);
        let source = signed.unverified().source.clone();
        let owed = (source.clone(), receipt.clone());
        let kept = self
            .settle(id, row, move |tx| {
                let now = tx.wall();
                tx.log(&Record::new(&received, now));
                tx.write(Column::ReceiptOutbox, id.0, &owed);
            })
            .await?;
        self.context.metrics.presentations_received.inc();
        let recipient = Arc::clone(self);
        tokio::spawn(async move { recipient.send_receipt(id, receipt, source).await });
        self.view(&kept)
    }

    /// Writes the end of a request, unless it has one: of two answers to the same request the first
    /// stands. Gives what stands.
    async fn settle(
        &self,
        id: Nonce,
        row: StoredRequest,
        also: impl FnOnce(&mut Transaction<'_>) + Send + 'static,
    ) -> Result<StoredRequest, AskError> {
        let settled = self.context.commit(move |tx| {
            let known: Option<StoredRequest> = tx.read(Column::Requests, &id.0)?;
            if let Some(known) = known.filter(|known| known.answer != Answer::Pending) {
                return Ok(known);
            }
            tx.write(Column::Requests, id.0, &row);
            also(tx);
            Ok::<_, StoreError>(row)
        });
        Ok(settled.await?.map_err(Fault::from)?)
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
                let noted = self.context.commit(move |tx| {
                    tx.delete(Column::ReceiptOutbox, id.0);
                    Ok::<_, std::convert::Infallible>(())
                });
                if let Err(fault) = noted.await {
                    tracing::warn!(%fault, "a noted receipt will be sent again");
                }
            }
            Ok(reply) => tracing::warn!(%source, ?reply, "a receipt was not noted"),
            Err(fault) => tracing::warn!(%source, %fault, "a receipt could not be sent"),
        }
    }

    async fn close(
        &self,
        id: Nonce,
        signed: &Signed<Request>,
        answer: Answer,
        code: &str,
        rejection: Option<Rejection>,
    ) -> Result<Outcome, AskError> {
        self.context.metrics.requests_failed.with_label_values(&[code]).inc();
        let refused = RefusalReceived {
            request_id: signed.id(),
            source: signed.unverified().source.clone(),
            rejection,
        };
        let row = StoredRequest { request: Bytes(signed.bytes().to_vec()), answer };
        let kept = self
            .settle(id, row, move |tx| {
                let now = tx.wall();
                tx.log(&Record::new(&refused, now));
            })
            .await?;
        self.view(&kept)
    }

    fn view(&self, stored: &StoredRequest) -> Result<Outcome, AskError> {
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
}

fn is_the_same(ask: &Ask, request: &Request) -> bool {
    let mut items = ask.items.clone();
    items.sort();
    items.dedup();
    ask.source == request.source
        && ask.recipient == request.recipient
        && ask.subject == request.subject
        && items == request.items
        && ask.purpose == request.purpose
        && ask.whole == request.whole
}
