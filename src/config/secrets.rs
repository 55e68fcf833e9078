//! Secrets: which keys are secret, and where their values may come from. A file named by the key with `_file` behind it, a
//! systemd credential named like the key, or the environment; never a command line. What is secret is never shown.

use super::tree::{self, Node, Origin, Problem, Table, Value};
use crate::secret;
use secrecy::ExposeSecret as _;
use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path};

/// Every key whose value is a secret, by its last word. A test holds this to the `SecretString` fields of the rooms.
pub const SECRET_KEYS: [&str; 9] =
    ["api_key", "dataforseo_password", "forward_secret", "http_secret", "openai_key", "password", "secrets", "token", "webhook_secrets"];

#[must_use]
pub fn is_secret(key: &str) -> bool {
    SECRET_KEYS.contains(&key)
}

/// A key may also stand below one that is secret as a whole, and what goes into a request's header may well be a key. Inside a
/// job's payload the spelling is the job's own.
#[must_use]
pub fn is_hidden<'a>(path: impl IntoIterator<Item = &'a String>) -> bool {
    path.into_iter().map(|key| key.to_ascii_lowercase()).any(|key| is_secret(&key) || key == "headers" || key == "authorization")
}

/// `token_file`, `secret_files`: keys whose values are paths of secret files.
fn names_files(key: &str) -> bool {
    counterpart(key).is_some_and(|other| is_secret(&other))
}

/// The other way to give the same secret: `token` and `token_file`, `secrets` and `secret_files`.
fn counterpart(key: &str) -> Option<String> {
    match (key, key.strip_suffix("_file")) {
        ("secrets", _) => Some("secret_files".to_owned()),
        ("secret_files", _) => Some("secrets".to_owned()),
        (_, Some(secret)) if is_secret(secret) => Some(secret.to_owned()),
        _ if is_secret(key) => Some(format!("{key}_file")),
        _ => None,
    }
}

/// Before `over` is laid on `base`: a secret given above in one form replaces the one given below in the other.
pub fn make_way(base: &mut Table, over: &Table) {
    let mut outdone = Vec::new();
    tree::leaves(over, &mut Vec::new(), &mut |path, _| {
        if let Some((key, section)) = path.split_last()
            && let Some(other) = counterpart(key)
        {
            outdone.push(section.iter().cloned().chain([other]).collect::<Vec<_>>());
        }
    });
    for path in outdone {
        tree::remove(base, &path);
    }
}

/// The credentials that systemd hands over (`LoadCredential=control.token:/etc/windlass/token`): each file is named like
/// the key it fills. Files without a dot in their name are somebody else's.
///
/// # Errors
/// When the directory or a credential cannot be read.
pub fn credentials(directory: &Path) -> Result<Table, Problem> {
    let unreadable = |path: &Path, error: io::Error| Problem::new(path.display(), format!("the credential cannot be read: {error}"));
    let mut table = Table::new();
    for entry in fs::read_dir(directory).map_err(|e| unreadable(directory, e))? {
        let path = entry.map_err(|e| unreadable(directory, e))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| name.contains('.')) else { continue };
        let keys: Vec<String> = name.split('.').map(str::to_owned).collect();
        let text = secret::read(&path).map_err(|error| Problem::new(path.display(), error.to_string()))?;
        let origin = Origin::Credential(path.display().to_string().into());
        let value = value_of(keys.last().map_or("", String::as_str), text.expose_secret(), &origin);
        tree::put(&mut table, &keys, Node { value, origin });
    }
    Ok(table)
}

/// Looks at every file that a secret key names: it must be there, and nobody else should be able to read it. The room that
/// uses the secret reads it.
pub fn check_files(table: &Table, problems: &mut Vec<Problem>, warnings: &mut Vec<Problem>) {
    tree::leaves(table, &mut Vec::new(), &mut |path, node| {
        if !path.last().is_some_and(|key| names_files(key)) {
            return;
        }
        let items = if let Value::Array(items) = &node.value { items.as_slice() } else { std::slice::from_ref(node) };
        for (item, file) in items.iter().filter_map(|item| item.value.text().map(|text| (item, Path::new(text)))) {
            if let Err(error) = secret::read(file) {
                problems.push(Problem::new(&item.origin, format!("`{}`: {error}", path.join("."))));
            } else if is_readable_by_others(file) {
                let advice = format!("the secret file {} can be read by everybody on this machine; run chmod 600 on it", file.display());
                warnings.push(Problem::new(&item.origin, advice));
            }
        }
    });
}

/// One secret, or for the plural one secret a line (while a webhook source rotates, two are valid).
fn value_of(key: &str, text: &str, origin: &Origin) -> Value {
    if key != "secrets" {
        return Value::Text(text.to_owned());
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Value::Array(lines.map(|line| Node { value: Value::Text(line.to_owned()), origin: origin.clone() }).collect())
}

/// Whether anybody on the machine may read the file.
#[must_use]
pub fn is_readable_by_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

/// Whether anybody on the machine may reach what is in the folder.
#[must_use]
pub fn is_open_to_others(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
}
