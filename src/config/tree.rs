//! The configuration before it means anything: a tree of values, each of which remembers where it was written. What the
//! values mean is `read.rs`' affair; which of them are secret is `secrets.rs`'.

use std::{collections::BTreeMap, fmt, sync::Arc};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

pub type Table = BTreeMap<String, Node>;

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub value: Value,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Array(Vec<Node>),
    /// A `[section]`: the keys of a higher layer are laid over those of a lower one.
    Section(Table),
    /// `{ … }`: one value, replaced as a whole, so that a retry curve never mixes the members of two curves.
    Inline(Table),
    /// From the environment or a flag: TOML if it reads as TOML and TOML is wanted, else the text as it is.
    Given {
        text: String,
        parsed: Box<Value>,
    },
}

/// Where a value was written, in the words an error uses.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    Default,
    File {
        path: Arc<str>,
        line: usize,
    },
    Environment(String),
    Flag(&'static str),
    /// A file in systemd's `$CREDENTIALS_DIRECTORY`.
    Credential(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("config/default.toml"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag(flag) => f.write_str(flag),
            Self::Credential(path) => write!(f, "credential {path}"),
        }
    }
}

/// One thing that is wrong with the configuration: where, and a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub place: String,
    pub message: String,
}

impl Problem {
    pub fn new(place: impl fmt::Display, message: impl Into<String>) -> Self {
        Self { place: place.to_string(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl Value {
    #[must_use]
    pub fn table(&self) -> Option<&Table> {
        match self {
            Self::Section(table) | Self::Inline(table) => Some(table),
            Self::Given { parsed, .. } => parsed.table(),
            _ => None,
        }
    }

    /// The text of a string, or of whatever the environment gave.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Given { text, .. } => Some(text),
            _ => None,
        }
    }

    /// A value from outside a file: a flag's or a variable's.
    #[must_use]
    pub fn given(text: &str, origin: &Origin) -> Self {
        let document = format!("value = {text}");
        let parsed = DeTable::parse(&document)
            .ok()
            .filter(|table| table.get_ref().len() == 1)
            .and_then(|table| table.into_inner().into_iter().next())
            .and_then(|(_, value)| convert(&document, value, &|_| origin.clone()).ok());
        match parsed {
            Some(node) => Self::Given { text: text.to_owned(), parsed: Box::new(node.value) },
            None => Self::Text(text.to_owned()),
        }
    }
}

/// Reads a TOML document; every syntax error is reported, each with its line.
///
/// # Errors
/// The problems, in the order of the file.
pub fn parse(text: &str, path: &str) -> Result<Table, Vec<Problem>> {
    let path: Arc<str> = path.into();
    let at = |offset: usize| Origin::File { path: Arc::clone(&path), line: line_of(text, offset) };
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let mut found: Vec<_> = errors.iter().map(|error| (error.span().map_or(0, |span| span.start), syntax_sentence(error))).collect();
        found.sort();
        return Err(found.into_iter().map(|(offset, sentence)| Problem::new(at(offset), sentence)).collect());
    }
    table(text, document.into_inner(), &at).map_err(|problem| vec![problem])
}

/// The compiled-in manual. Every value of it originates in the defaults.
#[must_use]
pub fn parse_defaults(text: &str) -> Table {
    let document = DeTable::parse(text).expect("config/default.toml is valid TOML, which a test shows");
    table(text, document.into_inner(), &|_| Origin::Default).expect("config/default.toml holds plain values, which a test shows")
}

fn syntax_sentence(error: &toml::de::Error) -> String {
    format!("not valid TOML: {}", error.message().replace('\n', ", "))
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

fn table(text: &str, document: DeTable<'_>, at: &dyn Fn(usize) -> Origin) -> Result<Table, Problem> {
    document
        .into_iter()
        .map(|(key, value)| {
            // A key's line is the one a person looks for; a value may begin lines below its `[section]`.
            let origin = at(key.span().start);
            let node = convert(text, value, at)?;
            Ok((key.into_inner().into_owned(), Node { origin, ..node }))
        })
        .collect()
}

fn convert(text: &str, value: Spanned<DeValue<'_>>, at: &dyn Fn(usize) -> Origin) -> Result<Node, Problem> {
    let start = value.span().start;
    let origin = at(start);
    let bad = |message: String| Problem::new(&origin, message);
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map(Value::Integer)
            .map_err(|_| bad(format!("{integer} is larger than any whole number can be")))?,
        DeValue::Float(float) => {
            Value::Float(float.as_str().parse().map_err(|_| bad(format!("{float} is no number that can be calculated with")))?)
        }
        DeValue::Boolean(truth) => Value::Boolean(truth),
        DeValue::Datetime(instant) => Value::Text(instant.to_string()),
        DeValue::Array(items) => Value::Array(items.into_iter().map(|item| convert(text, item, at)).collect::<Result<_, _>>()?),
        DeValue::Table(members) if text[start..].starts_with('{') => Value::Inline(table(text, members, at)?),
        DeValue::Table(members) => Value::Section(table(text, members, at)?),
    };
    Ok(Node { value, origin })
}

/// Lays `over` on `base`: sections key by key, everything else as a whole.
pub fn lay_over(base: &mut Table, over: Table) {
    for (key, node) in over {
        match (base.get_mut(&key), node) {
            (Some(Node { value: Value::Section(below), origin }), Node { value: Value::Section(above), origin: newer }) => {
                lay_over(below, above);
                *origin = newer;
            }
            (_, node) => {
                base.insert(key, node);
            }
        }
    }
}

/// Puts one value at `path`, making the sections on the way.
pub fn put(table: &mut Table, path: &[String], node: Node) {
    match path {
        [] => {}
        [key] => {
            table.insert(key.clone(), node);
        }
        [key, rest @ ..] => {
            let section =
                table.entry(key.clone()).or_insert_with(|| Node { value: Value::Section(Table::new()), origin: node.origin.clone() });
            if let Value::Section(below) = &mut section.value {
                put(below, rest, node);
            } else {
                // Something that is no section stands in the way; the reader says what was expected there.
                let mut below = Table::new();
                put(&mut below, rest, node);
                section.value = Value::Section(below);
            }
        }
    }
}

/// Takes out what stands at `path`.
pub fn remove(table: &mut Table, path: &[String]) -> Option<Node> {
    match path {
        [] => None,
        [key] => table.remove(key),
        [key, rest @ ..] => match &mut table.get_mut(key)?.value {
            Value::Section(below) | Value::Inline(below) => remove(below, rest),
            Value::Given { parsed, .. } => match parsed.as_mut() {
                Value::Section(below) | Value::Inline(below) => remove(below, rest),
                _ => None,
            },
            _ => None,
        },
    }
}

#[must_use]
pub fn get<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Node> {
    match path {
        [] => None,
        [key] => table.get(*key),
        [key, rest @ ..] => get(table.get(*key)?.value.table()?, rest),
    }
}

/// Every value that is no section, with its path.
pub fn leaves<'a>(table: &'a Table, path: &mut Vec<String>, visit: &mut dyn FnMut(&[String], &'a Node)) {
    for (key, node) in table {
        path.push(key.clone());
        match &node.value {
            Value::Section(below) if !below.is_empty() => leaves(below, path, visit),
            _ => visit(path, node),
        }
        path.pop();
    }
}

/// The value as serde_json knows it, for the parts whose reader is a JSON reader (a schedule's job is an envelope).
#[must_use]
pub fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Text(text) => text.as_str().into(),
        Value::Integer(integer) => (*integer).into(),
        Value::Float(float) => (*float).into(),
        Value::Boolean(truth) => (*truth).into(),
        Value::Array(items) => items.iter().map(|item| to_json(&item.value)).collect(),
        Value::Section(members) | Value::Inline(members) => {
            members.iter().map(|(key, node)| (key.clone(), to_json(&node.value))).collect::<serde_json::Map<_, _>>().into()
        }
        Value::Given { parsed, .. } => to_json(parsed),
    }
}
