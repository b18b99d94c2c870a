//! The table of cases in `specs/vectors/consent/allowed.json`. Each is put together in every rotation
//! of its parts: a set has no order.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "about")]
    _about: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default = "begun_keys")]
    keys: BTreeMap<String, KeyCase>,
    #[serde(default)]
    ended: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    permits: BTreeMap<String, PermitCase>,
    #[serde(default)]
    denies: BTreeMap<String, DenyCase>,
    #[serde(default)]
    collapsed: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    used: BTreeMap<String, (u64, u32)>,
    ask: AskCase,
    expect: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KeyCase {
    basis: ExpressedBy,
    until: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PermitCase {
    key: String,
    by: ExpressedBy,
    recipient: String,
    person: String,
    items: ItemsCase,
    purpose: String,
    from: String,
    until: String,
    uses: UsesCase,
    vocabulary: u32,
    reopens: Vec<String>,
    request: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DenyCase {
    #[serde(default = "key_a")]
    key: String,
    recipient: String,
    items: ItemsCase,
    purpose: String,
    unreadable_from: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ItemsCase {
    Word(String),
    List(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum UsesCase {
    Word(String),
    Per(u32, String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AskCase {
    recipient: String,
    items: Vec<String>,
    whole: bool,
    purpose: String,
    at: String,
    released: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Expected {
    Reason(String),
    Leaves(BTreeMap<String, String>),
}

fn key_a() -> String {
    "a".to_owned()
}

fn begun_keys() -> BTreeMap<String, KeyCase> {
    ["a", "b"].map(|name| (name.to_owned(), KeyCase::default())).into()
}

impl Default for KeyCase {
    fn default() -> Self {
        Self { basis: ExpressedBy::Oneself, until: "100d".to_owned() }
    }
}

impl Default for PermitCase {
    fn default() -> Self {
        Self {
            key: key_a(),
            by: ExpressedBy::Oneself,
            recipient: "hospital".to_owned(),
            person: "the-one-asking".to_owned(),
            items: ItemsCase::List(vec!["health.allergy".to_owned()]),
            purpose: "treatment".to_owned(),
            from: "0d".to_owned(),
            until: "30d".to_owned(),
            uses: UsesCase::Word("unlimited".to_owned()),
            vocabulary: 1,
            reopens: vec![],
            request: None,
        }
    }
}

impl Default for AskCase {
    fn default() -> Self {
        Self {
            recipient: "hospital".to_owned(),
            items: vec!["health.allergy".to_owned()],
            whole: false,
            purpose: "treatment".to_owned(),
            at: "1d".to_owned(),
            released: None,
        }
    }
}

/// `2d-1ms`, `36h`, `-1ms`: counted from `T0`.
fn time(text: &str) -> Timestamp {
    Timestamp(T0.0.checked_add_signed(offset(text)).unwrap())
}

fn offset(text: &str) -> i64 {
    if let Some((before, ms)) = text.rsplit_once('-').filter(|(_, rest)| rest.ends_with("ms")) {
        let ms: i64 = ms.trim_end_matches("ms").parse().unwrap();
        return if before.is_empty() { 0 } else { offset(before) } - ms;
    }
    let (number, unit) = text.split_at(text.len() - 1);
    let hours: i64 = number.parse().unwrap();
    hours * 3_600_000 * if unit == "d" { 24 } else { 1 }
}

/// Ids in the order of their names.
fn named(name: &str) -> DecisionId {
    let (kind, number) = name.split_at(1);
    let kind: u8 = match kind {
        "p" => 1,
        "d" => 2,
        other => panic!("{other}"),
    };
    let mut id = [0; 32];
    (id[0], id[1]) = (kind, number.parse().unwrap());
    DecisionId(id)
}

fn key_of(name: &str) -> KeyHash {
    KeyHash(wire::sha256(name.as_bytes()).0)
}

fn service_of(name: &str) -> ServiceName {
    format!("9000020102016/{name}").parse().unwrap()
}

fn person_of(name: &str) -> ServiceId {
    ServiceId(wire::sha256(name.as_bytes()).0)
}

fn request_of(name: &str) -> Hash {
    wire::sha256(name.as_bytes())
}

fn home_of(name: &str) -> wire::OrganisationId {
    let base = if name == "home" { "000020102016" } else { "000020012173" };
    wire::OrganisationId::from_base(base).unwrap()
}

fn scope_of(recipient: &str, items: &ItemsCase, purpose: &str) -> Scope {
    Scope {
        recipient: match recipient {
            "any" => Recipient::Any,
            name => Recipient::Service(service_of(name)),
        },
        items: match items {
            ItemsCase::Word(word) => {
                assert_eq!(word, "all");
                Items::All
            }
            ItemsCase::List(list) => Items::Types(list.iter().map(|text| item(text)).collect()),
        },
        purpose: match purpose {
            "any" => PurposeScope::Any,
            code => PurposeScope::Code(code.parse().unwrap()),
        },
    }
}

impl Case {
    fn list(&self, name: &str) -> BTreeSet<DecisionId> {
        self.collapsed.get(name).into_iter().flatten().map(|id| named(id)).collect()
    }

    fn reopen(&self, text: &str) -> Reopen {
        match text.split_once(' ') {
            Some(("key", name)) => Reopen::Key(key_of(name)),
            Some(("collapsed", name)) => {
                Reopen::Collapsed(wire::consent::collapse_digest(&self.list(name)))
            }
            _ => Reopen::Deny(named(text)),
        }
    }

    fn permit(&self, case: &PermitCase) -> StandingPermit {
        let mut standing = permit(1);
        standing.key = key_of(&case.key);
        standing.expressed_by = case.by;
        standing.scope = scope_of(&case.recipient, &case.items, &case.purpose);
        let permit = &mut standing.permit;
        permit.recipient_subject = person_of(&case.person);
        permit.valid_from = time(&case.from);
        permit.valid_until = time(&case.until);
        permit.uses = match &case.uses {
            UsesCase::Word(word) if word == "once" => Uses::Once,
            UsesCase::Word(word) => {
                assert_eq!(word, "unlimited");
                Uses::Unlimited
            }
            UsesCase::Per(count, period) => {
                Uses::Per { count: *count, period_ms: offset(period).cast_unsigned() }
            }
        };
        permit.vocabulary = case.vocabulary;
        permit.reopens = case.reopens.iter().map(|text| self.reopen(text)).collect();
        permit.request = case.request.as_deref().map(request_of);
        standing
    }

    /// The pair's state, its parts put in from the `start`th on.
    fn pair(&self, start: usize) -> PairState {
        type Part<'a> = Box<dyn Fn(&mut PairState) + 'a>;
        let mut parts: Vec<Part<'_>> = Vec::new();
        for (name, case) in &self.permits {
            parts.push(Box::new(move |pair| {
                pair.permits.insert(named(name), self.permit(case));
            }));
        }
        for (name, case) in &self.denies {
            parts.push(Box::new(move |pair| {
                let scope = scope_of(&case.recipient, &case.items, &case.purpose);
                let unreadable_from = case.unreadable_from.as_deref().map(home_of);
                let key = unreadable_from.is_none().then(|| key_of(&case.key));
                pair.apply_deny(named(name), StandingDeny { key, scope, unreadable_from });
            }));
        }
        for name in self.collapsed.keys() {
            parts.push(Box::new(move |pair| pair.collapse(self.list(name))));
        }
        for (name, keeps) in &self.ended {
            parts.push(Box::new(move |pair| {
                pair.ended.insert(key_of(name), keeps.iter().map(|id| named(id)).collect());
            }));
        }
        let mut state = PairState { home: Some(home_of("home")), ..PairState::default() };
        for (name, case) in &self.keys {
            let public_key = wire::PublicKey::from_sec1(&[4; 65]).unwrap();
            let key = PairKey { public_key, basis: case.basis, until: time(&case.until) };
            state.keys.insert(key_of(name), key);
        }
        if !parts.is_empty() {
            let count = parts.len();
            parts.rotate_left(start % count);
        }
        for part in parts {
            part(&mut state);
        }
        state
    }

    fn outcome(&self, pair: &PairState) -> Result<Permitted, Refused> {
        let ask = &self.ask;
        let items: Vec<_> = ask.items.iter().map(|text| item(text)).collect();
        let used: BTreeMap<_, _> = (self.used.iter())
            .map(|(name, (period, count))| {
                (named(name), UseCount { period: *period, count: *count })
            })
            .collect();
        let released: Option<Vec<_>> = ask.released.as_ref().map(|released| {
            released.iter().map(|(leaf, permit)| (item(leaf), named(permit))).collect()
        });
        let query = Query {
            recipient: &service_of(&ask.recipient),
            recipient_subject: &person_of("the-one-asking"),
            items: &items,
            whole: ask.whole,
            purpose: &ask.purpose.parse().unwrap(),
            consent_hash: request_of("this"),
            at: time(&ask.at),
            released: released.as_deref(),
        };
        evaluate(pair, &used, &query)
    }
}

#[test]
fn the_table_of_cases() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/vectors/consent/allowed.json");
    let file: File = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(file.cases.len() >= 60);
    let names: BTreeSet<_> = file.cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), file.cases.len(), "names are unique");
    let mut reasons = BTreeSet::new();
    for case in &file.cases {
        let pair = case.pair(0);
        let rotations = 1 + case.permits.len() + case.denies.len() + case.collapsed.len();
        for start in 1..=rotations {
            assert_eq!(case.pair(start), pair, "{}: a set has no order", case.name);
        }
        let got = match case.outcome(&pair) {
            Ok(permitted) => Err(permitted.leaves().to_vec()),
            Err(refused) => Ok(refused.code()),
        };
        let expected = match &case.expect {
            Expected::Reason(reason) => Ok(reason.as_str()),
            Expected::Leaves(leaves) => {
                Err(leaves.iter().map(|(leaf, permit)| (item(leaf), named(permit))).collect())
            }
        };
        assert_eq!(got, expected, "{}", case.name);
        reasons.extend(got.ok());
    }
    // Every reason that the rule itself can give is there; the others come from around it.
    let all = [
        "unknown-item",
        "unknown-purpose",
        "no-permit",
        "key-does-not-stand",
        "not-yet-valid",
        "expired",
        "uses-spent",
        "denied",
    ];
    assert_eq!(reasons, all.into());
}
