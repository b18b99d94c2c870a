//! A node whose trust file has run out, because it was away for long or was put back from an old disk, can
//! judge nobody and is judged by nobody. Before anything else it asks the nodes that it knows for a newer
//! file; what it gets proves itself from the root that the node is pinned to.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use trust::{Trust, member::Member};
use wire::membership::{NodeIdentity, TrustFile};

use crate::net::{Clock, Inbound, NetError, Network, NetworkConfig, Protocol};

/// Files that wait to be looked at; of more than that one is enough.
const WAITING: usize = 4;

/// Takes files, and answers nobody.
struct Files(mpsc::Sender<TrustFile>);

impl Inbound for Files {
    fn handle(
        &self,
        _: Arc<Member>,
        _: Protocol,
        _: Vec<u8>,
    ) -> BoxFuture<'static, Option<Vec<u8>>> {
        Box::pin(std::future::ready(None))
    }

    fn trust_file(&self, file: TrustFile) {
        let _ = self.0.try_send(file);
    }
}

/// Asks the bootstrap nodes until one of them has a file that leads from `old` to the present.
///
/// # Errors
/// If the network cannot start. Where nobody has a newer file this does not return: as long as an operator
/// brings none, there is nothing to go by.
pub async fn catch_up(
    config: NetworkConfig,
    identity: NodeIdentity,
    old: &Trust,
    clock: Clock,
) -> Result<Trust, NetError> {
    tracing::warn!(
        timestamp = old.versions().timestamp,
        "the trust file has run out: asking for a newer one before anything else"
    );
    let (files, mut waiting) = mpsc::channel(WAITING);
    // Nobody is let in meanwhile: it only calls.
    let config = NetworkConfig { listen: Vec::new(), directory: None, ..config };
    let (_keep, identity) = watch::channel(identity);
    let trust = Arc::new(old.clone());
    let network =
        Network::start(config, identity, trust, Arc::clone(&clock), Arc::new(Files(files))).await?;
    loop {
        // The network holds the sender: it ends with it.
        let Some(file) = waiting.recv().await else { return Err(NetError::Closed) };
        match old.update(&file, clock()) {
            // It opens only if it has not run out.
            Ok(newer) => {
                network.shutdown().await;
                return Ok(newer);
            }
            Err(error) => tracing::warn!(%error, "a trust file was handed out that does not hold"),
        }
    }
}
