//! The stand-ins' own account of what they served, to be held against what a daemon says it did and spent.

use super::{shelf::Shelf, switches::Provider};
use crate::job::Timestamp;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// One call, as the provider would bill it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    pub at: Timestamp,
    pub provider: Provider,
    /// The id the provider gave: a completion, a task, an event.
    pub id: String,
    /// How the text, keyword, recipient or path begins.
    pub subject: String,
    /// The HTTP status or SMTP reply; 0 when none was sent.
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<&'static str>,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Millionths of the provider's currency.
    pub cost_micros: u64,
}

/// How much of a text the log repeats.
const SUBJECT_CHARS: usize = 80;

impl Call {
    pub(super) fn new(at: Timestamp, provider: Provider, id: impl Into<String>, subject: &str, status: u16) -> Self {
        let subject = subject.chars().take(SUBJECT_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self { at, provider, id: id.into(), subject, status, fault: None, input_tokens: 0, output_tokens: 0, cost_micros: 0 }
    }
}

/// Sums over every call ever served, however many of them are still listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub calls: u64,
    /// Of these, the ones that a switch made fail or slow.
    pub faults: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost_micros: u64,
}

#[derive(Debug, Default)]
pub struct Calls {
    list: Shelf<Call>,
    totals: Mutex<BTreeMap<Provider, Totals>>,
}

impl Calls {
    pub(super) fn add(&self, call: Call) {
        {
            let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
            let totals = totals.entry(call.provider).or_default();
            totals.calls += 1;
            totals.faults += u64::from(call.fault.is_some());
            totals.input_tokens += call.input_tokens;
            totals.output_tokens += call.output_tokens;
            totals.cost_micros += call.cost_micros;
        }
        self.list.put(call);
    }

    /// The latest calls, oldest first.
    #[must_use]
    pub const fn list(&self) -> &Shelf<Call> {
        &self.list
    }

    #[must_use]
    pub fn totals(&self, provider: Provider) -> Totals {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).get(&provider).copied().unwrap_or_default()
    }
}
