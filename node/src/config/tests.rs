use super::*;

const MUNICIPALITY: &str = include_str!("../../config/municipality.toml");
const PROVIDER: &str = include_str!("../../config/provider.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/mebuku/node.toml"))
}

/// What parsing the provider's sample says after one change.
fn complaint(from: &str, to: &str) -> String {
    complaint_about(PROVIDER, from, to)
}

fn complaint_about(sample: &str, from: &str, to: &str) -> String {
    assert!(sample.contains(from), "{from}");
    parse(&sample.replace(from, to)).unwrap_err().to_string()
}

#[test]
fn the_municipality_sample_is_read() {
    let config = parse(MUNICIPALITY).unwrap();
    assert!(config.has_role(Role::Home) && config.has_role(Role::Issuer));
    assert!(!config.has_role(Role::Source));
    assert_eq!(config.lease_ms, 60_000);
    assert_eq!(config.store_dir(), Path::new("/var/lib/mebuku/store"));
    assert_eq!(config.trust_file, Path::new("/etc/mebuku/trust.cbor"));
    let jpki = config.jpki.as_ref().unwrap();
    assert_eq!(jpki.roots, [Path::new("/etc/mebuku/jpki/sign-root.der")]);
    assert_eq!(jpki.crl_file, Path::new("/etc/mebuku/jpki/sign.crl"));
    assert_eq!(config.service_names()[0].short_name(), "procedures");
    assert_eq!(config.service_names()[0].organisation(), config.organisation);
}

#[test]
fn the_provider_sample_is_read() {
    let config = parse(PROVIDER).unwrap();
    assert_eq!(config.lease_ms, 60_000, "the default");
    assert_eq!(config.log_level, LogLevel::Info);
    assert_eq!(config.keys_dir(), Path::new("/etc/mebuku/data/keys"));
    assert!(config.listen.is_empty() && config.public_listen.is_none());
    assert_eq!(config.api_keys().unwrap().len(), 1);
}

#[test]
fn a_misspelt_key_is_named_with_file_and_line() {
    let line = 1 + PROVIDER.lines().position(|line| line.starts_with("provider_listen")).unwrap();
    let text = complaint("provider_listen", "provider_lisen");
    assert!(text.starts_with("/etc/mebuku/node.toml: "), "{text}");
    assert!(text.contains(&format!("line {line},")), "{text}");
    assert!(text.contains("unknown field `provider_lisen`"), "{text}");
    let text = complaint("title =", "titel =");
    assert!(text.contains("unknown field `titel`"), "{text}");
}

#[test]
fn a_missing_key_is_named() {
    let text = complaint("data_dir = \"data\"\n", "");
    assert!(text.contains("missing field `data_dir`"), "{text}");
}

#[test]
fn values_of_the_wrong_form_are_refused_where_they_stand() {
    for (from, to, expected) in [
        ("7700150000004", "2700150000004", "corporate number"),
        ("roles = [\"source\"", "roles = [\"sauce\"", "unknown variant `sauce`"),
        ("/dns4/mebuku", "dns4/mebuku", "invalid multiaddr"),
        ("\"127.0.0.1:8081\"", "\"localhost\"", "invalid socket address"),
        ("log_level = \"info\"", "log_level = \"loud\"", "unknown variant `loud`"),
        ("5e884898", "5E884898", "64 lower-case"),
    ] {
        let text = complaint(from, to);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn values_that_do_not_fit_together_are_refused_by_key() {
    for (from, to, expected) in [
        ("roles = [\"source\", \"recipient\"]", "roles = []", "`roles`: a node needs"),
        ("name = \"まえばし給食サービス\"", "name = \" \"", "`name`: must not"),
        ("log_level = \"info\"", "lease_ms = 1999", "`lease_ms`: must be from 2000"),
        ("log_level = \"info\"", "number_key = \"number.pem\"", "`number_key`: only a home"),
        ("log_level = \"info\"", "public_url = \"https://x.example\"", "goes with `public_listen`"),
        ("log_level = \"info\"", "public_url = \"x.example\"", "`public_url`: must be https"),
        (
            "log_level = \"info\"",
            "public_listen = \"0.0.0.0:80\"\npublic_url = \"https://x.example\"",
            "`public_listen`: 0.0.0.0:80: plain http stays on this machine",
        ),
        (
            "log_level = \"info\"",
            "public_tls = { certificate = \"a\", key = \"b\" }",
            "`public_tls`: goes with `public_listen`",
        ),
        (
            "log_level = \"info\"",
            "public_listen = \"0.0.0.0:443\"\npublic_url = \"http://x.example\"\n\
             public_tls = { certificate = \"a\", key = \"b\" }",
            "`public_url`: must be https:// with `public_tls`",
        ),
        ("name = \"lunch\"", "name = \"Lunch\"", "`services.name`: `Lunch`"),
        ("name = \"lunch\"", "name = \"7700150000004/lunch\"", "without the organisation"),
        ("title = \"給食アレルギー管理\"", "title = \"\"", "`services.title`"),
        ("/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp", "", "must end in /p2p/"),
        ("\"source\", \"recipient\"", "\"home\"", "`public_listen`: a home needs it"),
        (
            "log_level = \"info\"",
            "witnesses = { off = true, cosign = 2 }",
            "`witnesses.off`: leaves nothing",
        ),
    ] {
        let text = complaint(from, to);
        assert!(text.contains(expected), "{text}");
    }
    let twice = format!("{PROVIDER}\n[[services]]\nname = \"lunch\"\ntitle = \"again\"\n");
    assert!(parse(&twice).unwrap_err().to_string().contains("stands twice"));
    let none = PROVIDER.split("[[services]]").next().unwrap();
    assert!(parse(none).unwrap_err().to_string().contains("`services`: a source"));
    let (without_jpki, _) = MUNICIPALITY.split_once("[jpki]").unwrap();
    assert!(parse(without_jpki).unwrap_err().to_string().contains("`jpki`: an issuer"));
    let text = complaint_about(MUNICIPALITY, "roots = [\"jpki/sign-root.der\"]", "roots = []");
    assert!(text.contains("`jpki.roots`"), "{text}");
}

#[test]
fn a_home_may_hold_the_single_number_key_in_a_file_of_its_own() {
    let text = format!("number_key = \"../number.pem\"\n{MUNICIPALITY}");
    let config = parse(&text).unwrap();
    assert_eq!(config.number_key.unwrap(), Path::new("/etc/mebuku/../number.pem"));
}

#[test]
fn the_public_face_speaks_tls_to_everybody_with_files_of_its_own() {
    let tls = "[public_tls]\ncertificate = \"web/chain.pem\"\nkey = \"/run/web-key.pem\"\n";
    let text = MUNICIPALITY.replacen("127.0.0.1:8080", "0.0.0.0:443", 1);
    let config = parse(&format!("{text}\n{tls}")).unwrap();
    let files = config.public_tls.unwrap();
    assert_eq!(files.certificate, Path::new("/etc/mebuku/web/chain.pem"));
    assert_eq!(files.key, Path::new("/run/web-key.pem"));
}

#[test]
fn api_keys_come_from_the_file_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("node.toml");
    let text = format!("api_keys_file = \"api-keys\"\n{PROVIDER}");
    let config = Config::parse(&text, &file).unwrap();
    assert!(matches!(config.api_keys(), Err(ConfigError::Read { .. })));

    let hash = "ab".repeat(32);
    let keys = format!("# reception\n\n{hash} reception desk\n{}\n", "cd".repeat(32));
    std::fs::write(directory.path().join("api-keys"), &keys).unwrap();
    let read = config.api_keys().unwrap();
    assert_eq!(read.len(), 3);
    assert_eq!(read[1].hash, Hash([0xab; 32]));
    assert_eq!(read[1].label.as_deref(), Some("reception desk"));
    assert_eq!(read[2].label, None);

    std::fs::write(directory.path().join("api-keys"), format!("{keys}secret\n")).unwrap();
    let text = config.api_keys().unwrap_err().to_string();
    assert!(text.contains("api-keys: line 5: must begin"), "{text}");
    assert!(!text.contains("secret"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Path::new("/nowhere/node.toml")).unwrap_err();
    assert_eq!(error.to_string(), "/nowhere/node.toml: cannot be read");
}

#[test]
fn what_is_announced_is_where_it_listens_unless_said_otherwise() {
    let config = parse(MUNICIPALITY).unwrap();
    assert!(!config.listen.is_empty());
    assert_eq!(config.announced(), config.listen);
    let announce = "announce = [\"/dns4/node.example/tcp/4001\"]\nlisten";
    let config = parse(&MUNICIPALITY.replacen("listen", announce, 1)).unwrap();
    assert_eq!(config.announced(), ["/dns4/node.example/tcp/4001".parse().unwrap()]);
    let named = announce
        .replace("/tcp/4001", "/tcp/4001/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp");
    let text = complaint_about(MUNICIPALITY, "\nlisten", &format!("\n{named}"));
    assert!(text.contains("`announce`") && text.contains("added by the node"), "{text}");
}
