//! Reads a tree into the rooms' own `Config` structs with serde, and keeps with every error the place where the value was
//! written. A struct refuses keys it does not know whether or not it says `deny_unknown_fields`.

use super::{
    secrets,
    tree::{self, Node, Origin, Problem, Table, Value},
};
use serde::{
    Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer,
    },
    forward_to_deserialize_any,
};
use std::fmt;

/// Reads `table`; when something is wrong, takes it out and reads on, so that one run reports everything.
///
/// # Errors
/// All problems, in the order they were met.
pub fn read<T: DeserializeOwned>(table: &Table) -> Result<T, Vec<Problem>> {
    let mut table = table.clone();
    let mut problems = Vec::new();
    let mut incomplete: Vec<Vec<String>> = Vec::new();
    loop {
        let fault = match T::deserialize(Reader(&Value::Section(table.clone()))) {
            Ok(value) if problems.is_empty() => return Ok(value),
            Ok(_) => return Err(problems),
            Err(fault) => fault,
        };
        let path: Vec<String> = fault.path.iter().rev().cloned().collect();
        // A table that had something taken out may now lack it: that is our doing, not the person's.
        let is_our_doing = fault.kind == Kind::Missing && incomplete.contains(&path);
        if !is_our_doing {
            problems.push(fault.problem(&path));
        }
        if tree::remove(&mut table, &path).is_none() {
            return Err(problems);
        }
        incomplete.push(path[..path.len() - 1].to_vec());
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unknown,
    Missing,
    Wrong,
}

/// serde's error with the way to the value, innermost key first.
#[derive(Debug)]
struct Fault {
    kind: Kind,
    message: String,
    /// For an unknown key or word: what would have been accepted.
    expected: &'static [&'static str],
    path: Vec<String>,
    origin: Option<Origin>,
}

impl Fault {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), expected: &[], path: Vec::new(), origin: None }
    }

    fn at(mut self, key: &str, origin: &Origin) -> Self {
        self.path.push(key.to_owned());
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    fn problem(self, path: &[String]) -> Problem {
        let key = path.join(".");
        let place = self.origin.map_or_else(|| "the configuration".to_owned(), |origin| origin.to_string());
        let message = match self.kind {
            Kind::Unknown => format!("unknown key `{key}`; {}", suggestion(path, self.expected)),
            Kind::Missing => format!("`{key}` needs the key `{}`", self.message),
            Kind::Wrong if secrets::is_hidden(path) => format!("`{key}` must be a text in quotes"),
            Kind::Wrong => format!("`{key}` {}", self.message),
        };
        Problem::new(place, message)
    }
}

/// The nearest known key beside the unknown one, or the same key where it belongs.
fn suggestion(path: &[String], expected: &'static [&'static str]) -> String {
    let Some((key, section)) = path.split_last() else { return String::new() };
    if let Some(nearest) = nearest(key, expected) {
        let nearest: Vec<&str> = section.iter().map(String::as_str).chain([nearest]).collect();
        return format!("did you mean `{}`?", nearest.join("."));
    }
    if let Some(elsewhere) = super::manual_keys().into_iter().find(|known| known.last() == Some(key)) {
        return format!("did you mean `{}`?", elsewhere.join("."));
    }
    match expected {
        [] => "this section has no keys; remove it".to_owned(),
        _ => format!("known here are {}", expected.join(", ")),
    }
}

/// Close enough to be a slip of the finger: by Jaro-Winkler, which forgives swapped letters and likes a common beginning.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Kind::Wrong, message.to_string())
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(Kind::Wrong, format!("is {unexpected}; write {}", wanted(expected)))
    }

    fn invalid_value(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(Kind::Wrong, format!("is {unexpected}; write {}", wanted(expected)))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self { expected, ..Self::new(Kind::Unknown, "unknown key") }
    }

    fn unknown_variant(word: &str, expected: &'static [&'static str]) -> Self {
        let hint = nearest(word, expected).map(|nearest| format!("; did you mean \"{nearest}\"?")).unwrap_or_default();
        Self::new(Kind::Wrong, format!("is \"{word}\", which is none of {}{hint}", expected.join(", ")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Kind::Missing, field)
    }
}

/// serde names Rust's types; a person who edits TOML has none.
fn wanted(expected: &dyn de::Expected) -> String {
    let rust = expected.to_string();
    match rust.as_str() {
        "a string" | "a borrowed string" | "string" => "a text in quotes".into(),
        "a boolean" => "true or false".into(),
        "a sequence" => "a list in brackets".into(),
        "a map" => "a section".into(),
        "u8" => format!("a whole number from 0 to {}", u8::MAX),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" | "usize" => "a whole number, 0 or more".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        other => match other.strip_prefix("struct ") {
            Some(_) => "a section".into(),
            None => other.to_owned(),
        },
    }
}

struct Reader<'a>(&'a Value);

impl<'a> Reader<'a> {
    fn members(table: &'a Table) -> Members<'a> {
        Members { entries: table.iter(), open: None }
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Text(text) => visitor.visit_str(text),
            Value::Integer(integer) => visitor.visit_i64(*integer),
            Value::Float(float) => visitor.visit_f64(*float),
            Value::Boolean(truth) => visitor.visit_bool(*truth),
            Value::Array(items) => visitor.visit_seq(Items(items.iter())),
            Value::Section(table) | Value::Inline(table) => visitor.visit_map(Self::members(table)),
            Value::Given { parsed, .. } => Reader(parsed).deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            // `WINDLASS__CONTROL__TOKEN=12345` is a text that happens to look like a number; in quotes it is still a text.
            Value::Given { text, parsed } => match parsed.as_ref() {
                Value::Text(inner) => visitor.visit_str(inner),
                _ => visitor.visit_str(text),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        // TOML has no null: an empty text takes an optional setting away that a lower layer gives.
        if self.0.text() == Some("") { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        if let Some(table) = self.0.table()
            && let Some((key, node)) = table.iter().find(|(key, _)| !fields.contains(&key.as_str()))
        {
            return Err(Fault::unknown_field(key, fields).at(key, &node.origin));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        match (self.0.text(), self.0.table()) {
            (_, Some(table)) => visitor.visit_enum(MapAccessDeserializer::new(Self::members(table))),
            (Some(text), _) => visitor.visit_enum(text.trim_matches('"').into_deserializer()),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct map
        identifier ignored_any
    }
}

struct Members<'a> {
    entries: std::collections::btree_map::Iter<'a, String, Node>,
    open: Option<(&'a String, &'a Node)>,
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.open = self.entries.next();
        let Some((key, node)) = self.open else { return Ok(None) };
        let deserializer: de::value::StrDeserializer<'_, Fault> = key.as_str().into_deserializer();
        seed.deserialize(deserializer).map(Some).map_err(|fault: Fault| fault.at(key, &node.origin))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, node)) = self.open.take() else { return Err(Fault::custom("a value was asked for before its key")) };
        seed.deserialize(Reader(&node.value)).map_err(|fault| fault.at(key, &node.origin))
    }
}

/// The items of a list. A wrong item is reported at its own line, under the key of the whole list.
struct Items<'a>(std::slice::Iter<'a, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.0.next() else { return Ok(None) };
        seed.deserialize(Reader(&node.value)).map(Some).map_err(|mut fault| {
            fault.path.clear();
            fault.origin.get_or_insert_with(|| node.origin.clone());
            fault
        })
    }
}
