//! Every bound of the network layer, in one place. What a message may weigh is said by
//! [`wire::limits`]; how many, how long and how often is said here. `specs/08-network.md` holds the
//! same table.

use std::time::Duration;

/// Longest time from asking for a request to having its answer: finding, dialling and greeting
/// included.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest life of one inbound stream: reading, handling, answering. Longer than the caller waits,
/// so that it is the caller who gives up.
pub const SERVE_TIMEOUT: Duration = Duration::from_secs(15);
/// A connection over which no hello has passed is closed after this.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a refused caller has to read why before the connection is closed.
pub const REFUSAL_LINGER: Duration = Duration::from_secs(1);
/// Shortest time between two hellos of the peer on one connection (a new descriptor is told by a
/// further hello), and between two that we send.
pub const HELLO_INTERVAL: Duration = Duration::from_secs(1);
/// Longest handshake of a new connection, transport and encryption together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a municipal node has to answer a directory look-up.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection between two providers is closed after this time without a stream. One with a
/// municipality at either end is kept.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Between two pings; also what keeps a dead TCP connection from going unnoticed.
pub const PING_INTERVAL: Duration = Duration::from_secs(5);
pub const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// A QUIC connection that hears nothing for this long is dead. Short, because a killed process says
/// no goodbye, and a restarted one does not know the old connection's ids well enough to reset it
/// (quinn draws the key of its connection ids anew): this is how long its peers talk to nobody.
pub const QUIC_IDLE_TIMEOUT: Duration = Duration::from_millis(2500);
pub const QUIC_KEEP_ALIVE: Duration = Duration::from_millis(800);
/// Members are checked again this often even if the trust list stays: certificates run out.
pub const RECHECK_INTERVAL: Duration = Duration::from_secs(600);
/// How often deadlines and redials are looked at.
pub const TICK: Duration = Duration::from_millis(100);
/// Longest wait for connections to close, and then for the system to have the ports back.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// First wait before dialling again; doubles with each failure.
pub const REDIAL_FIRST: Duration = Duration::from_millis(100);
/// Longest wait before dialling an unreachable node again: a restarted node is back within this.
pub const REDIAL_LAST: Duration = Duration::from_millis(1500);
/// Wait before dialling again a node that refused us, or that we refused.
pub const REDIAL_REFUSED: Duration = Duration::from_secs(5);

pub const PENDING_INCOMING: u32 = 64;
pub const PENDING_OUTGOING: u32 = 128;
pub const ESTABLISHED_INCOMING: u32 = 1024;
pub const ESTABLISHED_OUTGOING: u32 = 512;
pub const ESTABLISHED_TOTAL: u32 = 1280;
/// Two are normal for a moment when both ends dial at once; a third comes when one end restarts
/// and the other has not noticed yet.
pub const CONNECTIONS_PER_PEER: u32 = 4;
/// Most incoming connections that have not passed hello; the oldest gives way.
pub const UNGREETED: usize = 64;
/// No new connection is admitted while the process uses more physical memory than this.
pub const MEMORY_BYTES: usize = 4 * 1024 * 1024 * 1024;

/// Most streams of one connection, both directions together (Yamux), or opened by the peer (QUIC).
pub const STREAMS: usize = 1024;
/// Most streams of the peer whose protocol is being negotiated.
pub const NEGOTIATING_STREAMS: usize = 256;
/// Most inbound streams served at once on one connection; further ones are reset.
pub const INBOUND_STREAMS: usize = 512;
/// Most outbound streams at once on one connection; further requests wait. Below
/// [`INBOUND_STREAMS`] of the other end, so that honest nodes never reset each other.
pub const OUTBOUND_STREAMS: usize = 384;
/// Most streams that the node we dialled may open before we have read its hello. Unread.
pub const HELD_STREAMS: usize = 128;
/// Requests that wait for a stream of one connection; further callers wait for room.
pub const CALL_QUEUE: usize = 256;
/// Commands that wait for the event loop; further callers wait for room.
pub const COMMAND_QUEUE: usize = 256;
/// Events of one connection that wait for the event loop, and the other way round.
pub const CONNECTION_EVENTS: usize = 32;
/// Inbound requests being handled at once in each lane of the whole node; further ones wait.
pub const HANDLING: usize = 1024;
/// Of them, of one organisation.
pub const HANDLING_SHARE: usize = 256;
/// Organisations whose share of a lane is remembered; those that are not at work are forgotten first.
pub const SHARES: usize = 4096;
/// Memory for inbound frames of the whole node and of one connection; further ones wait unread.
pub const INBOUND_BYTES: usize = 256 * 1024 * 1024;
pub const INBOUND_BYTES_PER_CONNECTION: usize = 32 * 1024 * 1024;
/// Membership checks running at once; a hello beyond is refused as `busy`.
pub const CHECKS: usize = 64;
/// Callers that wait for a connection or a look-up.
pub const WAITING: usize = 4096;
/// Municipal nodes asked at once in a look-up.
pub const LOOKUP_WIDTH: usize = 3;
/// Peer ids and addresses of a descriptor that are tried.
pub const DIAL_PEERS: usize = 4;
pub const DIAL_ADDRESSES: usize = 8;
/// Identities a node remembers, by number and by size; the one greeted longest ago gives way.
pub const DIRECTORY_ENTRIES: usize = 16_384;
pub const DIRECTORY_BYTES: usize = 128 * 1024 * 1024;
/// Largest directory request, in bytes.
pub const DIRECTORY_REQUEST_FRAME: usize = 1024;
/// Largest question for a trust file, in bytes: all that is read of this from whoever is no municipality.
pub const TRUST_PULL_FRAME: usize = 1024;
/// Longest reason taken from, or given to, the other end of a refusal, in characters.
pub const REASON: usize = 240;

pub const QUIC_STREAM_WINDOW: u32 = 4 * 1024 * 1024;
pub const QUIC_CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
