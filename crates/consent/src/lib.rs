//! Consent, the heart: *a deny stands until a permit names it.*
//!
//! - [`vocabulary`], [`scope`]: what an item type means, and what a scope covers
//! - [`admission`]: from signed bytes to something the rules may look at
//! - [`pair`]: one citizen at one source: keys, permits and denies, as a set
//! - [`evaluate`]: the `allowed` rule
//! - [`access`]: what a key may see of its pair
//! - [`home`], [`source`]: the two ends of a channel; [`extract`]: what it holds of one pair, for others
//! - [`moving`]: a pair that comes from another home
//! - [`pull`], [`push`]: when each end says what
//! - [`notices`]: what the home hears of releases and refused attempts; [`pace`]: when to send
//! - [`asking`]: what a recipient may ask a citizen to permit
//! - [`lease`]: a source's proof that it has seen everything up to a moment ago
//!
//! `specs/04-consent.md` and `specs/05-channel.md` give the rules these modules follow.

pub mod access;
pub mod admission;
pub mod asking;
pub mod evaluate;
pub mod extract;
pub mod guard;
pub mod home;
pub mod lease;
pub mod memory;
pub mod moving;
pub mod notices;
pub mod pace;
pub mod pair;
pub mod pull;
pub mod push;
pub mod scope;
pub mod source;
pub mod store;
pub mod vocabulary;

pub use admission::{
    AdmissionError, AdmittedCollapse, AdmittedDecision, AdmittedKeyBegin, AdmittedKeyEnd,
    AdmittedMove,
};
pub use evaluate::{PermitTerms, Permitted, Query, Refused, UseCount, UseView, evaluate};
pub use extract::{CheckedExtract, CheckedHead, EntriesFault, ExtractFault, HeadFault};
pub use lease::{Moment, Run};
pub use pair::PairState;
pub use pull::Puller;
pub use push::Pusher;
pub use store::{ChannelStore, DenyKey, HomeEntries, HomeEntry, PairThread, StoreFault};
pub use vocabulary::Vocabulary;
