//! Switches inside a call: `[sandbox fail 2 status 503 retry-after 1]` in a text or keyword, `/fail/2/status/503/then/ok`
//! in a path, `ana+sandbox.fail.2.code.450@…` in an address. The words are the same everywhere:
//!
//! - `fail [N]` with `status S`, `code C` or neither (500), and perhaps `retry-after SECONDS`
//! - `hang [N]`, `reset [N]`, `cut [N]`, `refuse [N]`, `wrong-json [N]`, `mismatch [N]`, `length [N]`, `no-usage [N]`
//! - `delay MS`
//!
//! The first N calls with the same text go wrong, without N all of them. Words not listed (`then`, `ok`) say nothing.

use super::switches::{Fault, Stage};
use std::time::Duration;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marker {
    pub fault: Option<Fault>,
    pub times: Option<u32>,
    pub delay: Duration,
}

const OPENING: &str = "[sandbox ";

impl Marker {
    /// The marker in `text`, and the text without it.
    pub(super) fn in_text(text: &str) -> (Option<Self>, String) {
        let Some(start) = text.find(OPENING) else { return (None, text.to_owned()) };
        let Some(length) = text[start..].find(']') else { return (None, text.to_owned()) };
        let words = text[start + OPENING.len()..start + length].split([' ', '=', ',']);
        let rest = format!("{}{}", &text[..start], &text[start + length + 1..]);
        (Self::read(words), rest.trim().to_owned())
    }

    pub(super) fn in_path(path: &str) -> Option<Self> {
        Self::read(path.split('/'))
    }

    /// In the local part of an e-mail address.
    pub(super) fn in_address(address: &str) -> Option<Self> {
        let (local, _) = address.rsplit_once('@')?;
        let (_, words) = local.split_once("+sandbox.")?;
        Self::read(words.split('.'))
    }

    fn read<'w>(words: impl Iterator<Item = &'w str>) -> Option<Self> {
        let mut words = words.filter(|word| !word.is_empty()).peekable();
        let mut marker = Self::default();
        while let Some(word) = words.next() {
            let number: Option<u64> = words.peek().and_then(|next| next.parse().ok());
            let used = marker.take(word, number, words.peek().copied());
            if used {
                words.next();
            }
        }
        (marker != Self::default()).then_some(marker)
    }

    /// Takes one word in; true if the word after it belonged to it.
    fn take(&mut self, word: &str, number: Option<u64>, next: Option<&str>) -> bool {
        let small = |number: Option<u64>| number.and_then(|n| u16::try_from(n).ok());
        match (word, &mut self.fault) {
            ("delay", _) => self.delay = Duration::from_millis(number.unwrap_or(0)),
            ("status", Some(Fault::Status { status, .. })) => *status = small(number).filter(|s| (200..=599).contains(s)).unwrap_or(500),
            ("retry-after", Some(Fault::Status { retry_after_secs, .. })) => *retry_after_secs = number,
            ("code", fault @ Some(_)) => return Self::with_code(fault, next),
            _ => {
                let Some(fault) = verb(word) else { return false };
                self.fault = Some(fault);
                self.times = number.and_then(|n| u32::try_from(n).ok());
            }
        }
        number.is_some()
    }

    /// A code of three digits is an SMTP reply, of five a DataForSEO status, a word the code of an OpenAI error.
    fn with_code(fault: &mut Option<Fault>, next: Option<&str>) -> bool {
        let Some(code) = next else { return false };
        match (code.len(), code.parse::<u16>(), &mut *fault) {
            (3, Ok(code), _) => *fault = Some(Fault::Reply { code, stage: Stage::Recipient }),
            (5, Ok(_), _) => *fault = Some(Fault::ErrorInside { code: code.to_owned() }),
            (_, _, Some(Fault::Status { code: own, .. })) => *own = Some(code.to_owned()),
            _ => {}
        }
        true
    }
}

fn verb(word: &str) -> Option<Fault> {
    Some(match word {
        "fail" => Fault::status(500),
        "hang" => Fault::Hang { kept: false },
        "reset" => Fault::Reset,
        "cut" => Fault::CutBody,
        "refuse" => Fault::Refusal,
        "wrong-json" => Fault::WrongJson,
        "mismatch" => Fault::Mismatch,
        "length" => Fault::Length,
        "no-usage" => Fault::NoUsage,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_work_in_a_text_a_path_and_an_address() {
        let wanted = Marker {
            fault: Some(Fault::Status { status: 503, code: None, retry_after_secs: Some(1) }),
            times: Some(2),
            delay: Duration::ZERO,
        };
        let (marker, rest) = Marker::in_text("Week 1 [sandbox fail 2 status=503 retry-after=1]: cells");
        assert_eq!((marker.as_ref(), rest.as_str()), (Some(&wanted), "Week 1 : cells"));
        assert_eq!(Marker::in_path("fail/2/status/503/retry-after/1/then/ok"), Some(wanted));
        let reply = Marker::in_address("ana+sandbox.fail.1.code.450@example.org").unwrap();
        assert_eq!((reply.fault, reply.times), (Some(Fault::reply(450, Stage::Recipient)), Some(1)));
    }

    #[test]
    fn codes_tell_their_provider_and_plain_words_are_left_alone() {
        let fault = |text| Marker::in_text(text).0.and_then(|marker| marker.fault);
        assert_eq!(fault("kw [sandbox fail code 40202]"), Some(Fault::ErrorInside { code: "40202".into() }));
        let quota = Fault::Status { status: 429, code: Some("insufficient_quota".into()), retry_after_secs: None };
        assert_eq!(fault("[sandbox fail status 429 code insufficient_quota]"), Some(quota));
        assert_eq!(fault("a [sandbox] in a park, [sandbox then ok"), None);
        assert_eq!(Marker::in_path("orders/2026"), None);
    }
}
