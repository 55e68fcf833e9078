//! A secret as it stands in the configuration: its text, or the file that holds it (`LoadCredential=`, a mounted secret).
//! What it is used for is each room's affair.

use secrecy::SecretString;
use std::path::{Path, PathBuf};

/// Longer files are not secrets but mistakes, such as a path to a log or a database.
const MAX_FILE_BYTES: usize = 16 << 10;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{member} and {member}_file are both set; keep one of them")]
    Both { member: String },
    #[error("cannot read the secret file {}: {source}; check the path and its owner", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("the secret file {} {what}; put nothing but the secret into it", path.display())]
    Content { path: PathBuf, what: &'static str },
}

/// The secret of the setting `member`, given directly or by a file; `None` when neither is set. An empty text counts as not set.
///
/// # Errors
/// When both are set, or the file cannot be read or holds no secret.
pub fn of(member: &str, text: Option<&SecretString>, file: Option<&Path>) -> Result<Option<SecretString>, Error> {
    use secrecy::ExposeSecret as _;
    let text = text.filter(|text| !text.expose_secret().is_empty());
    match (text, file) {
        (Some(_), Some(_)) => Err(Error::Both { member: member.to_owned() }),
        (Some(text), None) => Ok(Some(text.clone())),
        (None, Some(file)) => read(file).map(Some),
        (None, None) => Ok(None),
    }
}

/// Forty bytes that nobody can guess, from the operating system.
///
/// # Errors
/// When it has none.
pub fn chance() -> std::io::Result<[u8; 40]> {
    let mut bytes = [0; 40];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes)
}

/// The content of `path` without the line end that editors add.
///
/// # Errors
/// When the file cannot be read, is empty, too long or not UTF-8.
pub fn read(path: &Path) -> Result<SecretString, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    let content = |what| Error::Content { path: path.to_owned(), what };
    if bytes.len() > MAX_FILE_BYTES {
        return Err(content("is longer than 16 KiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| content("is not UTF-8 text"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(content("is empty")),
        secret => Ok(SecretString::from(secret)),
    }
}
