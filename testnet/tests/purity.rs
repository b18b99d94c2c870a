//! The crates under `crates/` are pure: no runtime, no network, no store, no files, no clock, no
//! randomness of their own. That is what lets one code run in production, in the model checker and
//! in the simulator. Looked at twice: at what they depend on, and at what their sources say.

mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use serde_json::Value;
use source::{code_only, files, imports, lines_with, repository, without_tests};

/// Never to be reached by a crate under `crates/`, through whatever path.
const FORBIDDEN: [&str; 20] = [
    "async-io",
    "async-std",
    "axum",
    "h2",
    "hyper",
    "hyper-util",
    "libp2p",
    "memmap2",
    "mio",
    "notify",
    "polling",
    "quinn",
    "reqwest",
    "rocksdb",
    "smol",
    "socket2",
    "tempfile",
    "tokio",
    "tungstenite",
    "ureq",
];

/// Could reach outside, but does not here. Each with its reason; one that is no longer in the tree
/// must go from this list, and one that is not in this list fails.
const WATCHED: [(&str, Option<&str>); 16] = [
    (
        "getrandom",
        Some("comes with rand_core and the RustCrypto traits; the source scan finds any call"),
    ),
    ("rand", Some("json-ld and num code of ssi; the machines take their randomness as arguments")),
    ("chrono", Some("ssi's date types and x509 dates; its clock is behind a call the scan finds")),
    ("iana-time-zone", Some("chrono's, for local time, which nothing here asks for")),
    ("time", Some("date types of ssi and certval")),
    ("web-time", None),
    ("instant", None),
    ("rustls", None),
    ("native-tls", None),
    ("openssl", None),
    ("nix", None),
    ("rustix", None),
    ("signal-hook", None),
    ("sysinfo", None),
    ("rayon", None),
    ("num_cpus", None),
];

/// Never to stand in the sources: files, network, environment, clock, threads, randomness. The time
/// comes in as `wire::Now`, randomness as bytes, signing through `wire::Signer`.
const FORBIDDEN_PATHS: [&str; 12] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::process",
    "std::os",
    "std::time::SystemTime",
    "std::time::Instant",
    "std::io::stdin",
    "std::io::stdout",
    "aws_lc_rs::rand",
    "chrono::Utc",
];
const FORBIDDEN_WORDS: [&str; 8] = [
    "getrandom",
    "OsRng",
    "SysRng",
    "ThreadRng",
    "thread_rng",
    "SystemRandom",
    "SystemTime",
    "Instant",
];

/// The dependencies on this kind of machine: those of others need not have been downloaded.
fn metadata() -> Value {
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let text = String::from_utf8(rustc.stdout).unwrap();
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc's host");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--format-version", "1", "--filter-platform", host])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a package reaches through normal dependencies, each with the package that brought it in.
/// Build and dev dependencies run on the developer's machine, not in a node.
struct Reached {
    package: String,
    /// Package name to the names on the way to it, nearest first.
    paths: BTreeMap<String, Vec<String>>,
}

fn reached(metadata: &Value, inside: &str) -> Vec<Reached> {
    let packages = metadata["packages"].as_array().unwrap();
    let name: BTreeMap<&str, &str> = packages
        .iter()
        .map(|package| (package["id"].as_str().unwrap(), package["name"].as_str().unwrap()))
        .collect();
    let dependencies: BTreeMap<&str, Vec<&str>> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            let normal = node["deps"].as_array().unwrap().iter().filter(|dependency| {
                let kinds = dependency["dep_kinds"].as_array().unwrap();
                kinds.iter().any(|kind| kind["kind"].is_null())
            });
            let ids = normal.map(|dependency| dependency["pkg"].as_str().unwrap()).collect();
            (node["id"].as_str().unwrap(), ids)
        })
        .collect();
    let pure = packages.iter().filter(|package| {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        package["source"].is_null() && manifest.components().any(|part| part.as_os_str() == inside)
    });
    pure.map(|package| {
        let start = package["id"].as_str().unwrap();
        let mut open = vec![(start, vec![])];
        let mut seen = BTreeSet::new();
        let mut paths = BTreeMap::new();
        while let Some((id, path)) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            let here: Vec<String> = [vec![name[id].to_owned()], path].concat();
            paths.entry(name[id].to_owned()).or_insert_with(|| here.clone());
            open.extend(dependencies[id].iter().map(|next| (*next, here.clone())));
        }
        Reached { package: name[start].to_owned(), paths }
    })
    .collect()
}

/// One line for each forbidden or unexplained package, with the way it came in.
fn violations(reached: &[Reached]) -> Vec<String> {
    let unexplained = WATCHED.iter().filter(|(_, reason)| reason.is_none()).map(|(name, _)| name);
    let forbidden: Vec<&str> = FORBIDDEN.iter().chain(unexplained).copied().collect();
    reached
        .iter()
        .flat_map(|Reached { package, paths }| {
            paths
                .iter()
                .filter(|(name, _)| {
                    let family = name.split('-').next().unwrap_or_default();
                    forbidden.contains(&name.as_str()) || ["libp2p", "tokio"].contains(&family)
                })
                .map(move |(_, path)| format!("{package} reaches {}", path.join(" ← ")))
        })
        .collect()
}

#[test]
fn the_crates_depend_on_nothing_that_reaches_outside() {
    let reached = reached(&metadata(), "crates");
    let names: Vec<&str> = reached.iter().map(|one| one.package.as_str()).collect();
    for expected in ["wire", "trust", "identity", "consent", "evidence", "exchange", "wallet"] {
        assert!(names.contains(&expected), "{expected} was not looked at");
    }
    let violations = violations(&reached);
    assert!(violations.is_empty(), "{violations:#?}");
    for (name, reason) in WATCHED.iter().filter(|(_, reason)| reason.is_some()) {
        let here = reached.iter().any(|one| one.paths.contains_key(*name));
        assert!(here, "{name} is no longer in the tree: take it from the list ({reason:?})");
    }
}

#[test]
fn the_dependency_check_fails_where_it_must() {
    // The node is what the crates must not be.
    let node = reached(&metadata(), "node");
    assert_eq!(node.len(), 1);
    let found = violations(&node).join("\n");
    for name in ["tokio", "libp2p", "rocksdb", "axum"] {
        assert!(found.contains(&format!("node reaches {name} ←")), "{name} not found:\n{found}");
    }
}

/// Whether a file belongs to tests or to what stands in for the outside in tests.
fn is_test_file(path: &Path) -> bool {
    path.iter().filter_map(|part| part.to_str()).any(|part| {
        matches!(part.strip_suffix(".rs").unwrap_or(part), "tests" | "testing" | "synthetic")
    })
}

/// `line: what` for everything forbidden in one source file.
fn impurities(source: &str) -> Vec<String> {
    let code = without_tests(&code_only(source));
    let mut found = BTreeSet::new();
    for (line, path) in imports(&code) {
        // Importing a module above a forbidden one is as good as importing that.
        let module = path.trim_end_matches("::*");
        let above = |forbidden: &str| {
            forbidden.starts_with(&format!("{module}::")) && module.contains("std")
        };
        let below =
            |forbidden: &str| path == forbidden || path.starts_with(&format!("{forbidden}::"));
        if FORBIDDEN_PATHS.iter().any(|forbidden| above(forbidden) || below(forbidden)) {
            // `use std::io;` alone is harmless; what it is used for shows below.
            if path != "std::io" {
                found.insert((line, path.clone()));
            }
        }
    }
    // Paths in code may be written with spaces and over several lines: only words count.
    let dense = dense(&code);
    for forbidden in FORBIDDEN_PATHS {
        let short = forbidden.strip_prefix("std::io::").map(|name| format!("io::{name}"));
        for path in [Some(forbidden.to_owned()), short].into_iter().flatten() {
            for line in lines_with(&dense, &path) {
                found.insert((line, path.clone()));
            }
        }
    }
    for word in FORBIDDEN_WORDS {
        for line in lines_with(&code, word) {
            found.insert((line, word.to_owned()));
        }
    }
    found.into_iter().map(|(line, what)| format!("{line}: {what}")).collect()
}

/// The code without spaces around `::`, on the lines where its paths begin.
fn dense(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut held = String::new();
    for c in code.chars() {
        if c.is_whitespace() {
            held.push(c);
            continue;
        }
        let joins = c == ':' || out.ends_with("::");
        if !joins {
            out.push_str(&held);
            held.clear();
        } else if !held.is_empty() {
            // Line breaks inside a path come after it, so that later lines keep their number.
            held.retain(|c| c == '\n');
        }
        out.push(c);
        if !joins && !held.is_empty() {
            held.clear();
        }
    }
    out.push_str(&held);
    out
}

#[test]
fn the_sources_reach_for_nothing_outside() {
    let mut looked_at = 0;
    let mut found = Vec::new();
    for path in files(&repository().join("crates")) {
        let relative = path.strip_prefix(repository()).unwrap();
        let in_src = relative.iter().nth(2).is_some_and(|part| part == "src");
        if !in_src || relative.extension().is_none_or(|kind| kind != "rs") || is_test_file(relative)
        {
            continue;
        }
        looked_at += 1;
        let source = std::fs::read_to_string(&path).unwrap();
        found.extend(
            impurities(&source).into_iter().map(|what| format!("{}:{what}", relative.display())),
        );
    }
    assert!(looked_at >= 12, "{looked_at} files looked at: are the sources elsewhere now?");
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_scanner_finds_what_it_must() {
    for (source, line) in [
        ("use std::fs;", 1),
        ("use std::fs::File;", 1),
        ("pub(crate) use std::{collections::BTreeMap, fs};", 1),
        ("use std::{\n    io::{self, Read},\n    time::{Duration, SystemTime},\n};", 1),
        ("use ::std::net::TcpStream;", 1),
        ("use std::time;", 1),
        ("use std::time::*;", 1),
        ("use std::*;", 1),
        ("use std as s;", 1),
        ("fn f() {\n    let _ = std::fs::read(\"x\");\n}", 2),
        ("fn f() {\n\n    let _ = std :: env :: var(\"HOME\");\n}", 3),
        ("fn f() { ::std::thread::spawn(|| ()); }", 1),
        ("fn now() -> u64 { std::time::Instant::now(); 0 }", 1),
        ("fn f() { getrandom::fill(&mut [0]).unwrap() }", 1),
        ("fn f() { let mut rng = OsRng; }", 1),
        ("use rand::thread_rng;", 1),
        ("fn f() { aws_lc_rs::rand::fill(&mut []); }", 1),
        ("use std::io; fn f() { io::stdin(); }", 1),
        ("const A: char = '\"'; fn f() { std::fs::read(\"a\"); }", 1),
        ("const A: &str = r#\"\"\"#; fn f() { std::fs::read(\"a\"); }", 1),
        ("fn f<'a>(x: &'a str) { std::env::args(); }", 1),
        ("#[cfg(test)]\nmod tests { fn f() { g(\"}\") } }\nfn f() { std::env::args(); }", 3),
        ("#[cfg(test)]\nmod tests;\nuse std::fs;", 3),
        ("#[cfg(not(test))]\nuse std::fs;", 2),
        ("#[cfg(unix)]\nuse std::fs;", 2),
        ("/* /* nested */ */ use std::fs;", 1),
    ] {
        let found = impurities(source);
        assert!(!found.is_empty(), "not found in: {source}");
        assert!(found[0].starts_with(&format!("{line}:")), "{found:?} in: {source}");
    }
}

#[test]
fn the_scanner_leaves_the_rest_alone() {
    for source in [
        "use std::{collections::BTreeMap, fmt, io, time::Duration};",
        "// use std::fs;\n/// `std::fs` and [`Instant`] are not for us: getrandom, OsRng\nfn f() {}",
        "/* std::env */ fn f() { g(\"std::fs\", r#\"OsRng \" thread_rng\"#, '\\'', b\"std::net\") }",
        "#[cfg(test)]\nmod tests {\n    use std::fs;\n    fn f() { if x { std::env::args() } }\n}",
        "#[cfg(test)]\nuse std::fs;\nfn f() {}",
        "#[cfg(any(test, feature = \"testing\"))]\npub mod testing { use std::thread; }",
        "fn f<'a>(x: &'a str) -> Instantly { env!(\"CARGO_MANIFEST_DIR\"); stdfs::read() }",
        "fn f() { my_std::fs(); thread_rng_of(x) }",
    ] {
        assert_eq!(impurities(source), [""; 0], "in: {source}");
    }
    assert!(is_test_file(Path::new("crates/x/src/machine/tests.rs")));
    assert!(is_test_file(Path::new("crates/x/src/tests/cards.rs")));
    assert!(is_test_file(Path::new("crates/x/src/testing.rs")));
    assert!(!is_test_file(Path::new("crates/x/src/contests.rs")));
}
