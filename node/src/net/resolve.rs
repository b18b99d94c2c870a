//! Names in addresses (`/dns4/node.example/tcp/4001`), looked up by the system's resolver just
//! before dialling: names outlive the addresses behind them.

use std::net::IpAddr;

use libp2p::{Multiaddr, multiaddr::Protocol};
use tokio::{net::lookup_host, time::timeout};

use super::limits;

/// Whether the address begins with a name.
pub(super) fn is_name(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)))
}

/// The addresses with names replaced by what they stand for now, at most
/// [`limits::DIAL_ADDRESSES`]. A name that cannot be resolved in time stands for nothing.
pub(super) async fn resolve(addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
    let mut resolved = Vec::new();
    for address in addresses {
        if is_name(&address) {
            let found = timeout(limits::LOOKUP_TIMEOUT, resolve_one(&address)).await;
            resolved.extend(found.unwrap_or_default());
        } else {
            resolved.push(address);
        }
    }
    resolved.truncate(limits::DIAL_ADDRESSES);
    resolved
}

async fn resolve_one(address: &Multiaddr) -> Vec<Multiaddr> {
    let mut parts = address.iter();
    let (name, wanted): (_, fn(&IpAddr) -> bool) = match parts.next() {
        Some(Protocol::Dns(name)) => (name, |_| true),
        Some(Protocol::Dns4(name)) => (name, IpAddr::is_ipv4),
        Some(Protocol::Dns6(name)) => (name, IpAddr::is_ipv6),
        _ => return vec![address.clone()],
    };
    let rest: Vec<_> = parts.collect();
    let Ok(found) = lookup_host((&*name, 0)).await else { return Vec::new() };
    found
        .map(|socket| socket.ip())
        .filter(wanted)
        .map(|ip| {
            let first = std::iter::once(Protocol::from(ip));
            first.chain(rest.iter().cloned()).collect::<Multiaddr>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolved(address: &str) -> Vec<String> {
        let addresses = resolve(vec![address.parse().unwrap()]).await;
        addresses.iter().map(Multiaddr::to_string).collect()
    }

    #[tokio::test]
    async fn names_become_addresses_and_addresses_stay() {
        let fixed = "/ip4/192.0.2.1/udp/4001/quic-v1";
        assert_eq!(resolved(fixed).await, [fixed]);
        // `localhost` is in every hosts file (RFC 6761 section 6.3).
        assert_eq!(resolved("/dns4/localhost/tcp/4001").await, ["/ip4/127.0.0.1/tcp/4001"]);
        // Never exists (RFC 6761 section 6.4).
        assert!(resolved("/dns/nowhere.invalid/tcp/4001").await.is_empty());
    }
}
