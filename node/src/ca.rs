//! A municipality's CA for organisations: requests are handed in, looked at by people, approved by as many
//! operators as the configuration says, and only then issued. Everything that was ever issued, and every
//! service name that was ever given, stays known. Each approval and each certificate is an `operator-action`
//! in the evidence log, in the same write as what it did.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use trust::{Ca, IssueError, LeafKind, Pointers, Request, RequestError, Validity, leaf};
use wire::{Bytes, Hash, ServiceName, Signer, Timestamp, membership::CaPurpose, sha256};

use crate::{
    context::{Context, Fault},
    evidence_log::operator_action,
    operator::Operator,
    store::{Column, Key, Scan, StoreError, Transaction, TypedRead},
};

/// Most requests in one application: an organisation key, and one for each of its services.
const REQUESTS: usize = 1 + wire::limits::DESCRIPTOR_LIST;
/// Most applications that wait for approval.
const WAITING: usize = 1024;
/// Certificates begin a little earlier: clocks differ.
const EARLIER_MS: u64 = 5 * 60_000;
const DAY_MS: u64 = 24 * 3_600_000;

/// A sub-CA at work.
pub struct SubCa {
    pub certificate: Bytes,
    pub signer: Arc<dyn Signer>,
}

pub struct CertificationAuthority {
    context: Arc<Context>,
    organisations: SubCa,
    credentials: SubCa,
    /// How many operators it takes.
    approvals: usize,
    /// For how long certificates hold.
    days: u64,
    /// One at a time.
    issuing: Mutex<()>,
}

/// What somebody wants certified, and what became of it. Value of [`Column::CaApplications`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// Certification requests, DER.
    pub requests: Vec<Bytes>,
    pub handed_in: Timestamp,
    pub approvals: Vec<Approval>,
    /// The chains, in the order of the requests; none before it is issued.
    pub chains: Vec<Vec<Bytes>>,
}

/// One operator's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The name under which they stand in the evidence log.
    pub operator: String,
    /// SHA-256 of the API key that was used.
    pub key: Hash,
    pub at: Timestamp,
}

/// A service name that was given. Value of [`Column::ServiceNames`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    name: ServiceName,
    since: Timestamp,
    /// From then on it is nobody's, for ever.
    retired: Option<Timestamp>,
}

#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("request {place}: {error}")]
    Request { place: usize, error: RequestError },
    #[error("an application asks for one organisation's key and keys of its services, each once")]
    Application,
    #[error("{0} was given up and is never given again")]
    Retired(ServiceName),
    #[error("there are {WAITING} applications already that wait for approval")]
    TooMany,
    #[error("there is no such application")]
    Unknown,
    #[error("it takes {0} operators: another one, with an API key of their own")]
    Again(usize),
    #[error("the CA cannot issue this: {0}")]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl CertificationAuthority {
    /// `approvals`: how many operators it takes; `days`: for how long certificates hold.
    pub fn new(
        context: Arc<Context>,
        organisations: SubCa,
        credentials: SubCa,
        (approvals, days): (usize, u64),
    ) -> Arc<Self> {
        let issuing = Mutex::new(());
        Arc::new(Self { context, organisations, credentials, approvals, days, issuing })
    }

    pub fn needed(&self) -> usize {
        self.approvals
    }

    /// Takes an application; the same again is the same. Gives its id.
    pub async fn hand_in(&self, requests: Vec<Bytes>) -> Result<Hash, CaError> {
        let asked = read(&requests)?;
        let id = application_id(&requests);
        let application = Application {
            requests,
            handed_in: self.context.now().wall,
            approvals: Vec::new(),
            chains: Vec::new(),
        };
        let written = self.context.commit(move |tx| {
            if tx.read::<Application>(Column::CaApplications, &id.0)?.is_some() {
                return Ok(());
            }
            check_names(tx, &asked)?;
            let all = tx.scan_values::<Application>(Column::CaApplications, &everything())?;
            if all.iter().filter(|(_, known)| known.chains.is_empty()).count() >= WAITING {
                return Err(CaError::TooMany);
            }
            tx.write(Column::CaApplications, id.0, &application);
            Ok(())
        });
        written.await??;
        Ok(id)
    }

    /// All applications, with their ids.
    pub fn all(&self) -> Result<Vec<(Hash, Application)>, CaError> {
        let read = self.context.committer.read();
        let rows = read.scan_values(Column::CaApplications, &everything())?;
        let named = |(key, application): (Vec<u8>, Application)| {
            Some((Hash(key.try_into().ok()?), application))
        };
        Ok(rows.into_iter().filter_map(named).collect())
    }

    pub fn application(&self, id: &Hash) -> Result<Application, CaError> {
        let read = self.context.committer.read();
        read.read(Column::CaApplications, &id.0)?.ok_or(CaError::Unknown)
    }

    /// One operator approves. With the last one that it takes, the certificates are issued.
    /// `key`: SHA-256 of the API key that they used.
    pub async fn approve(
        &self,
        id: Hash,
        operator: Operator,
        key: Hash,
    ) -> Result<Application, CaError> {
        let at = self.context.now().wall;
        let by = Approval { operator: operator.as_str().to_owned(), key, at };
        let action = |what, object| operator_action(&operator, what, Some(object), at);
        let _one = self.issuing.lock().await;
        let mut application = self.application(&id)?;
        if !application.chains.is_empty() {
            return Ok(application);
        }
        let known = |a: &Approval| a.operator == by.operator || a.key == by.key;
        if application.approvals.iter().any(known) {
            return Err(CaError::Again(self.approvals));
        }
        let asked = read(&application.requests)?;
        let mut records = vec![action("certificate-approved", id)];
        application.approvals.push(by);
        if application.approvals.len() >= self.approvals {
            application.chains = self.issue(asked.clone()).await?;
            let leaves = application.chains.iter().filter_map(|chain| chain.first());
            records.extend(leaves.map(|leaf| action("certificate-issued", sha256(leaf))));
        }
        let written = application.clone();
        let committed = self.context.commit(move |tx| {
            check_names(tx, &asked)?;
            if !written.chains.is_empty() {
                give_names(tx, &asked)?;
            }
            tx.write(Column::CaApplications, id.0, &written);
            for record in &records {
                tx.log(record);
            }
            Ok::<_, CaError>(())
        });
        committed.await??;
        Ok(application)
    }

    /// Nothing of it leaves before it is written down.
    async fn issue(&self, asked: Vec<Request>) -> Result<Vec<Vec<Bytes>>, CaError> {
        let now = self.context.now().wall;
        let not_before = Timestamp(now.0.saturating_sub(EARLIER_MS));
        let mut jobs = Vec::new();
        for request in asked {
            let ca = match request.kind.kind().purpose() {
                CaPurpose::Organisation => &self.organisations,
                _ => &self.credentials,
            };
            // A leaf does not outlive its CA.
            let until = not_before.plus_ms(self.days * DAY_MS);
            let of_ca = trust::claimed_validity(&ca.certificate).map_or(until, |(_, end)| end);
            let validity = Validity { not_before, not_after: until.min(of_ca) };
            let serial = self.context.entropy.array::<16>();
            jobs.push((request, ca.certificate.clone(), Arc::clone(&ca.signer), validity, serial));
        }
        // A key store may be slow.
        let issued = tokio::task::spawn_blocking(move || {
            let issue = |(request, certificate, signer, validity, serial): (
                Request,
                Bytes,
                Arc<dyn Signer>,
                Validity,
                [u8; 16],
            )| {
                let ca = Ca { certificate: &certificate, signer: &*signer };
                let pointers = Pointers::default();
                let der = leaf(&ca, &request.kind, &request.key, serial, validity, &pointers)?;
                Ok(vec![Bytes(der), certificate])
            };
            jobs.into_iter().map(issue).collect::<Result<Vec<_>, IssueError>>()
        });
        Ok(issued.await.map_err(|_| Fault::Failed)??)
    }
}

fn everything() -> Scan<'static> {
    Scan::prefix(&[], usize::MAX)
}

fn application_id(requests: &[Bytes]) -> Hash {
    sha256(&wire::cbor::to_vec(&requests))
}

/// An organisation's key, and keys of services that its certificate will name.
fn read(requests: &[Bytes]) -> Result<Vec<Request>, CaError> {
    if requests.is_empty() || requests.len() > REQUESTS {
        return Err(CaError::Application);
    }
    let read = |(place, der): (usize, &Bytes)| {
        Request::read(der).map_err(|error| CaError::Request { place, error })
    };
    let asked = (1..).zip(requests).map(read).collect::<Result<Vec<_>, _>>()?;
    let LeafKind::Organisation { services, .. } = &asked[0].kind else {
        return Err(CaError::Application);
    };
    let mut keys: Vec<_> = asked.iter().map(|request| request.key).collect();
    keys.sort();
    keys.dedup();
    let of_services = asked[1..].iter().all(|request| match &request.kind {
        LeafKind::Credential { service, .. } => services.contains(service),
        _ => false,
    });
    if keys.len() == asked.len() && of_services { Ok(asked) } else { Err(CaError::Application) }
}

fn name_key(service: &ServiceName) -> Key {
    Key::new().text(&service.organisation()).text(service.short_name())
}

/// A name that was given up is never given again.
fn check_names(tx: &Transaction<'_>, asked: &[Request]) -> Result<(), CaError> {
    for service in asked[0].kind.services() {
        let given: Option<Given> = tx.read(Column::ServiceNames, &name_key(service))?;
        if given.is_some_and(|given| given.retired.is_some()) {
            return Err(CaError::Retired(service.clone()));
        }
    }
    Ok(())
}

/// The names in an organisation's newest certificate are its own; those that it no longer asked for are given
/// up.
fn give_names(tx: &mut Transaction<'_>, asked: &[Request]) -> Result<(), CaError> {
    let Some(organisation) = asked[0].kind.organisation() else { return Ok(()) };
    let (services, now) = (asked[0].kind.services(), tx.wall());
    for service in services {
        let key = name_key(service);
        if tx.read::<Given>(Column::ServiceNames, &key)?.is_none() {
            let given = Given { name: service.clone(), since: now, retired: None };
            tx.write(Column::ServiceNames, key.into_bytes(), &given);
        }
    }
    let of_organisation = Key::new().text(organisation);
    let scan = Scan::prefix(&of_organisation, usize::MAX);
    for (key, given) in tx.scan_values::<Given>(Column::ServiceNames, &scan)? {
        if given.retired.is_none() && !services.contains(&given.name) {
            tx.write(Column::ServiceNames, key, &Given { retired: Some(now), ..given });
        }
    }
    Ok(())
}
