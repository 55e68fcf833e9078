//! The variables of a template as values that count how much of them is looked at. The engine's fuel counts steps, and one
//! step may compare two whole lists; here every member and every item that is handed out is charged to one meter, and once
//! it is spent nothing more is handed out, so that whatever was walking ends at once.

use minijinja::value::{Enumerator, Object, ObjectRepr, Serde, Value, ValueKind};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Bytes that one rendering may look at: a list of 100,000 short lines eight times over.
const BYTES: u64 = 32 << 20;
/// What handing out a value costs beside its text.
const ITEM: u64 = 16;

/// Cheap to clone; all clones are one meter.
#[derive(Clone, Debug)]
pub(super) struct Meter(Arc<AtomicU64>);

impl Meter {
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(BYTES)))
    }

    /// Whether there is still enough. Once there is not, there never is again.
    pub fn charge(&self, bytes: usize) -> bool {
        let cost = ITEM + bytes as u64;
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(cost)));
        taken.is_ok_and(|left| left > cost)
    }

    pub fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn hand_out(&self, value: &Value) -> Option<Value> {
        self.charge(value.as_str().map_or(0, str::len)).then(|| value.clone())
    }

    /// `json` as the engine's value.
    pub fn value(&self, json: &serde_json::Value) -> Value {
        match json {
            serde_json::Value::Array(items) => self.list(items.iter().map(|item| self.value(item)).collect()),
            serde_json::Value::Object(members) => {
                let members = members.iter().map(|(name, value)| (Value::from(name.as_str()), self.value(value))).collect();
                Value::from_object(Members { members, meter: self.clone() })
            }
            plain => Value::from(Serde(plain)),
        }
    }

    fn list(&self, items: Vec<Value>) -> Value {
        Value::from_object(List { items, meter: self.clone() })
    }

    /// What a filter made, metered as well.
    pub fn adopt(&self, made: Value) -> Value {
        let ours = made.downcast_object_ref::<List>().is_some() || made.downcast_object_ref::<Members>().is_some();
        match made.kind() {
            ValueKind::Seq | ValueKind::Iterable if !ours => {
                let items = made.try_iter().into_iter().flatten().take_while(|_| self.charge(0));
                self.list(items.map(|item| self.adopt(item)).collect())
            }
            _ => made,
        }
    }
}

#[derive(Debug)]
struct List {
    items: Vec<Value>,
    meter: Meter,
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.meter.hand_out(self.items.get(key.as_usize()?)?)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let list = Arc::clone(self);
        let items = (0..self.items.len()).map_while(move |at| list.meter.hand_out(&list.items[at]));
        Enumerator::Iter(Box::new(Sized { items, left: self.items.len() }))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.items.len())
    }
}

#[derive(Debug)]
struct Members {
    members: BTreeMap<Value, Value>,
    meter: Meter,
}

impl Object for Members {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.meter.hand_out(self.members.get(key)?)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let names: Vec<Value> = self.members.keys().map_while(|name| self.meter.hand_out(name)).collect();
        Enumerator::Iter(Box::new(names.into_iter()))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.members.len())
    }
}

/// An iterator that says how many there are, as the engine wants it for `length` and `loop.last`.
struct Sized<I> {
    items: I,
    left: usize,
}

impl<I: Iterator<Item = Value>> Iterator for Sized<I> {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        self.left = self.left.saturating_sub(1);
        self.items.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_look_as_they_did_until_the_meter_is_spent() {
        let meter = Meter::new();
        let value = meter.value(&json!({"a": [1, "x", null, {"b": true}], "c": 0.5}));
        assert_eq!(value.to_string(), "{'a': [1, 'x', None, {'b': True}], 'c': 0.5}");
        let list = value.get_attr("a").expect("a member");
        assert_eq!((list.len(), list.get_item(&Value::from(1)).expect("an item")), (Some(4), Value::from("x")));
        assert!(!meter.charge(BYTES as usize) && meter.is_spent());
        assert_eq!(list.try_iter().expect("a list").count(), 0);
        assert!(value.get_attr("c").expect("a member").is_undefined());
    }
}
