//! Finds what has a form of its own in a line of text: dates, times, e-mail addresses, links, telephone numbers, and
//! numbers with their unit. What they mean for a property is decided in `answer/`.

use super::words::stems;
use std::ops::Range;

/// A word of a line, cut at white space and freed of the punctuation around it.
#[derive(Clone, Debug)]
pub struct Token<'t> {
    pub text: &'t str,
    pub span: Range<usize>,
}

pub fn tokens(line: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut from = 0;
    for piece in line.split(char::is_whitespace) {
        let text = piece.trim_matches(|c: char| ",;:!?()[]{}<>\"'|*`“”„’‘".contains(c)).trim_end_matches('.');
        if !text.is_empty() {
            let start = from + (text.as_ptr() as usize - piece.as_ptr() as usize);
            found.push(Token { text, span: start..start + text.len() });
        }
        from += piece.len() + line[from + piece.len()..].chars().next().map_or(0, char::len_utf8);
    }
    found
}

/// A day as the text gives it; without a year when the text gives none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    pub raw: String,
    pub year: Option<i32>,
    pub month: u32,
    pub day: u32,
    pub span: Range<usize>,
}

const MONTHS: [&str; 12] =
    ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];

pub fn days(line: &str) -> Vec<Day> {
    let tokens = tokens(line);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let (day, used) = match numeric_day(&tokens[at]) {
            Some(day) => (Some(day), 1),
            None => written_day(line, &tokens[at..]).map_or((None, 1), |(day, used)| (Some(day), used)),
        };
        found.extend(day.filter(|day| chrono::NaiveDate::from_ymd_opt(day.year.unwrap_or(2024), day.month, day.day).is_some()));
        at += used;
    }
    found
}

/// `2026-03-04`, `2026/3/4`, `04.03.2026` (day first), `03/04/2026` (month first unless that cannot be).
fn numeric_day(token: &Token<'_>) -> Option<Day> {
    let text = token.text.split_once('T').map_or(token.text, |(date, _)| date);
    let separator = ['-', '/', '.'].into_iter().find(|&c| text.matches(c).count() == 2)?;
    let parts: Vec<u32> = text.split(separator).map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [a, b, c] = parts[..] else { return None };
    let (year, month, day) = match (a > 31, c > 31, separator) {
        (true, false, _) => (a, b, c),
        (false, true, '/') if a <= 12 => (c, a, b),
        (false, true, _) => (c, b, a),
        _ => return None,
    };
    let year = i32::try_from(year).ok().filter(|year| (1000..=9999).contains(year))?;
    Some(Day { raw: text.to_owned(), year: Some(year), month, day, span: token.span.start..token.span.start + text.len() })
}

/// `March 4`, `4 March`, `4th of March, 2026`, `Mar 4 2026`.
fn written_day(line: &str, tokens: &[Token<'_>]) -> Option<(Day, usize)> {
    // `2 (Sep` is not a day: between its words there is no more than a stop or a comma.
    let together = |at: usize| {
        let between = &line[tokens[at - 1].span.end..tokens[at].span.start];
        between.trim_matches([' ', '\u{a0}', '\t', '.', ',']).is_empty()
    };
    let joined = |last: usize| (1..=last).all(|at| at < tokens.len() && together(at));
    let (month, day, mut used) = match month_of(tokens[0].text) {
        Some(month) => (month, day_of(tokens.get(1)?.text).filter(|_| joined(1))?, 2),
        None => {
            let day = day_of(tokens[0].text)?;
            let gap = usize::from(tokens.get(1)?.text == "of");
            (month_of(tokens.get(1 + gap)?.text).filter(|_| joined(1 + gap))?, day, 2 + gap)
        }
    };
    let year = tokens.get(used).filter(|_| joined(used)).and_then(|token| year_of(token.text));
    used += usize::from(year.is_some());
    let span = tokens[0].span.start..tokens[used - 1].span.end;
    Some((Day { raw: line[span.clone()].to_owned(), year, month, day, span }, used))
}

fn month_of(word: &str) -> Option<u32> {
    let word = word.to_lowercase();
    let at = MONTHS.iter().position(|month| *month == word || (word.len() >= 3 && word.len() <= 4 && month.starts_with(&word)))?;
    u32::try_from(at + 1).ok()
}

fn day_of(word: &str) -> Option<u32> {
    let digits = ["st", "nd", "rd", "th"].iter().find_map(|ending| word.strip_suffix(ending)).unwrap_or(word);
    digits.parse().ok().filter(|day| digits.len() <= 2 && (1..=31).contains(day))
}

pub fn year_of(word: &str) -> Option<i32> {
    word.parse().ok().filter(|year| word.len() == 4 && (1900..=2100).contains(year))
}

/// Times of day as (hour, minute, as written): `14:30`, `9:05am`, `9 pm`.
pub fn times(line: &str) -> Vec<(u32, u32, String)> {
    let tokens = tokens(line);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let lower = token.text.to_lowercase();
        let lower = lower.split(['-', '–']).next().unwrap_or_default();
        let glued = ["am", "pm"].into_iter().find(|half| lower.ends_with(half));
        let next = tokens.get(at + 1).map(|next| next.text.to_lowercase());
        let half = glued.or_else(|| ["am", "pm"].into_iter().find(|half| next.as_deref() == Some(half)));
        let clock = lower.trim_end_matches(glued.unwrap_or("-")).trim();
        let (hour, minute) = match clock.split_once(':') {
            Some((hour, minute)) if minute.len() == 2 => (hour.parse().ok(), minute.parse().ok()),
            None if half.is_some() => (clock.parse().ok(), Some(0)),
            _ => continue,
        };
        if let (Some(hour @ 0..=23), Some(minute @ 0..=59)) = (hour, minute) {
            let hour = match half {
                Some("pm") if hour < 12 => hour + 12,
                Some("am") if hour == 12 => 0,
                _ => hour,
            };
            found.push((hour, minute, token.text.to_owned()));
        }
    }
    found
}

pub fn emails(line: &str) -> Vec<String> {
    let looks_right = |text: &&str| {
        let Some((local, domain)) = text.split_once('@') else { return false };
        let name = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "._%+-".contains(c));
        name(local) && name(domain) && domain.contains('.') && !domain.starts_with('.') && !domain.contains("..")
    };
    let bare = |token: Token<'_>| token.text.strip_prefix("mailto:").map_or(token.text.to_owned(), str::to_owned);
    tokens(line).into_iter().map(bare).filter(|text| looks_right(&text.as_str())).collect()
}

/// Links with their scheme; `www.` gets `https://`.
pub fn urls(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for token in tokens(line) {
        let start = ["https://", "http://", "www."].into_iter().filter_map(|scheme| token.text.find(scheme)).min();
        let Some(start) = start else { continue };
        let link = token.text[start..].split([')', '>', '"', '|']).next().unwrap_or_default().trim_end_matches(['.', ',', ';']);
        let link = if link.starts_with("www.") { format!("https://{link}") } else { link.to_owned() };
        found.extend(url::Url::parse(&link).is_ok_and(|url| url.host().is_some()).then_some(link));
    }
    found
}

/// Seven to fifteen digits with the usual separators, beginning with `+`, `(` or a digit.
pub fn phones(line: &str) -> Vec<String> {
    let dates: Vec<_> = days(line).into_iter().map(|day| day.span).collect();
    let mut found = Vec::new();
    let mut start = None;
    for (at, c) in line.char_indices().chain([(line.len(), '\n')]) {
        match (start, c.is_ascii_digit() || "+-() ./".contains(c)) {
            (None, true) if c.is_ascii_digit() || c == '+' || c == '(' => start = Some(at),
            (Some(from), false) => {
                let text = line[from..at].trim_matches(|c: char| " -./".contains(c)).trim_end_matches('(').trim();
                let digits = text.chars().filter(char::is_ascii_digit).count();
                let is_date = dates.iter().any(|span| span.start < at && from < span.end);
                let grouped = text.starts_with('+') || text.matches([' ', '-', '.', '(']).count() >= 2;
                found.extend(((7..=15).contains(&digits) && grouped && !is_date).then(|| text.to_owned()));
                start = None;
            }
            _ => {}
        }
    }
    found
}

/// A number where it stands.
#[derive(Clone, Debug)]
pub struct Quantity {
    pub value: f64,
    pub span: Range<usize>,
    /// The stem of what it counts: `%`, `$`, `eur`, `hour`, `week` (as in `3 weeks`); the next word, if nothing better.
    pub unit: String,
    /// The stem before it, as `week` in `Week 3`.
    pub before: String,
    pub in_date: bool,
}

const NUMBER_WORDS: [&str; 13] =
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
const CURRENCIES: [(&str, &str); 8] =
    [("$", "usd"), ("€", "eur"), ("£", "gbp"), ("¥", "jpy"), ("usd", "usd"), ("eur", "eur"), ("gbp", "gbp"), ("chf", "chf")];

pub fn quantities(line: &str) -> Vec<Quantity> {
    let dates: Vec<_> = days(line).into_iter().map(|day| day.span).collect();
    let tokens = tokens(line);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Some((value, glued)) = number(token.text) else { continue };
        let word = |index: Option<usize>| index.and_then(|i| tokens.get(i)).and_then(|t| stems(t.text).into_iter().next());
        let before = word(at.checked_sub(1)).unwrap_or_default();
        let after = word(Some(at + 1)).unwrap_or_default();
        let spelled_currency = [&after, &before].into_iter().find_map(|near| currency(near));
        let next_sign = tokens.get(at + 1).filter(|next| next.text == "%" || next.text == "€").map(|next| next.text.to_owned());
        let unit = if glued.is_empty() {
            next_sign.map(|sign| currency(&sign).map_or(sign, str::to_owned)).or(spelled_currency.map(str::to_owned)).unwrap_or(after)
        } else {
            glued
        };
        let unit = if unit == "percent" { "%".to_owned() } else { unit };
        let in_date = dates.iter().any(|span| span.start < token.span.end && token.span.start < span.end);
        found.push(Quantity { value, span: token.span.clone(), unit, before, in_date });
    }
    found
}

pub fn currency(word: &str) -> Option<&'static str> {
    CURRENCIES.iter().find(|(sign, _)| *sign == word).map(|(_, code)| *code)
}

/// The value of a token and the unit that is glued to it: `$1,200.50`, `30%`, `45min`, `-3`, `three`.
fn number(token: &str) -> Option<(f64, String)> {
    let lower = token.to_lowercase();
    if let Some(at) = NUMBER_WORDS.iter().position(|word| *word == lower) {
        return Some((f64::from(u32::try_from(at).ok()?), String::new()));
    }
    let sign_before = CURRENCIES.iter().find_map(|(sign, code)| lower.strip_prefix(sign).map(|rest| (rest, *code)));
    let (digits, mut unit) = sign_before.map_or((lower.as_str(), String::new()), |(rest, code)| (rest, code.to_owned()));
    let end = digits.find(|c: char| !(c.is_ascii_digit() || ".,-+".contains(c))).unwrap_or(digits.len());
    let (digits, tail) = digits.split_at(end);
    let plain_range = digits.trim_start_matches(['-', '+']).split(['-', '+']).next().unwrap_or_default();
    let negative = digits.starts_with('-');
    let value = western(plain_range)?;
    match tail {
        "" => {}
        "k" => return Some((value * 1000.0, unit)),
        _ if tail.chars().all(char::is_alphabetic) && tail.chars().count() <= 8 => unit = super::words::stem(tail),
        "%" => "%".clone_into(&mut unit),
        _ => currency(tail)?.clone_into(&mut unit),
    }
    Some((if negative { -value } else { value }, currency(&unit).map_or(unit.clone(), str::to_owned)))
}

/// `1,200.50`, `1.200,50`, `1200`, `0,5`.
fn western(digits: &str) -> Option<f64> {
    let digits = digits.trim_end_matches(['.', ',']);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let decimal = match (digits.rfind('.'), digits.rfind(',')) {
        (Some(point), Some(comma)) => Some(point.max(comma)),
        (Some(point), None) if digits.matches('.').count() == 1 => Some(point),
        (None, Some(comma)) if digits.len() - comma - 1 != 3 && digits.matches(',').count() == 1 => Some(comma),
        _ => None,
    };
    let plain = |part: &str| part.replace([',', '.'], "");
    let text = decimal.map_or_else(|| plain(digits), |at| format!("{}.{}", plain(&digits[..at]), plain(&digits[at + 1..])));
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_in_the_forms_people_write() {
        let line = "Due 2026-03-04, then 4th of March 2026 or Mar 5 (not 99/99/2026), and 24.12.2025; US: 12/31/2025.";
        let read: Vec<_> = days(line).iter().map(|d| (d.year, d.month, d.day)).collect();
        let wanted = [(Some(2026), 3, 4), (Some(2026), 3, 4), (None, 3, 5), (Some(2025), 12, 24), (Some(2025), 12, 31)];
        assert_eq!(read, wanted);
    }

    #[test]
    fn numbers_keep_their_unit() {
        let read = |line| quantities(line).into_iter().map(|q| (q.value, q.unit)).collect::<Vec<_>>();
        assert_eq!(read("costs $1,200.50 in all"), [(1200.5, "usd".to_owned())]);
        assert_eq!(read("worth 30 %, 45min and 3 weeks"), [(30.0, "%".into()), (45.0, "min".into()), (3.0, "week".into())]);
        assert_eq!(read("EUR 1.200,50 oder zwei"), [(1200.5, "eur".to_owned())]);
        assert!(quantities("on March 4, 2026").iter().all(|q| q.in_date));
    }

    #[test]
    fn addresses_links_telephones_and_times_are_found() {
        assert_eq!(emails("write to <ana.b+c@uni.example.org>, or nobody@"), ["ana.b+c@uni.example.org"]);
        assert_eq!(
            urls("see [site](https://example.org/a?b=1). And www.example.com,"),
            ["https://example.org/a?b=1", "https://www.example.com"]
        );
        assert_eq!(phones("Tel. +49 30 123456-7, room 12, 2026-03-04"), ["+49 30 123456-7"]);
        let clock: Vec<_> = times("9:05am to 2 pm, 14:30").into_iter().map(|(h, m, _)| (h, m)).collect();
        assert_eq!(clock, [(9, 5), (14, 0), (14, 30)]);
    }

    #[test]
    fn any_text_is_read_without_a_panic() {
        for line in ["", "é–—…“", "1.1.1.1.1", "+++(((", "@@ a@b", "://", "T--T", "Week\u{2003}3: Ünïcödé 12€", "99999999999999999999999"]
        {
            let _ = (days(line), times(line), emails(line), urls(line), phones(line), quantities(line));
        }
    }
}
