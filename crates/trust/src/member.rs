//! Membership: a CA on the trust list certified the organisation key, the organisation key signed
//! the descriptor, and the list allows the roles it claims.

use wire::{
    EnvelopeError, OrganisationId, PublicKey, ServiceName, Signed, Timestamp, limits,
    membership::{Descriptor, Hello, NodeIdentity, Role},
};

use crate::{
    chain::{CertificateKind, ChainError, LeafSubject, VerifiedChain, verify_chain},
    list::Trust,
};

/// Longest peer id, multiaddress or URL in a descriptor, in bytes.
const TEXT: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    #[error("organisation certificate: {0}")]
    Chain(ChainError),
    #[error("node descriptor: {0}")]
    Envelope(EnvelopeError),
    #[error("the descriptor names another organisation than the certificate")]
    OtherOrganisation,
    #[error("the descriptor shows another name than the certificate")]
    OtherName,
    #[error("the descriptor lists a service that the certificate does not name")]
    ForeignService,
    #[error("the trust list does not let this organisation be a {0:?} node")]
    Role(Role),
    #[error("node descriptor: {0}")]
    Content(&'static str),
    #[error("the connection's peer id is not one of the descriptor's")]
    ForeignPeer,
}

impl MemberError {
    /// Whether nothing was found wrong, but the check could not be made.
    pub fn could_not_check(&self) -> bool {
        matches!(self, Self::Chain(ChainError::TrustExpired))
    }
}

/// A node whose identity was checked. Only a check makes one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member {
    pub organisation: OrganisationId,
    /// As a CA certified it.
    pub name: String,
    pub descriptor: Descriptor,
    /// What was checked, to pass on.
    pub identity: NodeIdentity,
    chain: VerifiedChain,
}

impl Member {
    /// The organisation certificate's chain.
    pub fn chain(&self) -> &VerifiedChain {
        &self.chain
    }

    pub fn organisation_key(&self) -> &PublicKey {
        self.chain.public_key()
    }

    pub fn has_role(&self, role: Role) -> bool {
        self.descriptor.roles.contains(&role)
    }

    /// Whether the node stands for this service.
    pub fn owns(&self, service: &ServiceName) -> bool {
        self.descriptor.services.contains(service)
    }
}

/// Checks a node's certificate chain and descriptor. After the soft expiry of the timestamp the
/// caller must let in only members it knew before ([`Trust::freshness`]).
pub fn verify_identity(
    identity: &NodeIdentity,
    trust: &Trust,
    at: Timestamp,
) -> Result<Member, MemberError> {
    let signed = Signed::<Descriptor>::decode(&identity.descriptor, trust.network())
        .map_err(MemberError::Envelope)?;
    check_content(signed.unverified(), trust.testnet())?;
    let chain = verify_chain(&identity.chain, CertificateKind::Organisation, trust, at)
        .map_err(MemberError::Chain)?;
    let descriptor =
        signed.verify(chain.public_key()).map_err(MemberError::Envelope)?.into_message();
    let LeafSubject::Organisation { organisation, name, services } = chain.subject() else {
        // An organisation chain was asked for; another kind would be the checker's fault.
        return Err(MemberError::OtherOrganisation);
    };
    if descriptor.organisation != *organisation {
        return Err(MemberError::OtherOrganisation);
    }
    if descriptor.name != *name {
        return Err(MemberError::OtherName);
    }
    if !descriptor.services.iter().all(|service| services.contains(service)) {
        return Err(MemberError::ForeignService);
    }
    if let Some(role) =
        descriptor.roles.iter().find(|role| !trust.allows_role(organisation, **role))
    {
        return Err(MemberError::Role(*role));
    }
    Ok(Member {
        organisation: organisation.clone(),
        name: name.clone(),
        descriptor,
        identity: identity.clone(),
        chain,
    })
}

/// Checks a hello that came over a connection whose other end proved to be `peer_id`.
pub fn verify_hello(
    hello: &Hello,
    peer_id: &str,
    trust: &Trust,
    at: Timestamp,
) -> Result<Member, MemberError> {
    let member = verify_identity(&hello.identity, trust, at)?;
    if member.descriptor.peers.iter().any(|peer| peer == peer_id) {
        Ok(member)
    } else {
        Err(MemberError::ForeignPeer)
    }
}

fn check_content(descriptor: &Descriptor, testnet: bool) -> Result<(), MemberError> {
    let refused = |why| Err(MemberError::Content(why));
    let Descriptor { peers, addresses, roles, services, .. } = descriptor;
    if [peers.len(), addresses.len(), roles.len(), services.len()]
        .into_iter()
        .any(|length| length > limits::DESCRIPTOR_LIST)
    {
        return refused("a list is too long");
    }
    if peers.is_empty() || !peers.iter().all(|peer| is_peer_id(peer)) || !distinct(peers) {
        return refused("peers are base58 peer ids, each once, at least one");
    }
    let is_address = |text: &String| {
        text.len() <= TEXT && text.starts_with('/') && text.bytes().all(|c| c.is_ascii_graphic())
    };
    if !addresses.iter().all(is_address) || !distinct(addresses) {
        return refused("addresses are multiaddresses, each once");
    }
    if !roles.windows(2).all(|pair| pair[0] < pair[1])
        || !services.windows(2).all(|pair| pair[0] < pair[1])
    {
        return refused("roles and services are sorted, each once");
    }
    if descriptor.log_key.len() != 32
        || descriptor.witness_key.as_ref().is_some_and(|key| key.len() != 32)
    {
        return refused("log key and witness key are Ed25519 keys of 32 bytes");
    }
    if roles.contains(&Role::Witness) && descriptor.witness_key.is_none() {
        return refused("a witness names its witness key");
    }
    if descriptor.public_url.as_ref().is_some_and(|url| !is_url(url, testnet)) {
        return refused("the public URL is an https URL (http in a testnet only)");
    }
    Ok(())
}

fn is_peer_id(text: &str) -> bool {
    let base58 = |c: u8| c.is_ascii_alphanumeric() && !matches!(c, b'0' | b'O' | b'I' | b'l');
    (1..=128).contains(&text.len()) && text.bytes().all(base58)
}

fn is_url(text: &str, testnet: bool) -> bool {
    let rest = match text.strip_prefix("https://") {
        None if testnet => text.strip_prefix("http://"),
        rest => rest,
    };
    text.len() <= TEXT
        && text.bytes().all(|c| c.is_ascii_graphic())
        && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

fn distinct(items: &[String]) -> bool {
    let mut sorted: Vec<_> = items.iter().collect();
    sorted.sort();
    sorted.windows(2).all(|pair| pair[0] != pair[1])
}

#[cfg(test)]
mod tests;
