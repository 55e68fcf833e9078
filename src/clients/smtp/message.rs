//! One mail, built: addresses and subject checked, text and HTML as alternatives, a `Message-ID` that is the same however
//! often the job runs, so that receivers can drop or thread repeats (SMTP has no idempotency of its own).

use crate::{
    clients::ProviderError,
    job::{ErrorClass, Timestamp},
};
use lettre::{
    Message,
    message::{Mailbox, MultiPart, SinglePart, header},
};

#[derive(Clone, Copy, Debug)]
pub struct Email<'a> {
    pub to: &'a str,
    pub reply_to: Option<&'a str>,
    pub subject: &'a str,
    pub text: Option<&'a str>,
    pub html: Option<&'a str>,
    /// The left half of the `Message-ID`.
    pub id: &'a str,
    pub date: Timestamp,
}

impl Email<'_> {
    /// The `Message-ID`, in the domain of the sender.
    #[must_use]
    pub(super) fn message_id(&self, from: &Mailbox) -> String {
        format!("<{}@{}>", self.id, from.email.domain())
    }

    pub(super) fn build(&self, from: &Mailbox) -> Result<Message, ProviderError> {
        if self.subject.contains(['\r', '\n', '\0']) {
            return Err(invalid("the subject holds a line break, which would let it add headers; put it on one line"));
        }
        let automatic = header::HeaderName::new_from_ascii_str("Auto-Submitted");
        let mut builder = Message::builder()
            .from(from.clone())
            .to(mailbox("to", self.to)?)
            .subject(self.subject)
            .date(self.date.to_utc().into())
            .message_id(Some(self.message_id(from)))
            // RFC 3834: no vacation notices in answer to this.
            .raw_header(header::HeaderValue::new(automatic, "auto-generated".to_owned()));
        if let Some(reply_to) = self.reply_to {
            builder = builder.reply_to(mailbox("reply_to", reply_to)?);
        }
        let built = match (self.text, self.html) {
            (Some(text), Some(html)) => builder.multipart(MultiPart::alternative_plain_html(text.to_owned(), html.to_owned())),
            (None, Some(html)) => builder.singlepart(SinglePart::html(html.to_owned())),
            (text, None) => builder.singlepart(SinglePart::plain(text.unwrap_or_default().to_owned())),
        };
        built.map_err(|_| invalid("the mail cannot be built; check its addresses"))
    }
}

/// One address, with or without a name. The parser stops at what it does not understand, so the rest is looked at here: a
/// second address after a comma is a mistake or an attempt.
pub(super) fn mailbox(member: &str, text: &str) -> Result<Mailbox, ProviderError> {
    let bad = || invalid(&format!("`{member}` is not one mail address; write name@example.com or Name <name@example.com>"));
    if text.contains(|c: char| c.is_control()) {
        return Err(bad());
    }
    let mailbox: Mailbox = text.trim().parse().map_err(|_| bad())?;
    let address: &str = mailbox.email.as_ref();
    let whole = text.trim().trim_end_matches('>').trim_end().ends_with(address);
    if whole { Ok(mailbox) } else { Err(bad()) }
}

fn invalid(message: &str) -> ProviderError {
    ProviderError::new(ErrorClass::Permanent, "invalid_mail", message)
}
