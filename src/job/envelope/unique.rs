//! The unique key of a job: how long it is held, and what happens to a job that finds it taken (contract P7).

use crate::job::Name;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};

/// A job's claim on a key: while it holds, no other job of the same tenant and queue gets the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unique {
    pub key: Name,
    pub held: UniqueFor,
    pub on_duplicate: OnDuplicate,
    /// The longest that [`OnDuplicate::Debounce`] may put the first job off, in milliseconds.
    pub debounce_max_ms: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnDuplicate {
    /// Answer with the id of the job that holds the key.
    #[default]
    Return,
    /// Swap payload and options of the holder, if it has not started; keep its id.
    Replace,
    /// Refuse.
    Reject,
    /// Replace, and put the start off by the new delay, at most `debounce_max_ms` after the first.
    Debounce,
}

/// How long a unique key is held. Text at the doors: `until_finished`, `until_started`, or an ISO 8601 duration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UniqueFor {
    #[default]
    UntilFinished,
    UntilStarted,
    /// From enqueue for this long (whole seconds), and in any case while the job is live.
    Window(Duration),
}

impl UniqueFor {
    /// # Errors
    /// A sentence, when `text` is none of the three forms.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "until_finished" => Ok(Self::UntilFinished),
            "until_started" => Ok(Self::UntilStarted),
            _ => iso_duration(text).map(Self::Window).ok_or_else(|| {
                let shown: String = text.chars().take(40).collect();
                format!("`{shown}` is none of until_finished, until_started or a duration such as PT10M or P1D (at most P366D)")
            }),
        }
    }
}

impl std::fmt::Display for UniqueFor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UntilFinished => f.write_str("until_finished"),
            Self::UntilStarted => f.write_str("until_started"),
            Self::Window(window) => write!(f, "PT{}S", window.as_secs()),
        }
    }
}

impl JsonSchema for UniqueFor {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "UniqueFor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(until_finished|until_started|P([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$",
            "examples": ["until_finished", "until_started", "PT10M"],
        })
    }
}

impl Serialize for UniqueFor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UniqueFor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// `P[nD][T[nH][nM][nS]]`, whole numbers, more than nothing and at most 366 days. Months and years have no fixed length.
fn iso_duration(text: &str) -> Option<Duration> {
    let rest = text.strip_prefix('P')?;
    let (date, time) = rest.split_once('T').unwrap_or((rest, "0S"));
    let secs = counted(date, &[('D', 86_400)])?.checked_add(counted(time, &[('H', 3600), ('M', 60), ('S', 1)])?)?;
    let something_after_each_letter = !rest.ends_with('T');
    (something_after_each_letter && (1..=366 * 86_400).contains(&secs)).then(|| Duration::from_secs(secs))
}

/// The seconds that `part` counts in `units`, each at most once and in this order.
fn counted(part: &str, units: &[(char, u64)]) -> Option<u64> {
    let mut secs = 0_u64;
    let mut digits = String::new();
    let mut allowed = units.iter();
    for c in part.chars() {
        if c.is_ascii_digit() && digits.len() < 9 {
            digits.push(c);
        } else {
            let (_, unit) = allowed.find(|(letter, _)| *letter == c)?;
            secs = secs.checked_add(digits.parse::<u64>().ok()?.checked_mul(*unit)?)?;
            digits.clear();
        }
    }
    digits.is_empty().then_some(secs)
}
