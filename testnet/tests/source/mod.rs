//! Reading Rust source as text: what is code, what is comment, string or test. A compiler would
//! know better; this needs none, and errs on the side of finding too much.

use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files below `folder`, without build output and what git keeps for itself.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.map(|entry| entry.unwrap()) {
            let (path, name) = (entry.path(), entry.file_name());
            let skipped = [".git", "target", "node_modules", "dist"];
            if entry.file_type().unwrap().is_dir() {
                // What the runs on real processes leave behind begins so (`.gitignore`).
                let left = name.to_string_lossy().starts_with("testnet-data");
                if !left && !skipped.iter().any(|skip| name == *skip) {
                    folders.push(path);
                }
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The source with comments, and the inside of strings and character literals, blanked out. Line
/// breaks stay, so that line numbers do.
pub fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let blank = |out: &mut Vec<u8>, from: usize, to: usize| {
        for byte in &mut out[from..to.min(bytes.len())] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    };
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"//") {
            at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            at + block_comment(rest)
        } else if let Some(length) = raw_string(rest, at, bytes) {
            at + length
        } else if rest[0] == b'"' {
            at + string(rest)
        } else if rest[0] == b'\'' {
            at + character(rest)
        } else {
            at += 1;
            continue;
        };
        blank(&mut out, at, end);
        at = end.max(at + 1);
    }
    String::from_utf8(out).expect("only whole characters were blanked")
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of a raw string that starts here, if one does.
fn raw_string(rest: &[u8], at: usize, all: &[u8]) -> Option<usize> {
    let inside_word = at > 0 && (all[at - 1].is_ascii_alphanumeric() || all[at - 1] == b'_');
    let after_r = match rest {
        [b'r', ..] if !inside_word => 1,
        [b'b' | b'c', b'r', ..] if !inside_word => 2,
        _ => return None,
    };
    let hashes = rest[after_r..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(after_r + hashes) != Some(&b'"') {
        return None;
    }
    let body = after_r + hashes + 1;
    let close = [&b"\""[..], &b"#".repeat(hashes)].concat();
    let end = rest[body..].windows(close.len()).position(|window| window == close);
    Some(end.map_or(rest.len(), |end| body + end + close.len()))
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a character literal; 1 for the mark of a lifetime.
fn character(rest: &[u8]) -> usize {
    let text = String::from_utf8_lossy(&rest[1..rest.len().min(16)]).into_owned();
    if text.starts_with('\\') {
        let close = rest[3..].iter().position(|byte| *byte == b'\'');
        return close.map_or(1, |close| close + 4);
    }
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(first), Some('\'')) => first.len_utf8() + 2,
        _ => 1,
    }
}

/// Blanks out the items that only a test build has: what follows `#[cfg(test)]` or
/// `#[cfg(any(test, …))]`, up to its closing brace or semicolon. Takes what [`code_only`] gives.
pub fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(") {
        let start = from + found;
        let condition = start + "#[cfg(".len();
        let Some(length) = code[condition..].find(")]") else { break };
        let end_of_attribute = condition + length + 2;
        let words: String = code[condition..condition + length].split_whitespace().collect();
        from = end_of_attribute;
        if words == "test" || words.starts_with("any(test,") || words.starts_with("all(test,") {
            from = end_of_item(code, end_of_attribute);
            for byte in &mut out[start..from] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
        }
    }
    String::from_utf8(out).expect("items begin and end at ASCII characters")
}

fn end_of_item(code: &str, from: usize) -> usize {
    let mut depth = 0usize;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && byte == b'}' {
                    return at + 1;
                }
            }
            b';' | b',' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Every path that `use` declarations name, groups spelled out: `use std::{fs, io::{self, Read}}`
/// gives `std::fs`, `std::io`, `std::io::Read`. With the number of the line where it begins.
pub fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find("use ").map(|at| at + from) {
        from = at + 4;
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let Some(length) = code[from..].find(';') else { break };
        let line = code[..at].matches('\n').count() + 1;
        let tree: String =
            code[from..from + length].split_whitespace().collect::<Vec<_>>().join(" ");
        flatten("", &tree, &mut |path| found.push((line, path)));
        from += length;
    }
    found
}

fn flatten(prefix: &str, tree: &str, found: &mut impl FnMut(String)) {
    let tree = tree.trim();
    if let Some(open) = tree.find('{') {
        let head = format!("{prefix}{}", tree[..open].trim());
        let inner = tree[open + 1..].strip_suffix('}').unwrap_or(&tree[open + 1..]);
        let (mut depth, mut start) = (0, 0);
        for (at, c) in inner.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    flatten(&head, &inner[start..at], found);
                    start = at + 1;
                }
                _ => {}
            }
        }
        flatten(&head, &inner[start..], found);
    } else if !tree.is_empty() {
        let name = tree.split(" as ").next().unwrap_or_default().trim();
        let path = format!("{prefix}{name}");
        found(path.trim_start_matches("::").trim_end_matches("::self").to_owned());
    }
}

/// The numbers of the lines where `word` stands by itself, not as part of a longer name.
pub fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .filter(|(at, _)| {
            let before = code[..*at].chars().next_back().is_some_and(part);
            let after = code[at + word.len()..].chars().next().is_some_and(part);
            !before && !after
        })
        .map(|(at, _)| code[..at].matches('\n').count() + 1)
        .collect()
}
