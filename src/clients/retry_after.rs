//! `Retry-After` and its relatives, as a time from now.

use crate::job::Timestamp;
use http::HeaderMap;
use std::time::Duration;

/// Longer waits are typing errors of the far side (or `9999999999`); what a job really waits is clamped by its kind.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// `retry-after-ms` (OpenAI), else `retry-after` in seconds or as an HTTP date. A date counts from the answer's own `Date`
/// where there is one, so that a clock that is off, ours or theirs, does not matter. Anything else, negative or not a
/// number is as good as absent.
pub(super) fn of(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(number) {
        return Some(Duration::from_secs_f64(ms / 1000.0).min(LONGEST));
    }
    let text_value = text("retry-after")?;
    if let Some(seconds) = number(text_value) {
        return Some(Duration::from_secs_f64(seconds).min(LONGEST));
    }
    let sent_at = text("date").and_then(http_date).unwrap_or(now);
    Some(http_date(text_value)?.since(sent_at).min(LONGEST))
}

/// Digits with at most one point: `1e9`, `-1` and `inf` are floats to a parser and nothing to a server.
fn number(text: &str) -> Option<f64> {
    let plain = (1..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    plain.then(|| text.parse().ok()).flatten()
}

/// RFC 9110 section 5.6.7, in the one form that may be sent today.
fn http_date(text: &str) -> Option<Timestamp> {
    chrono::DateTime::parse_from_rfc2822(text).ok().map(|date| Timestamp::from_utc(date.to_utc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_a_server_sends_is_understood_and_every_other_ignored() {
        let now = Timestamp::parse("2026-01-01T00:00:00Z").expect("a time");
        let date = "Thu, 01 Jan 2026 00:02:00 GMT";
        for (headers, expected) in [
            (vec![("retry-after", "7")], Some(7_000)),
            (vec![("retry-after", "0")], Some(0)),
            (vec![("retry-after", " 1.5 ")], Some(1_500)),
            (vec![("retry-after-ms", "250"), ("retry-after", "9")], Some(250)),
            (vec![("retry-after-ms", "soon"), ("retry-after", "9")], Some(9_000)),
            (vec![("retry-after", date)], Some(120_000)),
            (vec![("retry-after", date), ("date", "Thu, 01 Jan 2026 00:01:00 GMT")], Some(60_000)),
            (vec![("retry-after", "Thu, 01 Jan 2015 00:00:00 GMT")], Some(0)),
            (vec![("retry-after", "999999999999999")], Some(366 * 86_400_000)),
            (vec![("retry-after", "-1")], None),
            (vec![("retry-after", "1e9")], None),
            (vec![("retry-after", "inf")], None),
            (vec![("retry-after", "NaN")], None),
            (vec![("retry-after", "1.2.3")], None),
            (vec![("retry-after", "tomorrow")], None),
            (vec![("retry-after", "")], None),
            (vec![], None),
        ] {
            let map: HeaderMap =
                headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))).collect();
            assert_eq!(of(&map, now).map(|wait| wait.as_millis()), expected, "{headers:?}");
        }
    }
}
