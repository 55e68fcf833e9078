//! Secrets: which keys are secret, and where their values may come from. A file named by the key with `_file` behind it, a
//! systemd credential named like the key, or the environment; never a command line. What is secret is never shown.

use super::tree::{self, Node, Origin, Problem, Table, Value};
use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

/// Every key whose value is a secret, by its last word. A test holds this to the `SecretString` fields of the rooms.
pub const SECRET_KEYS: [&str; 5] = ["api_key", "password", "secret", "secrets", "token"];

/// No key, password or token is longer; a larger file is the wrong file.
const MAX_BYTES: u64 = 64 << 10;

#[must_use]
pub fn is_secret(key: &str) -> bool {
    SECRET_KEYS.contains(&key)
}

/// `token` for `token_file`.
fn named_by_file(key: &str) -> Option<&str> {
    key.strip_suffix("_file").filter(|secret| is_secret(secret))
}

/// The other way to give the same secret.
fn counterpart(key: &str) -> Option<String> {
    if is_secret(key) { Some(format!("{key}_file")) } else { named_by_file(key).map(str::to_owned) }
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
        let text = contents(&path).map_err(|e| unreadable(&path, e))?;
        let origin = Origin::SecretFile(path.display().to_string().into());
        let value = value_of(keys.last().map_or("", String::as_str), &text, &origin);
        tree::put(&mut table, &keys, Node { value, origin });
    }
    Ok(table)
}

/// Puts the contents of every `…_file` in the place of the secret it names. Relative paths are relative to the working
/// directory of the process, as everywhere on a command line.
pub fn read_files(table: &mut Table, problems: &mut Vec<Problem>, warnings: &mut Vec<Problem>) {
    let mut found = Vec::new();
    tree::leaves(table, &mut Vec::new(), &mut |path, node| {
        if path.last().is_some_and(|key| named_by_file(key).is_some()) {
            found.push((path.to_vec(), node.clone()));
        }
    });
    for (path, node) in found {
        tree::remove(table, &path);
        let Some(file) = node.value.text().map(Path::new) else {
            problems.push(Problem::new(&node.origin, format!("`{}` must be the path of a file, in quotes", path.join("."))));
            continue;
        };
        let mut secret_path = path.clone();
        let key = path.last().and_then(|key| named_by_file(key)).unwrap_or_default().to_owned();
        secret_path.pop();
        secret_path.push(key.clone());
        if tree::get(table, &secret_path.iter().map(String::as_str).collect::<Vec<_>>()).is_some() {
            let (file_key, key) = (path.join("."), secret_path.join("."));
            problems.push(Problem::new(&node.origin, format!("`{file_key}` and `{key}` are both set; keep one of them")));
            continue;
        }
        match contents(file) {
            Ok(text) => {
                if is_readable_by_others(file) {
                    let advice = format!("the secret file {} is readable by everybody; run chmod 600 on it", file.display());
                    warnings.push(Problem::new(&node.origin, advice));
                }
                let origin = Origin::SecretFile(file.display().to_string().into());
                let value = value_of(&key, &text, &origin);
                tree::put(table, &secret_path, Node { value, origin });
            }
            Err(error) => {
                let sentence = format!("`{}` names {}, which cannot be read: {error}", path.join("."), file.display());
                problems.push(Problem::new(&node.origin, sentence));
            }
        }
    }
}

/// The text of a secret file without the line end that editors add.
fn contents(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = fs::File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than any secret; is it the right file?"));
    }
    if text.trim().is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty"));
    }
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Ok(text)
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
