//! The links between the nodes: a forwarder stands before each node, at the port that the node
//! announces, and can cut what passes, let it hang, and heal. Whose connection comes in is looked up
//! in /proc, so that one link can be cut while the node's others stay.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use super::history::Place;
use crate::founding::Network;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Whole,
    /// Connections are closed, new ones too.
    Cut,
    /// Connections stay and nothing passes.
    Stalled,
}

type Ends = (Place, Place);

fn ends(a: Place, b: Place) -> Ends {
    if a < b { (a, b) } else { (b, a) }
}

pub struct Links {
    states: Mutex<BTreeMap<Ends, watch::Sender<Link>>>,
    pids: Mutex<BTreeMap<Place, u32>>,
}

impl Links {
    /// Begins to forward to every node of the network.
    pub async fn start(network: &Network) -> anyhow::Result<Arc<Self>> {
        let links = Arc::new(Self { states: Mutex::default(), pids: Mutex::default() });
        for node in &network.nodes {
            let key = node.participant.key;
            let listener =
                node.forwarder.as_ref().with_context(|| format!("{key} has no forwarder"))?;
            let listener = listener.try_clone()?;
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let target = SocketAddr::from(([127, 0, 0, 1], node.libp2p));
            tokio::spawn(Arc::clone(&links).forward(listener, key, target));
        }
        Ok(links)
    }

    /// Tells whose connections will be a node's.
    pub fn runs_as(&self, node: Place, pid: u32) {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner).insert(node, pid);
    }

    pub fn set(&self, a: Place, b: Place, link: Link) {
        self.state(a, b).0.send_replace(link);
    }

    /// All links are whole again.
    pub fn heal(&self) {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        for state in states.values() {
            state.send_replace(Link::Whole);
        }
    }

    fn state(&self, a: Place, b: Place) -> (watch::Sender<Link>, watch::Receiver<Link>) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let state = states.entry(ends(a, b)).or_insert_with(|| watch::channel(Link::Whole).0);
        (state.clone(), state.subscribe())
    }

    async fn forward(self: Arc<Self>, listener: TcpListener, node: Place, target: SocketAddr) {
        loop {
            let Ok((incoming, from)) = listener.accept().await else { continue };
            let links = Arc::clone(&self);
            tokio::spawn(async move {
                let pids = links.pids.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // A caller that is gone already needs no connection.
                let Ok(to) = incoming.local_addr() else { return };
                let Some(caller) = owner(from, to, &pids) else { return };
                let (_, link) = links.state(caller, node);
                // Nobody can say after a cut that they were connected for a moment.
                if *link.borrow() == Link::Cut {
                    return;
                }
                if let Ok(outgoing) = TcpStream::connect(target).await {
                    let _ = (incoming.set_nodelay(true), outgoing.set_nodelay(true));
                    let (from, to) = (incoming.into_split(), outgoing.into_split());
                    // When one direction ends, both do: the nodes see a connection that broke.
                    tokio::select! {
                        () = pass(from.0, to.1, link.clone()) => {}
                        () = pass(to.0, from.1, link) => {}
                    }
                }
            });
        }
    }
}

/// Passes bytes on until the connection ends or is cut.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut link: watch::Receiver<Link>) {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let state = *link.borrow_and_update();
        match state {
            Link::Cut => return,
            Link::Stalled => {
                if link.changed().await.is_err() {
                    return;
                }
                continue;
            }
            Link::Whole => {}
        }
        tokio::select! {
            changed = link.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            read = from.read(&mut buffer) => {
                let Ok(length @ 1..) = read else { return };
                // What was read before a stall waits with the rest.
                while *link.borrow_and_update() == Link::Stalled {
                    if link.changed().await.is_err() {
                        return;
                    }
                }
                if *link.borrow() == Link::Cut || to.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Which of the nodes' processes holds the caller's end of a connection. Both ends are asked for: a
/// node dials from the port that it listens on.
fn owner(from: SocketAddr, to: SocketAddr, pids: &BTreeMap<Place, u32>) -> Option<Place> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = inode(&table, from, to)?;
    let socket = format!("socket:[{inode}]");
    let holds = |pid: u32| {
        let descriptors = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd"));
        descriptors.into_iter().flatten().flatten().any(|descriptor| {
            std::fs::read_link(descriptor.path()).is_ok_and(|to| to.as_os_str() == socket.as_str())
        })
    };
    pids.iter().find(|(_, pid)| holds(**pid)).map(|(node, _)| *node)
}

/// The inode of the socket with this local and remote address, from the text of /proc/net/tcp
/// (proc(5)).
fn inode(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<&str> {
    let (local, remote) = (in_table(local)?, in_table(remote)?);
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        (fields.next()? == local && fields.next()? == remote).then(|| fields.nth(6)).flatten()
    })
}

/// An address as it stands there: in the machine's own byte order, but for the port.
fn in_table(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    let ip = u32::from_ne_bytes(address.ip().octets());
    Some(format!("{ip:08X}:{:04X}", address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_known_by_its_process() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_held, from) = listener.accept().await.unwrap();
        let to = stream.peer_addr().unwrap();
        let own = BTreeMap::from([("init", 1), ("lunch", std::process::id())]);
        assert_eq!(owner(from, to, &own), Some("lunch"));
        assert_eq!(owner(from, to, &BTreeMap::new()), None);
    }

    #[tokio::test]
    async fn a_link_hangs_heals_and_is_cut() {
        let (switch, link) = watch::channel(Link::Stalled);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut near = TcpStream::connect(address).await.unwrap();
        let (into, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(address).await.unwrap();
        let (mut end, _) = listener.accept().await.unwrap();
        let passing = tokio::spawn(pass(into.into_split().0, far.into_split().1, link));

        near.write_all(b"no").await.unwrap();
        let mut got = [0; 2];
        tokio::task::yield_now().await;
        assert!(end.try_read(&mut got).is_err(), "nothing passes a stalled link");
        switch.send_replace(Link::Whole);
        end.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"no");
        switch.send_replace(Link::Cut);
        passing.await.unwrap();
        assert_eq!(end.read(&mut got).await.unwrap(), 0, "the connection ends");
    }
}
