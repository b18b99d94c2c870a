//! The column families: what lies where, under which key, as what value.
//!
//! **Rules (day one).** A name in this list is never changed and never used for anything else: it is
//! the name of a column family on the disks of running nodes. A key layout is never changed; a new
//! layout is a new column. A value may change its form only under a new format version (see
//! [`super::value`]). New columns are added at will: a store without them gets them when it is
//! opened. A column that is no longer used keeps its line here, marked *retired*.
//!
//! Key layouts are written with the builders of [`super::key::Key`]: `text` and `bytes` are prefixed
//! with their length, `u64` is eight bytes big-endian (so that numbers sort), hashes and ids stand
//! as they are.

macro_rules! columns {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Which part of the store a key belongs to; see the module's rules.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Column {
            $($(#[$doc])* $variant,)*
        }

        impl Column {
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The name on disk.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

columns! {
    /// Facts about this store and node. Key: `text` name of the fact (`format`, …).
    /// Value: the fact's own type.
    Meta = "meta",

    /// Home: where each channel stands. Key: channel. Value: `consent::HomeChannel`.
    HomeChannels = "home-channels",
    /// Home: the entries of the channels. Key: channel, `u64` seq. Value: `consent::HomeEntry`.
    HomeEntries = "home-entries",
    /// Home: where the evidence log says that an entry is accepted. Key: channel, `u64` seq. Value:
    /// `u64` index in the log.
    HomeEntryRecords = "home-entry-records",
    /// Home: what stands for one citizen at one source. Key: channel, service id at the source.
    /// Value: `consent::PairState`.
    HomePairs = "home-pairs",
    /// Home: which entries of a channel are about a pair, and the digest over them. Key: channel,
    /// service id at the source. Value: `consent::PairThread`.
    HomeThreads = "home-threads",
    /// Home: the Merkle map pair → digest. Key: channel, `bytes` node of the map. Value: map node.
    HomeMap = "home-map",
    /// Home: what the channels of the homes before held of a pair when it came here. Key: channel,
    /// service id at the source, `u64` place in the list. Value: `wire::channel::PairExtract`.
    BroughtExtracts = "brought-extracts",

    /// Source: how far each channel is applied. Key: channel. Value: `consent::SourceChannel`.
    SourceChannels = "source-channels",
    /// Source: the entries it applied. Key: channel, `u64` seq. Value: `wire::channel::Entry`.
    SourceEntries = "source-entries",
    /// Source: what stands for one citizen. Key: `text` service, service id. Value: `PairState` of
    /// `consent`.
    SourcePairs = "source-pairs",
    /// Source: which entries of a channel are about a pair, and the digest over them. Key: channel,
    /// service id. Value: `consent::PairThread`.
    SourceThreads = "source-threads",
    /// Source: its copy of the Merkle map. Key: channel, `bytes` node of the map. Value: map node.
    SourceMap = "source-map",
    /// Source: who a recipient's citizen is here, by every link that came. Key: `text` recipient
    /// service, service id at the recipient, `text` source service, service id at the source. Value:
    /// service id at the source.
    SourceLinks = "source-links",
    /// Source: denies that came another way than their pair's channel, until it brings them. Key:
    /// `text` source service, service id, decision id. Value: `wire::consent::Attested`.
    DirectDenies = "direct-denies",

    /// Source: entries that wait in their pairs for the home before to let go. Key: `text` source
    /// service, `text` home, `u64` seq. Value: the seq.
    SourceWaiting = "source-waiting",
    /// Source: entries that could not be read or verified, until their home has heard of it. Key and value
    /// as above.
    SourceUnreadable = "source-unreadable",

    /// Signed head statements. Key: channel, `u64` length of the channel. Value: signed
    /// `HeadStatement`.
    Statements = "statements",
    /// Source: the leases that releases cite. Key: id of the signed grant. Value: signed `Grant`.
    Grants = "grants",

    /// The node's own record store. Key: `text` service, service id, `text` item. Value:
    /// `source::records::StoredRecord`.
    Records = "records",
    /// Recipient: receipts that the source has not noted yet. Key: request id. Value: source service
    /// and `wire::exchange::Receipt`.
    ReceiptOutbox = "receipt-outbox",
    /// Recipient: requests it made. Key: request id. Value: the recipient's side of the exchange.
    Requests = "requests",
    /// Source: what it released. Key: `text` recipient service, the request's id (chosen by the
    /// recipient). Value: `source::StoredRelease`, with the bytes of its reply.
    Releases = "releases",
    /// Source: how far the channels of a pair's former homes were applied when something of it was
    /// released. Key: as for the release. Value: list of channel and head.
    FormerHeads = "former-heads",
    /// Source: where a release is by what was signed. Key: hash of the signed request. Value:
    /// recipient service and request id.
    ReleaseIds = "release-ids",
    /// Source: how often a permit was used. Key: decision id of the permit. Value:
    /// `consent::UseCount`.
    Uses = "uses",

    /// Source: where a channel's notices stand. Key: channel. Value: `consent::notices::Outbox`.
    NoticeStates = "notice-states",
    /// Source: notices that the home has not got. Key: channel, `u64` seq. Value:
    /// `wire::notice::Notice`.
    NoticeOutbox = "notice-outbox",
    /// Source: refusals among them that may still be counted up. Key: channel, service id, `text`
    /// recipient service, hash of what was refused and why. Value: `u64` seq.
    NoticeOpen = "notice-open",
    /// Source: refusals that are counted and not in the log yet. Key: `text` source service, `text`
    /// recipient service, `text` reason. Value: `evidence::record::Refusals`.
    RefusalCounts = "refusal-counts",
    /// Source: since when a deny that was handed straight in is in force. Key: decision id. Value:
    /// `source::InForceSince`.
    Effects = "effects",
    /// Home: what happened to its citizens at sources. Key: channel, service id, `u64` seq. Value:
    /// `home::notices::StoredNotice`.
    Notices = "notices",
    /// Home: the batches in which notices came, as the sources signed them. Key: channel, `u64` seq
    /// of the first. Value: `home::notices::StoredBatch`.
    NoticeBatches = "notice-batches",
    /// Home: consent requests of its citizens. Key: `text` recipient service, service id there, the
    /// request's id (chosen by the recipient). Value: `home::asking::StoredAsk`.
    ConsentAsks = "consent-asks",
    /// Home: answers that a recipient has not got. Key: `text` recipient organisation, id of the
    /// signed request. Value: `wire::consent::Attested`.
    ConsentAnswerOutbox = "consent-answer-outbox",
    /// Recipient: consent requests it made. Key: request id. Value:
    /// `recipient::asking::StoredConsentRequest`.
    ConsentRequests = "consent-requests",
    /// Recipient: where a consent request is by what was signed. Key: id of the signed request.
    /// Value: the request's id.
    ConsentRequestIds = "consent-request-ids",
    /// Recipient: those that a home has not got. Key: `text` home, request id. Value: the request id.
    ConsentRequestOutbox = "consent-request-outbox",

    /// Evidence log: the records, which may be erased. Key: `u64` index. Value: record and salt.
    LogRecords = "log-records",
    /// Evidence log: hashes of complete subtrees (RFC 6962), which stay. Key: `u64` level, `u64`
    /// index. Value: hash.
    LogNodes = "log-nodes",
    /// Evidence log: its size and root. Key: empty. Value: `log::LogHead`.
    LogState = "log-state",
    /// Signed checkpoints of the own log. Key: `u64` size. Value: `log::SignedCheckpoint`.
    Checkpoints = "checkpoints",

    /// Enrolled citizens. Key: key hash of the ID key. Value: facts of the enrolment, without
    /// attributes.
    Citizens = "citizens",
    /// Keys certified for a pair. Key: `text` service, service id, key hash. Value: certificate and
    /// status.
    ServiceKeys = "service-keys",
    /// Issuer: on whose ID key's word a key was certified for a pair, sealed under the key `proofing`, so
    /// that the store alone joins no two pairs. Key: `text` service, service id, key hash. Value:
    /// ciphertext of the ID key's hash.
    KeyPhones = "key-phones",
    /// Issuer: ID keys whose proofing counts as fresh no more, since their citizen ended a key that they
    /// had certified. Key: key hash of the ID key. Value: `wire::Timestamp` since when.
    StalePhones = "stale-phones",
    /// Issuer: the ID keys of a number. Key: `text` number, key hash of the ID key. Value:
    /// `wire::citizen::EnrolledIdKey`.
    NumberPhones = "number-phones",
    /// What proofing must keep by law, sealed under the key `proofing`, with a retention of its own.
    /// Key: key hash of the ID key. Value: ciphertext.
    Proofing = "proofing",
    /// Home: the documents that officers saw, sealed as proofing is. Key: the digest that the key-begin
    /// names. Value: ciphertext of `home::desk::SeenDocument`.
    Authorities = "authorities",
    /// Challenges that are out or burnt. Key: nonce. Value: its expiry and state.
    Challenges = "challenges",
    /// Certificates issued here. Key: `bytes` serial. Value: certificate and status.
    Certificates = "certificates",

    /// Issuer: how the certificates of this CA stand. Key: SHA-256 of the leaf's DER. Value:
    /// `home::status::CertificateRow`.
    CertificateStanding = "certificate-standing",

    /// Witness: the last checkpoint cosigned of each log. Key: `text` origin. Value:
    /// `witness::Witnessed`.
    Witnessed = "witnessed",
    /// Witness: what a log signed that does not go with what it signed before, both. Key: `text`
    /// origin, `u64` size and root of the later one. Value: `witness::Fork`.
    Forks = "forks",

    /// The trust file that the node goes by, once it has adopted another than it started with. Key: empty.
    /// Value: `wire::membership::TrustFile`.
    Trust = "trust",
    /// CA: what was ever handed in, approved and issued. Key: id of the application. Value:
    /// `crate::ca::Application`.
    CaApplications = "ca-applications",
    /// CA: service names that were ever given. Key: `text` organisation, `text` short name. Value:
    /// `crate::ca::Given`.
    ServiceNames = "service-names",
    /// What this node's timestamp key signed last, and the denials it knows of. Key: empty.
    /// Value: `trust::timestamping::Kept`.
    Timestamping = "timestamping",

    /// Nodes known here. Key: `text` organisation. Value: `wire::membership::NodeIdentity`.
    Directory = "directory",
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Column;

    /// The names on running nodes' disks. A line may be added to this list; none may be changed or
    /// taken away.
    const NAMES: &str = "meta home-channels home-entries home-entry-records home-pairs home-threads home-map brought-extracts source-channels \
        source-entries source-pairs source-threads source-map source-links direct-denies source-waiting source-unreadable \
        statements grants records receipt-outbox requests releases former-heads release-ids uses notice-states notice-outbox notice-open \
        refusal-counts effects notices notice-batches consent-asks consent-answer-outbox consent-requests \
        consent-request-ids consent-request-outbox log-records log-nodes log-state \
        checkpoints citizens service-keys key-phones stale-phones number-phones proofing authorities challenges certificates certificate-standing \
        witnessed forks trust ca-applications service-names timestamping directory";

    #[test]
    fn names_are_never_changed() {
        let names: Vec<_> = Column::ALL.iter().map(|column| column.name()).collect();
        assert_eq!(names, NAMES.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn no_name_stands_twice_or_is_rocksdbs_own() {
        let names: std::collections::BTreeSet<_> =
            Column::ALL.iter().map(|column| column.name()).collect();
        assert_eq!(names.len(), Column::ALL.len());
        assert!(!names.contains("default"));
    }
}
