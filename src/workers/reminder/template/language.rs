//! Which templates are taken at all. The engine parses, compiles and drops by recursion, its fuel counts steps whatever they
//! cost, and its values may double with every step; so what it is given is judged first, token by token with its own
//! tokeniser, and whatever could nest deep or grow is refused with a sentence.
//!
//! Taken: `{{ … }}`, `{# … #}`, `raw`, `if`/`elif`/`else`, and `for` (not `recursive`); names, `a.b`, `a[b]`, filters and
//! tests with arguments, `range`, comparisons, `and or not in is`, `x if y else z`, `- / // %`, and `+` beside a number that
//! is written out. A list is written out of plain values: `["a", "b", 3]`. Not taken: `set`, `with`, `macro`, `call`,
//! `filter`, `include` and their kin, `~ * **`, slices, tuples and mappings.

use minijinja::{
    Error,
    machinery::{Span, Token, tokenize},
};

/// As long as a long mail; what stands in `vars` comes on top.
const MOST_BYTES: usize = 64 << 10;
/// One `{{ … }}` or `{% … %}`. A line of text is 80.
const TAG_BYTES: usize = 2 << 10;
/// Names, values and signs within one tag, and so the depth to which it can nest.
const TAG_WORDS: usize = 200;
const NESTED_BLOCKS: usize = 16;
/// `elif` within one `if`: the engine nests them.
const BRANCHES: usize = 32;

const BLOCKS: [&str; 6] = ["if", "elif", "else", "endif", "for", "endfor"];
/// Words after which `[` and `(` begin a value instead of going on with one.
const JOINTS: [&str; 9] = ["in", "if", "elif", "else", "not", "and", "or", "is", "for"];
const PLAIN_WORDS: [&str; 6] = ["true", "false", "none", "True", "False", "None"];

/// # Errors
/// What about the template is refused, as the rest of a sentence that begins with the template's name.
pub(super) fn check(source: &str) -> Result<(), String> {
    if source.len() > MOST_BYTES {
        return Err(format!("is {} bytes long, and {MOST_BYTES} are allowed; put long texts into `vars`", source.len()));
    }
    let mut scan = Scan::default();
    tokenize(source, false, Default::default()).try_for_each(|token| {
        let (token, span) = token.map_err(unreadable)?;
        scan.take(token, span)
    })
}

pub(super) fn unreadable(error: Error) -> String {
    format!("cannot be read: {error}")
}

#[derive(Default)]
struct Scan<'s> {
    /// The `elif`s so far of every block that is open.
    blocks: Vec<usize>,
    tag: Option<Tag<'s>>,
}

impl<'s> Scan<'s> {
    fn take(&mut self, token: Token<'s>, span: Span) -> Result<(), String> {
        match token {
            Token::TemplateData(_) => return Ok(()),
            Token::VariableStart | Token::BlockStart => {
                self.tag = Some(Tag::begin(matches!(token, Token::BlockStart), span));
                return Ok(());
            }
            _ => {}
        }
        let Some(tag) = &mut self.tag else { return Ok(()) };
        tag.measure(span)?;
        if matches!(token, Token::VariableEnd | Token::BlockEnd) {
            tag.end()?;
            self.tag = None;
            return Ok(());
        }
        if let Some(keyword) = tag.keyword(&token)? {
            self.block(keyword)?;
        }
        self.tag.as_mut().map_or(Ok(()), |tag| tag.word(token))
    }

    fn block(&mut self, keyword: &str) -> Result<(), String> {
        match keyword {
            "if" | "for" => self.blocks.push(0),
            "endif" | "endfor" => drop(self.blocks.pop()),
            "elif" => {
                if let Some(branches) = self.blocks.last_mut() {
                    *branches += 1;
                }
            }
            _ => {}
        }
        if self.blocks.len() > NESTED_BLOCKS {
            return Err(format!("nests more than {NESTED_BLOCKS} blocks; nest fewer"));
        }
        if self.blocks.last().is_some_and(|branches| *branches > BRANCHES) {
            return Err(format!("has an `if` with more than {BRANCHES} `elif`; decide before the job is enqueued"));
        }
        Ok(())
    }
}

/// What an open bracket is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bracket {
    /// `f(…)`, also of a filter or a test.
    Call,
    /// `(…)` around a part.
    Group,
    /// `a[…]`.
    Index,
    /// `[…]`.
    List,
}

/// What stood last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last<'s> {
    Name(&'s str),
    /// A string or a closed bracket: something that can be indexed.
    Value,
    Number,
    /// A `+` whose left side is no number: its right side must be one.
    Plus,
    Sign,
}

/// The tag that is being read.
struct Tag<'s> {
    is_block: bool,
    is_for: bool,
    /// Before the `in` of a `for`, where names are separated by commas.
    names: bool,
    from: u32,
    words: usize,
    brackets: Vec<Bracket>,
    last: Last<'s>,
    /// What stood before that.
    before: Last<'s>,
}

impl<'s> Tag<'s> {
    fn begin(is_block: bool, span: Span) -> Self {
        let (last, before) = (Last::Sign, Last::Sign);
        Self { is_block, is_for: false, names: false, from: span.start_offset, words: 0, brackets: Vec::new(), last, before }
    }

    fn measure(&mut self, span: Span) -> Result<(), String> {
        self.words += 1;
        if span.end_offset.saturating_sub(self.from) as usize > TAG_BYTES {
            return Err(format!("has a tag of more than {TAG_BYTES} bytes; make several of it, or put long texts into `vars`"));
        }
        if self.words > TAG_WORDS {
            return Err(format!("has a tag of more than {TAG_WORDS} names, values and signs; make several of it"));
        }
        Ok(())
    }

    /// The word that says which block this is, if `token` is that word.
    fn keyword(&mut self, token: &Token<'s>) -> Result<Option<&'s str>, String> {
        let (true, 1, Token::Ident(name)) = (self.is_block, self.words, token) else { return Ok(None) };
        if !BLOCKS.contains(name) {
            return Err(format!("uses `{}`, which reminders do not have; there are if, elif, else, for and raw", short(name)));
        }
        (self.is_for, self.names) = (*name == "for", *name == "for");
        Ok(Some(name))
    }

    fn word(&mut self, token: Token<'s>) -> Result<(), String> {
        if self.brackets.last() == Some(&Bracket::List) {
            self.listed(&token)?;
        }
        let is_number = matches!(token, Token::Int(_) | Token::Int128(_) | Token::Float(_));
        if self.last == Last::Plus && !is_number {
            return Err("adds with `+` what is no written-out number; texts join by standing side by side, sums belong into `vars`".into());
        }
        let next = match token {
            Token::Ident(name) => {
                self.names &= name != "in";
                Last::Name(name)
            }
            Token::Int(_) | Token::Int128(_) | Token::Float(_) => Last::Number,
            Token::Str(_) | Token::String(_) => Last::Value,
            Token::Plus if self.last == Last::Number => Last::Sign,
            Token::Plus => Last::Plus,
            Token::Tilde | Token::Mul | Token::Pow => return Err(refused(&token, "can make a text grow without end")),
            Token::Colon | Token::BraceOpen | Token::BraceClose => return Err(refused(&token, "belongs to slices and mappings")),
            Token::BracketOpen => self.open(if self.follows_a_value() { Bracket::Index } else { Bracket::List }),
            Token::ParenOpen => self.open(if self.follows_a_name() { Bracket::Call } else { Bracket::Group }),
            Token::BracketClose | Token::ParenClose => {
                self.brackets.pop();
                Last::Value
            }
            Token::Comma => self.comma()?,
            _ => Last::Sign,
        };
        (self.before, self.last) = (self.last, next);
        Ok(())
    }

    fn open(&mut self, bracket: Bracket) -> Last<'s> {
        self.brackets.push(bracket);
        Last::Sign
    }

    fn follows_a_name(&self) -> bool {
        matches!(self.last, Last::Name(name) if !JOINTS.contains(&name))
    }

    fn follows_a_value(&self) -> bool {
        self.follows_a_name() || self.last == Last::Value
    }

    fn comma(&self) -> Result<Last<'s>, String> {
        match self.brackets.last() {
            Some(Bracket::Call | Bracket::List) => Ok(Last::Sign),
            None if self.names => Ok(Last::Sign),
            _ => Err(refused(&Token::Comma, "makes a tuple here")),
        }
    }

    /// Lists of lists of lists double just as texts do, so a list is made of what is written out.
    fn listed(&self, token: &Token<'s>) -> Result<(), String> {
        match token {
            Token::Str(_) | Token::String(_) | Token::Int(_) | Token::Int128(_) | Token::Float(_) => Ok(()),
            Token::Minus | Token::Comma | Token::BracketClose => Ok(()),
            Token::Ident(name) if PLAIN_WORDS.contains(name) => Ok(()),
            _ => Err("has a list of more than plain texts and numbers; put lists into `vars`".into()),
        }
    }

    fn end(&self) -> Result<(), String> {
        let after_a_value = matches!(self.before, Last::Name(name) if name != "in") || matches!(self.before, Last::Value | Last::Number);
        if self.is_for && after_a_value && self.last == Last::Name("recursive") {
            return Err("has a loop that is `recursive`; put what it should list into `vars` as one list".into());
        }
        if self.last == Last::Plus { Err("ends a tag with `+`".into()) } else { Ok(()) }
    }
}

fn refused(token: &Token<'_>, why: &str) -> String {
    format!("uses {token}, which {why}; compute the value before the job is enqueued and put it into `vars`")
}

fn short(name: &str) -> String {
    name.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_a_mail_needs_is_taken() {
        for good in [
            "Hello {{ name }}, {{ a.b[0]['c'] | default('x', true) | upper }}",
            "{%- for k, v in vars | items if v is not none and k != 'x' -%}{{ loop.index0 + 1 }}{% else %}none{% endfor %}",
            "{% if (n - 1) // 2 >= 3 or name in ['a', \"b\", -1, none] %}{{ 1 + n }}{% elif not x %}{{ a if b else c }}{% endif %}",
            "{% for i in range(1, 4) %}{{ loop.cycle('odd', 'even') }}{{ rows | map(attribute='n') | join(', ') }}{% endfor %}",
            "{# a note #}{% raw %}{{ not * read }}{% endraw %}{{ '%.2f' | format(price) }}",
            "{% for recursive in recursive %}{{ recursive }}{% endfor %}{% for x in a.recursive %}{% endfor %}",
            "{{ name ",
        ] {
            let said = check(good);
            assert!(said.is_ok() || said.as_ref().is_err_and(|said| said.contains("cannot be read")), "{good}: {said:?}");
        }
    }

    #[test]
    fn what_can_grow_or_nest_without_end_is_refused_with_a_sentence() {
        for (bad, said) in [
            ("{% set a = 1 %}", "uses `set`"),
            ("{% with a = 1 %}{% endwith %}", "uses `with`"),
            ("{% macro a() %}{% endmacro %}", "uses `macro`"),
            ("{% filter upper %}{% endfilter %}", "uses `filter`"),
            ("{% include 'x' %}", "uses `include`"),
            ("{{ a ~ a }}", "uses `~`"),
            ("{{ 'x' * 9 }}", "uses `*`"),
            ("{{ 2 ** 9 }}", "uses `**`"),
            ("{{ a + a }}", "adds with `+`"),
            ("{{ 1 + a + a }}", "adds with `+`"),
            ("{{ a + }}", "ends a tag"),
            ("{{ a[1:] }}", "uses `:`"),
            ("{{ {'a': 1} }}", "uses `{`"),
            ("{{ a, a }}", "makes a tuple"),
            ("{{ (a, a) }}", "makes a tuple"),
            ("{{ x[a, a] }}", "makes a tuple"),
            ("{{ [a, a] }}", "has a list"),
            ("{{ x in [[1]] }}", "has a list"),
            ("{% for x in tree recursive %}{{ loop(x) }}{% endfor %}", "`recursive`"),
            ("{% for x in f() recursive %}{% endfor %}", "`recursive`"),
        ] {
            let told = check(bad).expect_err(bad);
            assert!(told.contains(said), "{bad}: {told}");
        }
    }

    #[test]
    fn every_limit_is_named_when_it_is_passed() {
        let nested = |depth: usize| format!("{}{}", "{% if 1 %}".repeat(depth), "{% endif %}".repeat(depth));
        let branches = |count: usize| format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(count));
        for (good, bad, said) in [
            ("x".repeat(65_536), "x".repeat(65_537), "65536 are allowed"),
            ("\n".repeat(65_536), "\n".repeat(65_537), "65536 are allowed"),
            (format!("{{{{'{}'}}}}", "x".repeat(2042)), format!("{{{{'{}'}}}}", "x".repeat(2050)), "2048 bytes"),
            (format!("{{{{{}1}}}}", "-".repeat(198)), format!("{{{{{}1}}}}", "-".repeat(200)), "200 names"),
            (nested(16), nested(17), "more than 16 blocks"),
            (branches(32), branches(33), "more than 32 `elif`"),
        ] {
            assert_eq!(check(&good), Ok(()));
            let told = check(&bad).expect_err("too much");
            assert!(told.contains(said), "{told}");
        }
    }
}
