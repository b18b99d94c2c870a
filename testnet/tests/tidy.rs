//! House rules that a compiler does not know.

mod source;

use std::{collections::BTreeMap, path::Path, process::Command};

use source::{code_only, files, imports, lines_with, repository, without_tests};

/// Beyond this, a file is split where a reader would look for its parts.
const LONGEST: usize = 800;

/// What each crate may depend on. One direction, so that a part can be read with what it stands on
/// and nothing else.
const MAY_DEPEND_ON: [(&str, &[&str]); 9] = [
    ("wire", &[]),
    ("trust", &["wire"]),
    ("identity", &["wire", "trust"]),
    ("evidence", &["wire", "trust"]),
    // Of `evidence`, only the map: see `consent_takes_only_the_map`.
    ("consent", &["wire", "trust", "evidence"]),
    ("exchange", &["wire", "trust", "identity", "consent", "evidence"]),
    ("wallet", &["wire", "trust", "identity", "consent", "evidence", "exchange"]),
    ("simulator", &["wire", "trust", "consent", "evidence", "exchange"]),
    ("node", &["wire", "trust", "identity", "consent", "evidence", "exchange", "wallet"]),
];

fn relative(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap().display().to_string()
}

#[test]
fn files_are_not_too_long() {
    let mut looked_at = 0;
    let mut found = Vec::new();
    for path in
        files(&repository()).iter().filter(|path| path.extension().is_some_and(|e| e == "rs"))
    {
        looked_at += 1;
        let lines = std::fs::read_to_string(path).unwrap().lines().count();
        if lines > LONGEST {
            found.push(format!("{}: {lines} lines", relative(path)));
        }
    }
    assert!(looked_at >= 20);
    assert!(found.is_empty(), "longer than {LONGEST} lines: {found:#?}");
}

/// The workspace's own packages and which of each other they depend on (dev-dependencies left out).
fn own_dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap();
            let own = dependencies
                .iter()
                .filter(|one| one["path"].is_string() && one["kind"].as_str() != Some("dev"));
            (name(package), own.map(name).collect())
        })
        .collect()
}

fn against_the_direction(dependencies: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let allowed = BTreeMap::from(MAY_DEPEND_ON);
    dependencies
        .iter()
        .flat_map(|(package, on)| {
            let allowed = allowed.get(package.as_str()).copied();
            on.iter()
                .filter(move |one| allowed.is_some_and(|allowed| !allowed.contains(&one.as_str())))
                .map(move |one| format!("{package} depends on {one}"))
        })
        .collect()
}

#[test]
fn dependencies_run_one_way() {
    let dependencies = own_dependencies();
    for (package, _) in MAY_DEPEND_ON {
        assert!(dependencies.contains_key(package), "{package} was not looked at");
    }
    for package in dependencies.keys() {
        let known = MAY_DEPEND_ON.iter().any(|(known, _)| known == package);
        // These stand on everything, and nothing stands on them.
        let on_top = ["testnet", "benches"].contains(&package.as_str());
        assert!(known || on_top, "{package} is new: say here what it may depend on");
    }
    assert_eq!(against_the_direction(&dependencies), [""; 0]);

    let mut turned = dependencies;
    turned.get_mut("wire").unwrap().push("trust".to_owned());
    assert_eq!(against_the_direction(&turned), ["wire depends on trust"]);
}

/// What code takes from `evidence` beside its map.
fn beside_the_map(source: &str) -> Vec<String> {
    let code = without_tests(&code_only(source));
    let imported = imports(&code)
        .into_iter()
        .filter(|(_, path)| path == "evidence" || path.starts_with("evidence::"))
        .filter(|(_, path)| path != "evidence::map" && !path.starts_with("evidence::map::"));
    let imported: Vec<String> = imported.map(|(line, path)| format!("{line}: {path}")).collect();
    let lines: Vec<&str> = code.lines().collect();
    let named = lines_with(&code, "evidence").into_iter().filter(|line| {
        let text = lines[line - 1];
        text.contains("evidence::") && !text.contains("evidence::map") && !text.contains("use ")
    });
    imported
        .into_iter()
        .chain(named.map(|line| format!("{line}: {}", lines[line - 1].trim())))
        .collect()
}

#[test]
fn consent_takes_only_the_map() {
    let mut found = Vec::new();
    for path in files(&repository().join("crates/consent/src")) {
        let source = std::fs::read_to_string(&path).unwrap();
        found.extend(
            beside_the_map(&source).iter().map(|what| format!("{}:{what}", relative(&path))),
        );
    }
    assert!(found.is_empty(), "consent may use evidence::map and nothing else of it: {found:#?}");
    assert!(beside_the_map("use evidence::map::Map;\nfn f(x: evidence::map::Proof) {}").is_empty());
    assert_eq!(beside_the_map("use evidence::{map::Map, log::Log};").len(), 1);
    assert_eq!(beside_the_map("fn f(x: &evidence::log::Log) {}").len(), 1);
    assert_eq!(beside_the_map("use evidence::*;").len(), 1);
}

/// Places of one machine, and ways to say where packages come from: they belong to a machine's own
/// configuration. Put together here so that this file does not find itself.
fn foreign_words() -> Vec<String> {
    let join = |parts: &[&str]| parts.concat();
    let mut words = vec![
        join(&["/wo", "rk/"]),
        join(&["/ro", "ot/."]),
        join(&["/Us", "ers/"]),
        join(&["index", "-url"]),
        join(&["replace", "-with"]),
        join(&["CARGO_REGIS", "TRIES_"]),
        join(&["registry", "+http"]),
        join(&["registry", ".npmjs"]),
        join(&["static.crates", ".io"]),
        join(&["index.crates", ".io"]),
        join(&["pypi", ".org"]),
    ];
    words.push(repository().display().to_string());
    if let Ok(home) = std::env::var("HOME")
        && home.len() > 1
    {
        words.push(format!("{home}/."));
    }
    words
}

fn foreign(name: &str, text: &str, words: &[String]) -> Vec<String> {
    let lines = text.lines().enumerate();
    lines
        .flat_map(|(number, line)| {
            words
                .iter()
                .filter(move |word| line.contains(word.as_str()) && !is_lock_source(name, line))
                .map(move |word| format!("{name}:{}: {word}", number + 1))
        })
        .collect()
}

/// A lock file names where packages come from; only the public registry may stand there.
fn is_lock_source(name: &str, line: &str) -> bool {
    let line = line.trim();
    let file = name.rsplit('/').next().unwrap_or_default();
    match file {
        "Cargo.lock" => {
            let public = ["registry", "+https://github.com/rust-lang/crates.io-index"].concat();
            line == format!("source = \"{public}\"")
        }
        "package-lock.json" => {
            let public = ["https://registry", ".npmjs.org/"].concat();
            line.starts_with(&format!("\"resolved\": \"{public}"))
        }
        _ => false,
    }
}

#[test]
fn nothing_of_one_machine_stands_in_the_repository() {
    let words = foreign_words();
    let mut found = Vec::new();
    for path in files(&repository()) {
        let name = relative(&path);
        let file = path.file_name().unwrap().to_str().unwrap();
        if [".npmrc", "pip.conf", ".pypirc", ".netrc"].contains(&file) {
            found.push(format!("{name}: configuration of a machine"));
        }
        // What is not text (an image) has no words.
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        found.extend(foreign(&name, &text, &words));
    }
    assert!(found.is_empty(), "{found:#?}");

    let path = ["see /wo", "rk/main/specs"].concat();
    assert!(!foreign("README.md", &path, &words).is_empty());
    let private = ["source = \"registry", "+https://packages.internal/index\""].concat();
    assert_eq!(foreign("Cargo.lock", &private, &words).len(), 1);
    let public =
        ["source = \"registry", "+https://github.com/rust-lang/crates.io-index\""].concat();
    assert_eq!(foreign("Cargo.lock", &public, &words).len(), 0);
    assert_eq!(foreign("README.md", &public, &words).len(), 1);
}

/// Names that say nothing, by the house rules.
fn empty_names(source: &str) -> Vec<String> {
    let code = without_tests(&code_only(source));
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let words: Vec<&str> = line
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .filter(|w| !w.is_empty())
            .collect();
        for pair in words.windows(2) {
            let empty = match pair[0] {
                "fn" => pair[1].starts_with("get_"),
                "struct" | "enum" | "trait" => {
                    pair[1].ends_with("Manager") || pair[1].ends_with("Helper")
                }
                "mod" => ["utils", "util", "helpers", "common", "types", "misc"].contains(&pair[1]),
                _ => false,
            };
            if empty {
                found.push(format!("{}: {} {}", number + 1, pair[0], pair[1]));
            }
        }
    }
    found
}

#[test]
fn names_say_something() {
    let mut found = Vec::new();
    for folder in ["crates", "node/src", "testnet/src"] {
        let sources = files(&repository().join(folder));
        let code = sources.iter().filter(|path| {
            // A test's name is a sentence, and may well begin with "get".
            path.extension().is_some_and(|kind| kind == "rs")
                && !path.iter().any(|part| part == "tests" || part == "tests.rs")
        });
        for path in code {
            let source = std::fs::read_to_string(path).unwrap();
            found.extend(
                empty_names(&source).iter().map(|what| format!("{}:{what}", relative(path))),
            );
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    assert_eq!(empty_names("pub fn get_key() {}\nstruct PeerManager;\nmod utils;").len(), 3);
    assert_eq!(empty_names("fn target() {} // fn get_key\nstruct Peer;").len(), 0);
}

#[test]
fn scripts_can_be_run() {
    for script in [
        "scripts/setup.sh",
        "scripts/test.sh",
        "scripts/demo.sh",
        "scripts/pkits.sh",
        "scripts/pkilint.sh",
        ".ci/run",
    ] {
        let path = repository().join(script);
        let checked = Command::new("bash").arg("-n").arg(&path).output().unwrap();
        assert!(checked.status.success(), "{script}: {}", String::from_utf8_lossy(&checked.stderr));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert!(mode & 0o111 != 0, "{script} is not executable");
        }
    }
}
