//! JSON Schemas of what is sent and what is told. One type can have two: what we read may leave members out that we always write.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

const PLACE: &str = "#/components/schemas/";
/// Of a schema that differs from the one by the same name that is told.
const SENT: &str = "Sent";

pub(in crate::control) struct Schemas {
    sent: SchemaGenerator,
    told: SchemaGenerator,
}

impl Schemas {
    pub fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self { sent: settings().for_deserialize().into_generator(), told: settings().for_serialize().into_generator() }
    }

    /// Of a `T` that is sent to us. Its references are known for what they are by their mark, until [`Schemas::finish`].
    pub fn sent<T: JsonSchema>(&mut self) -> Value {
        let mut schema = self.sent.subschema_for::<T>().to_value();
        each_reference(&mut schema, &mut |reference| reference.push_str(SENT));
        schema
    }

    /// Of a `T` that we tell.
    pub fn told<T: JsonSchema>(&mut self) -> Value {
        self.told.subschema_for::<T>().to_value()
    }

    /// The members of a query string. What can be left out there is never null.
    pub fn members<T: JsonSchema>(&mut self) -> Map<String, Value> {
        let mut schema = T::json_schema(&mut self.sent).to_value();
        each_reference(&mut schema, &mut |reference| reference.push_str(SENT));
        let Some(Value::Object(mut members)) = schema.get_mut("properties").map(Value::take) else { return Map::new() };
        members.values_mut().for_each(without_null);
        members
    }

    /// Puts all that was referred to into the document.
    pub fn finish(mut self, document: &mut Value) {
        let mut all = self.told.take_definitions(true);
        let mut sent = self.sent.take_definitions(true);
        let differing = differing(&sent, &all);
        let named = |name: &str| if differing.contains(name) { format!("{name}{SENT}") } else { name.to_owned() };
        for schema in sent.values_mut() {
            each_reference(schema, &mut |reference| *reference = format!("{PLACE}{}", named(of(reference))));
        }
        each_reference(&mut document["paths"], &mut |reference| {
            if let Some(name) = of(reference).strip_suffix(SENT).filter(|name| sent.contains_key(*name)) {
                *reference = format!("{PLACE}{}", named(name));
            }
        });
        all.extend(sent.into_iter().map(|(name, schema)| (named(&name), schema)));
        document["components"]["schemas"] = all.into();
    }
}

/// Names under which something else is sent than is told, be it only somewhere within.
fn differing(sent: &Map<String, Value>, told: &Map<String, Value>) -> BTreeSet<String> {
    let is_other = |(name, schema): (&String, &Value)| told.get(name).is_some_and(|told| told != schema).then(|| name.clone());
    let mut differing: BTreeSet<String> = sent.iter().filter_map(is_other).collect();
    loop {
        let mut found = differing.clone();
        for (name, schema) in sent.iter().filter(|(name, _)| told.contains_key(*name)) {
            let mut schema = schema.clone();
            each_reference(&mut schema, &mut |reference| {
                if differing.contains(of(reference)) {
                    found.insert(name.clone());
                }
            });
        }
        if found.len() == differing.len() {
            return differing;
        }
        differing = found;
    }
}

fn of(reference: &str) -> &str {
    reference.strip_prefix(PLACE).unwrap_or(reference)
}

fn each_reference(value: &mut Value, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(reference) if name == "$ref" => change(reference),
                    other => each_reference(other, change),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_reference(item, change)),
        _ => {}
    }
}

fn without_null(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    members.remove("default");
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|one| one != "null");
        if let [one] = types.as_slice() {
            members["type"] = one.clone();
        }
    }
    if let Some(Value::Array(choices)) = members.get_mut("anyOf") {
        choices.retain(|choice| choice["type"] != "null");
        if let [one] = choices.as_slice() {
            let one = one.clone();
            let about = members.remove("description");
            *schema = one;
            if let (Some(about), Some(members)) = (about, schema.as_object_mut()) {
                members.insert("description".into(), about);
            }
        }
    }
}
