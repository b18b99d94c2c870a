//! Size limits, all in one place. A limit is what an honest sender never reaches; a message beyond
//! it is refused before it is parsed.

/// Deepest nesting of arrays and maps that the CBOR reader follows.
pub const CBOR_DEPTH: usize = 16;
/// Largest signed object (envelope included), in bytes, unless its type says less.
pub const SIGNED_OBJECT: usize = 64 * 1024;
/// Largest frame on any libp2p protocol, in bytes.
pub const FRAME: usize = 4 * 1024 * 1024;
/// Largest frame of the hello protocol, in bytes: it is read before the peer is known.
pub const HELLO_FRAME: usize = 64 * 1024;
/// Largest request or receipt frame of the exchange protocol, in bytes.
pub const EXCHANGE_REQUEST_FRAME: usize = 64 * 1024;
/// Largest frame to or from a witness, in bytes: a note of 64 KiB and a proof.
pub const WITNESS_FRAME: usize = 96 * 1024;
/// Largest record that a source keeps for one item, in bytes.
pub const RECORD: usize = 256 * 1024;
/// Most items one decision or request may name.
pub const ITEMS: usize = 64;
/// Most denies one permit may reopen.
pub const REOPENS: usize = 256;
/// Denies of one pair, not named by a standing permit, beyond which its home collapses them.
pub const DENIES: usize = 256;
/// Most denies one collapse may list.
pub const COLLAPSED: usize = 1024;
/// Permits of one pair that are not over, beyond which its home takes no further ones.
pub const PERMITS: usize = 512;
/// Bytes of entries from one home to come that wait in a pair until the home before lets go.
pub const WAITING: usize = 512 * 1024;
/// Entries of one channel that wait at its source for a home before to let go: as many the source lists,
/// and with so many a home takes no further move whose home before has not let go.
pub const WAITING_ENTRIES: usize = 4096;
/// Homes to come whose entries may wait in one pair.
pub const HOMES_TO_COME: usize = 4;
/// Most certificates in one chain, leaf included, anchor excluded.
pub const CHAIN: usize = 4;
/// Largest certificate, in bytes of DER.
pub const CERTIFICATE: usize = 16 * 1024;
/// Most channel entries in one push or pull answer.
pub const ENTRIES: usize = 512;
/// Largest move handed in with what earlier homes hold of the pair, in bytes: some 4000 entries.
pub const MOVE_SUBMISSION: usize = 16 * 1024 * 1024;
/// Most direct denies or reports carried by one pull.
pub const PULL_ATTACHMENTS: usize = 256;
/// Bytes of direct denies carried by one pull; the first one goes whatever it weighs.
pub const PULL_BYTES: usize = FRAME / 2;
/// Most direct denies looked at for one pull: those of other homes lie among them.
pub const PULL_LOOKS_AT: usize = 1024;
/// Most notices in one batch.
pub const NOTICES: usize = 256;
/// Longest text of a consent request, in characters.
pub const NOTICE_TEXT: usize = 2000;
/// Longest language tag, in characters.
pub const LANGUAGE_TAG: usize = 35;
/// Longest time a consent request may wait for its answer, in milliseconds (30 days).
pub const CONSENT_REQUEST_MS: u64 = 30 * 24 * 3_600_000;
/// Most services, addresses or peers in one node descriptor.
pub const DESCRIPTOR_LIST: usize = 64;
/// Longest validity of an exchange request, in milliseconds (DESIGN: 120 s).
pub const REQUEST_VALIDITY_MS: u64 = 120_000;
/// Largest trust list or root, in bytes.
pub const TRUST_OBJECT: usize = 8 * 1024 * 1024;
/// Largest signed denial, in bytes: its few words and a signature for each of 256 keys.
pub const DENIAL: usize = 64 * 1024;
/// Most of a list of who is struck off, and most denials in one message.
pub const DENIED: usize = 1024;
/// Largest trust file, in bytes: a frame that brings one is no larger.
pub const TRUST_FILE: usize = 3 * TRUST_OBJECT;
