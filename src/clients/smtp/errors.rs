//! What a mail server's refusal means (reference: providers 6.1): 4yz may work later, 5yz never will, and what it says to
//! our name, our credential or our encryption is for an operator.

use crate::{
    clients::{ProviderError, excerpt},
    job::ErrorClass,
};
use lettre::transport::smtp::Error;
use std::error::Error as _;

/// How far the conversation had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Connection, greeting, encryption, login: nothing of the mail was said yet.
    Login,
    Mail,
}

pub(super) fn classify(error: &Error, step: Step) -> ProviderError {
    let detail = error.source().map(ToString::to_string).unwrap_or_default();
    let detail = excerpt(detail.trim(), 300);
    if let Some(code) = error.status().map(u16::from) {
        let message = format!("the mail server answered {code}: {detail}");
        return ProviderError::new(class(code, step), format!("smtp_{code}"), message);
    }
    let (class, code, what) = if error.is_timeout() {
        (ErrorClass::Timeout, "timeout", "did not answer in time")
    } else if error.is_tls() {
        (ErrorClass::Retry, "tls", "could not be spoken to in private")
    } else if error.is_client() {
        // It lacks something we insist on: STARTTLS or a way to log in; or something this mail needs, such as SMTPUTF8.
        (if step == Step::Login { ErrorClass::Auth } else { ErrorClass::Permanent }, "smtp_unsupported", "lacks what is needed")
    } else if step == Step::Login {
        (ErrorClass::Retry, "connect", "cannot be reached")
    } else {
        (ErrorClass::Retry, "connection_lost", "broke off")
    };
    ProviderError::new(class, code, format!("the mail server {what}: {detail}"))
}

const fn class(code: u16, step: Step) -> ErrorClass {
    match (code, step) {
        // 530 login required, 534 and 538 a stronger login, 535 wrong credential.
        (530 | 534 | 535 | 538, _) => ErrorClass::Auth,
        (400..500, _) => ErrorClass::Retry,
        // A server that will not talk to us refuses every mail, not this one.
        (_, Step::Login) => ErrorClass::Auth,
        (_, Step::Mail) => ErrorClass::Permanent,
    }
}
