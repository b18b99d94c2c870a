use clap::Parser;
use wallet::PermitDraft;
use wire::consent::{Items, Onward, PurposeScope, Recipient, Reopen, Scope, Uses, Window};

use super::{
    decide::{deny_scope, permit_draft},
    *,
};

const LUNCH: &str = "9000020102016/school-lunch";
const HOSPITAL: &str = "9000020102016/hospital";
const NETWORK: &str = "0707070707070707070707070707070707070707070707070707070707070707";
const DENY: &str = "0101010101010101010101010101010101010101010101010101010101010101";

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    wallet: WalletArgs,
}

fn parse(line: &str) -> Result<WalletArgs, clap::Error> {
    let words = ["wallet", "--dir", "/tmp/w"].into_iter().chain(line.split_whitespace());
    Line::try_parse_from(words).map(|line| line.wallet)
}

fn draft_of(line: &str) -> PermitDraft {
    match parse(line).unwrap().command {
        WalletCommand::Permit(args) => permit_draft(&args),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_argument_definitions_are_sound() {
    <Line as clap::CommandFactory>::command().debug_assert();
}

#[test]
fn every_command_is_understood() {
    for line in [
        format!("create --home http://localhost:8080 --network {NETWORK}"),
        format!("create --home http://localhost:8080 --network {NETWORK} --card card"),
        "enrol".into(),
        "enrol --card card".into(),
        format!("service {LUNCH}"),
        format!("link {LUNCH} {HOSPITAL}"),
        format!("permit --source {LUNCH} --recipient {HOSPITAL} --item health --purpose treatment"),
        format!("deny --source {LUNCH}"),
        format!("deny --source {LUNCH} --direct http://localhost:1"),
        format!("stop {LUNCH}"),
        format!("stop {LUNCH} --direct http://localhost:1"),
        format!("register {LUNCH}"),
        "show".into(),
        "--json --passphrase-file p show".into(),
        format!(
            "record put --source {LUNCH} --item health.allergy --file f --url http://localhost"
        ),
        format!("requests --service {LUNCH} --all"),
        format!("present --request file --reopen-list {DENY} --reopen-key {DENY}"),
        format!("answer {DENY} agree --service {LUNCH} --reopen-list {DENY} --reopen-key {DENY}"),
        "id list".into(),
        format!("id end {DENY}"),
        format!("key export {LUNCH} file"),
        format!("key approve {LUNCH} file"),
        format!("key list {LUNCH}"),
        format!("key end {LUNCH} {DENY} --keep {DENY}"),
        format!("key end {LUNCH} {DENY} --keep-none"),
        format!("present --request file --reopen {DENY}"),
        "present --request file --dry-run".into(),
        format!("status {LUNCH}"),
        "move --to http://localhost:8081".into(),
        format!("move --to http://localhost:8081 --service {LUNCH} --card card"),
    ] {
        parse(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn what_is_not_a_name_or_a_hash_is_refused() {
    let permit = format!("permit --source {LUNCH} --recipient {HOSPITAL}");
    for line in [
        "create --home http://localhost".into(),
        "create --home http://localhost --network 07".into(),
        "service lunch".into(),
        "service 9000020102017/hospital".into(),
        format!("{permit} --purpose treatment"),
        format!("{permit} --item Health --purpose treatment"),
        format!("{permit} --item health --purpose treatment --once --per-day 2"),
        format!("{permit} --item health --purpose treatment --reopen all"),
        format!("{permit} --item health --purpose treatment --reopen-list all"),
        format!("{permit} --item health --purpose treatment --data-from 2026-04-01"),
        format!(
            "{permit} --item health --purpose treatment --data-from 2026-4-1 --data-until 2027-04-01"
        ),
        "id end".into(),
        format!("{permit} --item health"),
        format!("permit --source {LUNCH} --item health --purpose treatment"),
        format!("key end {LUNCH} {DENY} --keep {DENY} --keep-none"),
        "present".into(),
        "stop".into(),
        "move".into(),
    ] {
        assert!(parse(&line).is_err(), "{line}");
    }
}

#[test]
fn a_permit_line_becomes_its_draft() {
    let line = format!(
        "permit --source {LUNCH} --recipient {HOSPITAL} --item health.medication --item health.allergy --purpose treatment"
    );
    let draft = draft_of(&line);
    let items: Vec<_> = draft.items.iter().map(|item| item.as_str()).collect();
    assert_eq!(items, ["health.allergy", "health.medication"]);
    assert_eq!((draft.valid_days, draft.uses), (30, Uses::Unlimited));
    assert_eq!((draft.onward, draft.retention_days), (Onward::Forbidden, None));
    assert!(draft.reopens.is_empty(), "nothing is reopened unless it is named");
    assert_eq!(draft.notice.text, words::notice(&draft));
    assert_eq!((&draft.notice.language[..], draft.notice.version), ("en", 2));

    let draft =
        draft_of(&format!("{line} --once --days 3 --reopen {DENY} --onward --retention-days 9"));
    assert_eq!((draft.valid_days, draft.uses), (3, Uses::Once));
    assert_eq!((draft.onward, draft.retention_days), (Onward::Allowed, Some(9)));
    assert_eq!(draft.reopens, [Reopen::Deny(DENY.parse().unwrap())].into());
    let draft = draft_of(&format!("{line} --reopen-key {DENY} --reopen-list {DENY}"));
    let (key, list) = (DENY.parse().unwrap(), DENY.parse().unwrap());
    assert_eq!(draft.reopens, [Reopen::Key(key), Reopen::Collapsed(list)].into());
    let draft =
        draft_of(&format!("{line} --data-from 1970-01-02 --data-until 1970-01-02T00:00:01Z"));
    let (from, until) = (Timestamp::from_secs(86_400), Timestamp::from_secs(86_401));
    assert_eq!(draft.window, Some(Window { from, until }));
    assert!(draft.notice.text.contains("1970-01-02 00:00:01Z"), "{}", draft.notice.text);
    let draft = draft_of(&format!("{line} --per-day 2"));
    assert_eq!(draft.uses, Uses::Per { count: 2, period_ms: 86_400_000 });
}

#[test]
fn a_deny_line_becomes_its_draft() {
    let draft = |line: &str| match parse(line).unwrap().command {
        WalletCommand::Deny(args) => args.draft(),
        other => panic!("{other:?}"),
    };
    let all = draft(&format!("deny --source {LUNCH}"));
    assert_eq!(all, wallet::DenyDraft::everything(LUNCH.parse().unwrap()));
    assert_eq!(deny_scope(&all), Scope::EVERYTHING);
    let some = draft(&format!(
        "deny --source {LUNCH} --recipient {HOSPITAL} --item health --item finance --purpose treatment"
    ));
    assert_eq!(some.recipient, Recipient::Service(HOSPITAL.parse().unwrap()));
    assert_eq!(
        some.items,
        Items::Types(vec!["health".parse().unwrap(), "finance".parse().unwrap()])
    );
    assert_eq!(some.purpose, PurposeScope::Code("treatment".parse().unwrap()));
}

#[tokio::test]
async fn commands_say_what_has_to_come_first() {
    let folder = tempfile::tempdir().unwrap();
    let run = |line: String| {
        let mut args = parse(&line).unwrap();
        args.dir = folder.path().to_owned();
        async move {
            match execute(args, &SystemClock, &SystemEntropy).await {
                Ok(report) => panic!("{line}: {}", report.text),
                Err(error) => format!("{error:#}"),
            }
        }
    };
    assert!(run("show".into()).await.contains("holds no wallet"));
    // Nobody listens at port 1 of this machine, and no directory is claimed for nothing.
    let create = format!("create --home http://127.0.0.1:1 --network {NETWORK}");
    assert!(run(create).await.contains("could not be reached"));
    let far = format!("create --home http://city.example --network {NETWORK}");
    assert!(run(far).await.contains("TLS"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    let home =
        Home { organisation: "9000020102016".parse().unwrap(), url: "http://127.0.0.1:1".into() };
    let wallet = Wallet::new(NETWORK.parse().unwrap(), home);
    WalletDirectory::create(folder.path()).unwrap().save(&wallet).unwrap();
    assert!(run("enrol".into()).await.contains("no card"));
    assert!(run(format!("service {LUNCH}")).await.contains("`mebuku wallet --dir … enrol`"));
    assert!(run(format!("link {LUNCH} {HOSPITAL}")).await.contains("enrol"));
    assert!(run(format!("stop {LUNCH}")).await.contains(&format!("service {LUNCH}")));
    assert!(run(format!("register {LUNCH}")).await.contains(&format!("service {LUNCH}")));
    let args = WalletArgs { dir: folder.path().to_owned(), ..parse("show").unwrap() };
    let report = execute(args, &SystemClock, &SystemEntropy).await.unwrap();
    assert!(report.text.contains("none yet"));
    assert_eq!(report.json["network"], NETWORK);
}
