//! Makes a string that a regular expression matches: literals, classes, groups, alternatives, counted repeats. What
//! looks around or back is not made here; the caller checks the string against the schema in any case.

/// A repeat without an upper bound is made at most this much longer than it must be.
const LOOSE_REPEATS: u64 = 3;
/// No honest pattern asks for more; stops `(a{999}){999}`.
const LONGEST: usize = 4096;

/// A string that `pattern` most likely matches, chosen by `seed`. Nothing when the pattern is beyond the rules here.
pub(super) fn matching(pattern: &str, seed: u64) -> Option<String> {
    let mut maker = Maker { rest: pattern.chars().peekable(), seed, depth: 0 };
    let made = maker.alternatives()?;
    (maker.rest.peek().is_none() && made.len() <= LONGEST).then_some(made)
}

struct Maker<'p> {
    rest: std::iter::Peekable<std::str::Chars<'p>>,
    seed: u64,
    depth: u32,
}

/// One thing that a repeat can be applied to, kept as what it may be so that each repetition is chosen anew.
enum Piece {
    Class(Vec<char>),
    Text(String),
}

impl Maker<'_> {
    /// `a|b|c`: one of them.
    fn alternatives(&mut self) -> Option<String> {
        self.depth += 1;
        let mut all = vec![self.sequence()?];
        while self.rest.next_if_eq(&'|').is_some() {
            all.push(self.sequence()?);
        }
        self.depth -= 1;
        let pick = usize::try_from(self.next(all.len() as u64)).ok()?;
        Some(all.swap_remove(pick))
    }

    fn sequence(&mut self) -> Option<String> {
        let mut made = String::new();
        while let Some(&c) = self.rest.peek() {
            if c == '|' || c == ')' {
                break;
            }
            let Some(piece) = self.piece()? else { continue };
            let times = self.repeats()?;
            for _ in 0..times {
                match &piece {
                    Piece::Text(text) => made.push_str(text),
                    Piece::Class(chars) => made.push(chars[usize::try_from(self.next(chars.len() as u64)).ok()?]),
                }
                if made.len() > LONGEST {
                    return None;
                }
            }
        }
        Some(made)
    }

    /// The next piece; `Some(None)` for what has no width.
    fn piece(&mut self) -> Option<Option<Piece>> {
        let piece = match self.rest.next()? {
            '^' | '$' => return Some(None),
            '.' => Piece::Class(('a'..='z').collect()),
            '[' => Piece::Class(self.class()?),
            '(' => Piece::Text(self.group()?),
            '\\' => match self.rest.next()? {
                'b' | 'B' | 'A' | 'z' | 'Z' => return Some(None),
                escaped => Piece::Class(escape(escaped)?),
            },
            '*' | '+' | '?' => return None,
            plain => Piece::Text(plain.to_string()),
        };
        Some(Some(piece))
    }

    fn group(&mut self) -> Option<String> {
        if self.depth > 16 {
            return None;
        }
        if self.rest.next_if_eq(&'?').is_some() {
            match self.rest.next()? {
                ':' => {}
                'P' | '<' => {
                    let name: String = self.rest.by_ref().take_while(|&c| c != '>').collect();
                    if name.starts_with(['=', '!']) {
                        return None;
                    }
                }
                _ => return None,
            }
        }
        let made = self.alternatives()?;
        self.rest.next_if_eq(&')')?;
        Some(made)
    }

    /// The members of `[a-z0-9_]`; of a negated class, printable characters outside it.
    fn class(&mut self) -> Option<Vec<char>> {
        let negated = self.rest.next_if_eq(&'^').is_some();
        let mut members: Vec<char> = Vec::new();
        loop {
            let from = match self.rest.next()? {
                ']' if !members.is_empty() => break,
                '\\' => {
                    let mut escaped = escape(self.rest.next()?)?;
                    if escaped.len() > 1 {
                        members.append(&mut escaped);
                        continue;
                    }
                    escaped[0]
                }
                plain => plain,
            };
            let mut ahead = self.rest.clone();
            if ahead.next() == Some('-') && ahead.peek().is_some_and(|&c| c != ']') {
                self.rest.next();
                let to = match self.rest.next()? {
                    '\\' => *escape(self.rest.next()?)?.first()?,
                    plain => plain,
                };
                members.extend((from..=to).take(512));
            } else {
                members.push(from);
            }
        }
        if negated {
            members = (' '..='~').filter(|c| !members.contains(c)).collect();
        }
        (!members.is_empty()).then_some(members)
    }

    /// How often the last piece is to stand: once, or as `*`, `+`, `?`, `{m,n}` allow.
    fn repeats(&mut self) -> Option<u64> {
        let (least, most) = match self.rest.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => {
                self.rest.next();
                let inner: String = self.rest.by_ref().take_while(|&c| c != '}').collect();
                let (least, most) =
                    inner.split_once(',').map_or((inner.as_str(), Some(inner.as_str())), |(a, b)| (a, Some(b).filter(|b| !b.is_empty())));
                let bounds = (least.trim().parse().ok()?, most.map(|most| most.trim().parse::<u64>()).transpose().ok()?);
                self.rest.next_if_eq(&'?');
                return Some(self.between(bounds.0, bounds.1));
            }
            _ => return Some(1),
        };
        self.rest.next();
        self.rest.next_if(|c| matches!(c, '?' | '+'));
        Some(self.between(least, most))
    }

    fn between(&mut self, least: u64, most: Option<u64>) -> u64 {
        let most = most.unwrap_or(least + LOOSE_REPEATS).clamp(least, least + LOOSE_REPEATS);
        least + self.next(most - least + 1)
    }

    /// A number below `below`, and another seed for the next.
    fn next(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below.max(1)
    }
}

fn escape(c: char) -> Option<Vec<char>> {
    Some(match c {
        'd' => ('0'..='9').collect(),
        'w' => ('a'..='z').chain('0'..='9').collect(),
        's' => vec![' '],
        'D' | 'S' | 'W' => {
            if c == 'W' {
                vec!['-', ' ']
            } else {
                ('a'..='z').collect()
            }
        }
        't' => vec!['\t'],
        'n' => vec!['\n'],
        'p' | 'P' | 'u' | 'x' | 'k' | '1'..='9' => return None,
        other => vec![other],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_strings_match_their_pattern() {
        let patterns = [
            r"^[A-Z]{2,4}-\d{3}$",
            r"^(foo|ba[rz])+$",
            r"^\+?[0-9]{7,15}$",
            r"^#(?:[0-9a-f]{3}){1,2}$",
            r"^[^a-z\s]{2}\.[\w-]*$",
            r"^(?<year>\d{4})-(0[1-9]|1[0-2])$",
            "",
        ];
        for pattern in patterns {
            for seed in 0..50 {
                let made = matching(pattern, seed).expect(pattern);
                let schema = serde_json::json!({ "pattern": pattern });
                assert!(jsonschema::is_valid(&schema, &made.clone().into()), "{made:?} does not match {pattern}");
            }
        }
    }

    #[test]
    fn patterns_beyond_the_rules_are_given_up() {
        for pattern in ["(?=a)b", "(a", "*", r"(a)\1", "[a", "(a{9999}){9999}", "a{x}"] {
            assert_eq!(matching(pattern, 1), None, "{pattern}");
        }
    }
}
