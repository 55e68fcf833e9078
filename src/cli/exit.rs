//! What the process ends with: an exit code after sysexits(3), so that scripts can tell what to do, and one sentence on
//! standard error, so that people can.

use crate::{client, config, control::wire::ProblemDocument, daemon, secret, store};
use std::{io, process::ExitCode};

/// The codes this program ends with, and no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Success = 0,
    /// The command line is wrong.
    Usage = 64,
    /// The input is wrong: not JSON, a bad member, a job that does not exist.
    Data = 65,
    /// Something that is needed is not there or not usable: store, port, file.
    Unavailable = 69,
    /// The program could not do what it should (`demo`: not everything ended as it should).
    Software = 70,
    /// The same command may work in a moment.
    TryAgain = 75,
    /// The configuration is wrong.
    Configuration = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An end that a command chose itself.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct Refusal {
    exit: Exit,
    sentence: String,
}

impl Exit {
    /// The error of a command that ends like this for the reason `sentence`.
    pub fn because(self, sentence: impl Into<String>) -> anyhow::Error {
        Refusal { exit: self, sentence: sentence.into() }.into()
    }

    /// By what the error is, never by what it says.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(Self::of_cause).unwrap_or(Self::Software)
    }

    fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return Some(refusal.exit);
        }
        if cause.is::<config::Invalid>() {
            return Some(Self::Configuration);
        }
        if let Some(error) = cause.downcast_ref::<store::Error>() {
            return Some(Self::of_store(error));
        }
        if let Some(error) = cause.downcast_ref::<client::Error>() {
            return Some(Self::of_client(error));
        }
        if let Some(error) = cause.downcast_ref::<daemon::Error>() {
            return Some(match error {
                daemon::Error::PortInUse(_) | daemon::Error::Port { .. } => Self::Unavailable,
                daemon::Error::Store(error) => Self::of_store(error),
                daemon::Error::Configuration(_) | daemon::Error::LosesData(_) => Self::Configuration,
            });
        }
        if cause.is::<secret::Error>() {
            return Some(Self::Configuration);
        }
        cause.downcast_ref::<io::Error>().map(|_| Self::Unavailable)
    }

    const fn of_store(error: &store::Error) -> Self {
        match error {
            store::Error::Unavailable(_) | store::Error::Unknown(_) => Self::TryAgain,
            store::Error::Invalid { .. }
            | store::Error::Duplicate { .. }
            | store::Error::Conflict { .. }
            | store::Error::NotFound { .. }
            | store::Error::NotAllowed(_) => Self::Data,
            store::Error::Corrupt(_) | store::Error::Refused(_) => Self::Unavailable,
        }
    }

    fn of_client(error: &client::Error) -> Self {
        match error {
            client::Error::Lost { .. } => Self::TryAgain,
            client::Error::Unreachable { .. } | client::Error::Unreadable { .. } => Self::Unavailable,
            client::Error::BadAddress(_) => Self::Configuration,
            client::Error::Refused { problem, .. } => match problem.status {
                401 | 403 => Self::Configuration,
                408 | 429 | 503 => Self::TryAgain,
                400..=499 => Self::Data,
                _ => Self::Unavailable,
            },
        }
    }
}

/// A refusal says in its list what is wrong with which item; without one its own sentence is all there is.
#[must_use]
pub fn refusal(problem: &ProblemDocument) -> String {
    let about = |item: &crate::control::wire::ItemError| match item.pointer.trim_start_matches('#') {
        "" => item.message.clone(),
        pointer => format!("{pointer}: {}", item.message),
    };
    if problem.errors.is_empty() { problem.detail.clone() } else { problem.errors.iter().map(about).collect::<Vec<_>>().join("; ") }
}

/// The whole error in one sentence: what was tried, then why it failed. A cause that only repeats what was said is left out.
#[must_use]
pub fn sentence(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(of_cause) {
        if said.is_empty() {
            said = cause;
        } else if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> String {
    match cause.downcast_ref::<client::Error>() {
        Some(client::Error::Refused { problem, .. }) => refusal(problem),
        _ => cause.to_string(),
    }
}
