//! Numbers, times and other people's texts, as they fit on a line.

use crate::{cli::output::plain, job::Timestamp};
use std::time::Duration;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// 1,234.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 job`, `2 jobs`.
#[must_use]
pub fn plural(n: u64, one: &str) -> String {
    format!("{} {one}{}", count(n), if n == 1 { "" } else { "s" })
}

/// 12.3; 1,234.
#[must_use]
pub fn rate(per_second: f64) -> String {
    if per_second < 99.95 { format!("{per_second:.1}") } else { count(per_second.round() as u64) }
}

/// 850 ms, 12 s, 2 min 5 s, 3 h 10 min, 4 d 2 h.
#[must_use]
pub fn duration(span: Duration) -> String {
    let (ms, s) = (span.as_millis(), span.as_secs());
    let two = |whole: u64, unit: &str, rest: u64, part: &str| match rest {
        0 => format!("{whole} {unit}"),
        _ => format!("{whole} {unit} {rest} {part}"),
    };
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{s} s"),
        60..3600 => two(s / 60, "min", s % 60, "s"),
        3600..86_400 => two(s / 3600, "h", s % 3600 / 60, "min"),
        _ => two(s / 86_400, "d", s % 86_400 / 3600, "h"),
    }
}

/// How long ago, or in how long.
#[must_use]
pub fn from_now(at: Timestamp, now: Timestamp) -> String {
    let whole = |span: Duration| duration(Duration::from_secs(span.as_secs()));
    match (now.since(at), at.since(now)) {
        (ago, _) if ago >= Duration::from_secs(1) => format!("{} ago", whole(ago)),
        (_, ahead) if ahead >= Duration::from_secs(1) => format!("in {}", whole(ahead)),
        _ => "now".into(),
    }
}

/// In how many columns of a terminal a text stands.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// A text in at most so many columns, without anything that moves a cursor.
#[must_use]
pub fn fit(text: &str, most: usize) -> String {
    let text = plain(text);
    if text.width() <= most {
        return text;
    }
    let mut used = 0;
    let mut fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used < most
    };
    let kept: String = text.chars().take_while(&mut fits).collect();
    if most == 0 { kept } else { format!("{}…", kept.trim_end()) }
}

/// A text as lines of at most so many columns, parted between words where that can be.
#[must_use]
pub fn wrap(text: &str, most: usize) -> Vec<String> {
    let most = most.max(1);
    let mut lines = vec![String::new()];
    for word in plain(text).split_whitespace().flat_map(|word| pieces(word, most)) {
        let line = lines.last_mut().expect("there is always one");
        if line.is_empty() {
            *line = word;
        } else if line.width() + 1 + word.width() <= most {
            *line = format!("{line} {word}");
        } else {
            lines.push(word);
        }
    }
    lines
}

fn pieces(word: &str, most: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for c in word.chars() {
        let piece = pieces.last_mut().expect("there is always one");
        if piece.width() + c.width().unwrap_or(0) > most && !piece.is_empty() {
            pieces.push(c.to_string());
        } else {
            piece.push(c);
        }
    }
    pieces
}

/// The newest of these figures as a line of bars, a column each, the newest at the right.
#[must_use]
pub fn bars(figures: &[f64], most: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &figures[figures.len().saturating_sub(most)..];
    let top = shown.iter().copied().fold(0.0, f64::max);
    let bar = |figure: &f64| if top > 0.0 { BARS[((figure / top * 7.0).ceil() as usize).min(7)] } else { BARS[0] };
    shown.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_as_people_say_them() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 12.34, 1234.4].map(rate), ["0.0", "12.3", "1,234"]);
        let spans = [850, 12_400, 60_000, 125_000, 11_400_000, 352_800_000].map(|ms| duration(Duration::from_millis(ms)));
        assert_eq!(spans, ["850 ms", "12 s", "1 min", "2 min 5 s", "3 h 10 min", "4 d 2 h"]);
        let now = Timestamp::from_secs(1000);
        assert_eq!([970, 1000, 1065].map(|at| from_now(Timestamp::from_secs(at), now)), ["30 s ago", "now", "in 1 min 5 s"]);
    }

    #[test]
    fn texts_are_cut_between_characters_and_by_their_columns() {
        assert_eq!([fit("äöüß", 3), fit("äöü", 3), fit("ab", 0)], ["äö…", "äöü", ""]);
        assert_eq!(fit("日本語の列", 6), "日本…", "each takes two columns");
        assert_eq!(fit("e\u{301}e\u{301}e\u{301}", 3), "e\u{301}e\u{301}e\u{301}", "an accent takes none");
        for most in 0..12 {
            for text in ["日本語の列", "👩‍👩‍👧 family", "a\u{202e}b\u{1b}[2Jc", "e\u{301}\u{301}x"] {
                assert!(fit(text, most).width() <= most, "{text:?} in {most}");
            }
        }
    }

    #[test]
    fn long_texts_become_lines() {
        assert_eq!(wrap("the provider is down", 12), ["the provider", "is down"]);
        assert_eq!(wrap("aaaaaaaaaa b", 4), ["aaaa", "aaaa", "aa b"]);
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("日本語", 1), ["日", "本", "語"], "what fits nowhere stands alone");
    }

    #[test]
    fn bars_show_the_newest_that_fit() {
        assert_eq!(bars(&[9.0, 0.0, 1.0, 4.0, 8.0], 4), "▁▂▅█");
        assert_eq!((bars(&[0.0, 0.0], 9).as_str(), bars(&[], 9).as_str(), bars(&[1.0], 0).as_str()), ("▁▁", "", ""));
    }
}
