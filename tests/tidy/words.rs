//! What files must say and must not say.

use super::source::{Source, files};

fn rust() -> Vec<Source> {
    ["src", "tests", "examples", "benches"].iter().flat_map(|folder| files(folder, ".rs")).collect()
}

/// Written in two halves, so that this file does not find itself.
fn word(first: &str, second: &str) -> String {
    [first, second].concat()
}

fn complain(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn nothing_is_left_to_do_in_the_code() {
    let words = [word("TO", "DO"), word("FIX", "ME"), word("XX", "X:")];
    let mut complaints = Vec::new();
    let others = files("migrations", "").into_iter().chain(files("config", "")).chain(files("src", ".sql"));
    for source in rust().into_iter().chain(others) {
        for (number, line) in source.text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word.as_str())) {
                complaints.push(format!("{}:{}: do it now, or open an issue: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    complain(complaints);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = rust().into_iter().filter(|source| !source.text.starts_with("//!"));
    complain(
        silent
            .map(|source| format!("{}: open with a `//!` that says what the file is for and what it leaves to others", source.path))
            .collect(),
    );
}

#[test]
fn files_are_named_by_what_they_own() {
    let vague = ["utils", "util", "common", "helpers", "helper", "types", "models", "manager", "misc"];
    let mut complaints = Vec::new();
    for source in rust() {
        let parts = source.path.trim_end_matches(".rs").split('/');
        if let Some(part) = parts.into_iter().find(|part| vague.contains(part)) {
            complaints.push(format!("{}: `{part}` says nothing; name the noun that the file owns", source.path));
        }
    }
    complain(complaints);
}

#[test]
fn no_test_sleeps_or_is_ignored() {
    let (sleep, ignore) = (word("sle", "ep("), word("#[ign", "ore"));
    let mut complaints = Vec::new();
    for source in files("tests", ".rs") {
        for (number, line) in source.text.lines().enumerate() {
            if line.contains(&sleep) {
                complaints.push(format!(
                    "{}:{}: wait for a signal or a condition with a deadline, not for time to pass",
                    source.path,
                    number + 1
                ));
            }
            if line.contains(&ignore) {
                complaints.push(format!("{}:{}: a test that does not run proves nothing; run it or delete it", source.path, number + 1));
            }
        }
    }
    complain(complaints);
}

#[test]
fn apalis_is_named_in_two_files_only() {
    let allowed = ["src/engine/runtime.rs", "src/engine/backend.rs"];
    let mut complaints = Vec::new();
    for source in files("src", ".rs").into_iter().filter(|source| !allowed.contains(&source.path.as_str())) {
        for (number, line) in source.code().lines().enumerate() {
            // The bridge to other people's apalis knows their wire formats and none of their code.
            let line = line.replace("intake::apalis::", "");
            if line.contains("apalis::") || line.contains("apalis_core::") {
                complaints.push(format!(
                    "{}:{}: only {} know apalis, so that it can be replaced there",
                    source.path,
                    number + 1,
                    allowed.join(" and ")
                ));
            }
        }
    }
    complain(complaints);
}

#[test]
fn every_statement_of_a_store_is_used() {
    let code: String = files("src/store", ".rs").into_iter().map(|source| source.text).collect();
    let mut complaints = Vec::new();
    for source in files("src/store", ".sql") {
        let name = source.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".sql");
        if !code.contains(&format!("\"{name}\"")) && !code.contains(&format!("{name}.sql")) {
            complaints.push(format!("{}: nobody runs this statement; delete it", source.path));
        }
    }
    complain(complaints);
}

#[test]
fn every_code_of_a_refusal_stands_in_its_manual() {
    let manual = &files("docs", "http.md")[0].text;
    let makers = ["Problem::new(", "Problem::bad_request(", "Problem::unavailable(", "Self::new(StatusCode"];
    let is_code = |text: &&str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let mut complaints = Vec::new();
    for source in files("src/control", ".rs") {
        let code = source.code();
        let made = makers.iter().flat_map(|maker| code.match_indices(maker)).filter_map(|(at, _)| code[at..].split('"').nth(1));
        for told in made.filter(is_code).filter(|told| !manual.contains(&format!("`{told}`"))) {
            complaints.push(format!("{}: `{told}` is missing in docs/http.md", source.path));
        }
    }
    complain(complaints);
}
