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
            let value = if secrets::is_hidden(path.iter().chain([key])) { quoted(HIDDEN) } else { value_text(key, &node.value) };
            let _ = writeln!(text, "{} = {value}{}", key_text(key), remark(node));
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

fn value_text(key: &str, value: &Value) -> String {
    if secrets::is_secret(key) {
        return quoted(HIDDEN);
    }
    match value {
        Value::Text(text) => quoted(&without_password(text)),
        Value::Integer(integer) => integer.to_string(),
        Value::Float(float) => format!("{float:?}"),
        Value::Boolean(truth) => truth.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(|item| value_text(key, &item.value)).collect::<Vec<_>>().join(", ")),
        Value::Section(members) | Value::Inline(members) => {
            let members: Vec<_> =
                members.iter().map(|(key, node)| format!("{} = {}", key_text(key), value_text(key, &node.value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        Value::Given { parsed, .. } => value_text(key, parsed),
    }
}

/// A URL may carry a password (`postgres://user:password@host/db`).
#[must_use]
pub fn without_password(text: &str) -> String {
    let Some(mut url) = url::Url::parse(text).ok().filter(|url| url.password().is_some()) else { return text.to_owned() };
    match url.set_password(Some(HIDDEN)) {
        Ok(()) => url.to_string(),
        Err(()) => HIDDEN.to_owned(),
    }
}
