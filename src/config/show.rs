//! The configuration in force, as TOML that could be put into a file again: every value, where it came from, and `***` for
//! every secret.

use super::{
    secrets,
    tree::{Node, Origin, Table, Value},
};
use std::fmt::Write as _;

/// What stands in the place of a secret.
pub const HIDDEN: &str = "***";

/// All of `table`, one section after another.
#[must_use]
pub fn show(table: &Table) -> String {
    let mut text = String::new();
    section(&mut text, &mut Vec::new(), table);
    text
}

fn section(text: &mut String, path: &mut Vec<String>, table: &Table) {
    let values: Vec<_> = table.iter().filter(|(_, node)| !matches!(node.value, Value::Section(_))).collect();
    if !values.is_empty() {
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{}[{}]",
            if text.is_empty() { "" } else { "\n" },
            path.iter().map(|key| key_text(key)).collect::<Vec<_>>().join(".")
        );
        for (key, node) in values {
            path.push(key.clone());
            let _ = writeln!(text, "{} = {}{}", key_text(key), value_text(path, &node.value), remark(node));
            path.pop();
        }
    }
    for (key, node) in table {
        if let Value::Section(below) = &node.value {
            path.push(key.clone());
            section(text, path, below);
            path.pop();
        }
    }
}

fn remark(node: &Node) -> String {
    match &node.origin {
        Origin::Default => String::new(),
        origin => format!("  # {origin}"),
    }
}

fn key_text(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_bare { key.to_owned() } else { quoted(key) }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// `path` leads to the value, from the first section to the member of the innermost table: what hides a section hides `{ … }`.
fn value_text(path: &mut Vec<String>, value: &Value) -> String {
    if secrets::is_hidden(path.iter()) {
        return quoted(HIDDEN);
    }
    match value {
        Value::Text(text) => quoted(&without_secrets(text)),
        Value::Integer(integer) => integer.to_string(),
        Value::Float(float) => format!("{float:?}"),
        Value::Boolean(truth) => truth.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(|item| value_text(path, &item.value)).collect::<Vec<_>>().join(", ")),
        Value::Section(members) | Value::Inline(members) => {
            let mut shown = Vec::with_capacity(members.len());
            for (key, node) in members {
                path.push(key.clone());
                shown.push(format!("{} = {}", key_text(key), value_text(path, &node.value)));
                path.pop();
            }
            format!("{{ {} }}", shown.join(", "))
        }
        Value::Given { parsed, .. } => value_text(path, parsed),
    }
}

/// `text` with every URL in it as [`url_without_secrets`] has it.
fn without_secrets(text: &str) -> String {
    let is_url = |word: &str| word.contains("://");
    if !text.contains(char::is_whitespace) {
        return url_without_secrets(text);
    }
    let shown = |word: &str| {
        let end = word.trim_end().len();
        if is_url(word) { url_without_secrets(&word[..end]) + &word[end..] } else { word.to_owned() }
    };
    text.split_inclusive(char::is_whitespace).map(shown).collect()
}

/// A URL without what lets somebody in: user and password (`postgres://user:password@host/db`), the values of its query and
/// its fragment (`https://app.example/in?key=…`). What is no URL stays as it is.
#[must_use]
pub fn url_without_secrets(text: &str) -> String {
    let Ok(mut url) = url::Url::parse(text) else { return unreadable_without_secrets(text) };
    let (names_user, has_password) = (!url.username().is_empty(), url.password().is_some());
    if !names_user && !has_password && url.query().is_none() && url.fragment().is_none() {
        return text.to_owned();
    }
    let user_is_hidden = (!names_user || url.set_username(HIDDEN).is_ok()) && (!has_password || url.set_password(Some(HIDDEN)).is_ok());
    if !user_is_hidden {
        return HIDDEN.to_owned();
    }
    if let Some(query) = url.query() {
        // A part without a name is all value.
        let part = |part: &str| part.split_once('=').map_or(HIDDEN.to_owned(), |(name, _)| format!("{name}={HIDDEN}"));
        let query = query.split('&').map(part).collect::<Vec<_>>().join("&");
        url.set_query(Some(&query));
    }
    if url.fragment().is_some() {
        url.set_fragment(Some(HIDDEN));
    }
    url.to_string()
}

/// A mistyped URL may hold a password all the same.
fn unreadable_without_secrets(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) if rest.contains(['@', '?', '#']) => format!("{scheme}://{HIDDEN}"),
        _ => text.to_owned(),
    }
}
