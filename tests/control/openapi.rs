//! The port's own description: every route stands in it, it holds together, and every answer that any of these tests gets is as it says.

use super::*;
use jsonschema::Validator;
use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex},
};
use windlass::control::doors;

static DOCUMENT: LazyLock<Value> = LazyLock::new(control::openapi);
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// Panics when an answer is not as the description says, if it is one of a route that is described.
pub(super) fn is_as_described(method: &Method, path: &str, answer: &Answer) {
    let Some(template) = template(path) else { return };
    let operation = &DOCUMENT["paths"][template][method.as_str().to_ascii_lowercase()];
    // What is allowed there is the answer to such a call.
    if operation.is_null() || method == Method::HEAD {
        return;
    }
    let code = answer.status.as_u16();
    let exact = code.to_string();
    let status = if operation["responses"].get(&exact).is_some() { exact } else { format!("{}XX", code / 100) };
    let told = &operation["responses"][&status];
    assert!(told.is_object(), "{method} {template} tells of no answer {code}: {answer:?}");
    let Some(content) = told.get("content") else {
        assert_eq!(answer.text, "", "{method} {template} tells of no body with {code}");
        return;
    };
    let form = answer.header("content-type").split(';').next().unwrap_or_default().trim();
    let schema = &content[form]["schema"];
    assert!(!schema.is_null(), "{method} {template} tells of no {form:?} with {code}: {answer:?}");
    // A payload may hold a number that this reader has no room for.
    if let (true, Ok(body)) = (form != "application/x-ndjson", serde_json::from_str::<Value>(&answer.text)) {
        let validator = validator(format!("{method} {template} {status} {form}"), schema);
        let faults: Vec<String> = validator.iter_errors(&body).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
        assert!(faults.is_empty(), "{method} {template} {code} is not as described: {faults:#?}\n{body}");
    }
}

/// The description of the route that this path is of.
fn template(path: &str) -> Option<&'static str> {
    let fits = |template: &str| {
        let (mut one, mut other) = (template.split('/'), path.split('/'));
        loop {
            match (one.next(), other.next()) {
                (None, None) => return true,
                (Some(part), Some(given)) if part == given || part.starts_with('{') => {}
                _ => return false,
            }
        }
    };
    let all: Vec<&str> = doors().into_iter().map(|door| door.path).collect();
    let exact = all.iter().copied().find(|template| *template == path);
    exact.or_else(|| all.iter().copied().find(|template| fits(template)))
}

fn validator(name: String, schema: &Value) -> Arc<Validator> {
    let mut known = VALIDATORS.lock().expect("no test fails while it has it");
    known.entry(name).or_insert_with(|| Arc::new(compiled(schema))).clone()
}

fn compiled(schema: &Value) -> Validator {
    let mut whole = schema.clone();
    whole["components"] = DOCUMENT["components"].clone();
    jsonschema::draft202012::options().should_validate_formats(true).build(&whole).expect("a schema")
}

#[test]
fn every_door_is_described_under_a_name_of_its_own() {
    let mut names: Vec<String> = Vec::new();
    for door in doors() {
        let operation = &DOCUMENT["paths"][door.path][door.method.as_str().to_ascii_lowercase()];
        let what = format!("{} {}", door.method, door.path);
        assert!(operation["responses"].as_object().is_some_and(|answers| answers.keys().any(|code| code.starts_with('2'))), "{what}");
        assert!(operation["description"].as_str().is_some_and(|text| text.contains(&format!("`{}`", door.access.scope))), "{what}");
        let told: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().filter(|one| one["in"] == "path").collect();
        assert_eq!(told.len(), door.path.matches('{').count(), "{what}");
        names.push(operation["operationId"].as_str().expect("a name").to_owned());
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "{names:?}");
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_one() {
    fn references<'v>(value: &'v Value, into: &mut Vec<&'v str>) {
        match value {
            Value::Object(members) => {
                into.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, into));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, into)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    references(&DOCUMENT, &mut all);
    assert!(all.len() > 100);
    for reference in all {
        assert!(DOCUMENT.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    for schema in DOCUMENT["components"]["schemas"].as_object().expect("schemas").values() {
        compiled(schema);
    }
}

#[test]
fn what_is_sent_may_leave_out_what_is_always_told() {
    let schemas = &DOCUMENT["components"]["schemas"];
    let needed = |name: &str| schemas[name]["required"].as_array().map_or(0, Vec::len);
    assert_eq!((needed("RedriveRequest") > 0, needed("RedriveRequestSent")), (true, 0), "{schemas:#}");
    let envelope = &schemas["Envelope"];
    assert_eq!(envelope["required"], json!(["kind", "payload"]));
    assert_eq!((&envelope["additionalProperties"], &envelope["properties"]["priority"]["maximum"]), (&json!(false), &json!(9)));
}

#[tokio::test]
async fn anybody_may_read_the_description() {
    let port = Port::start().await;
    port.token([windlass::job::Scope::Read], None).await;
    let answer = port.get("/openapi.json").await;
    assert_eq!((answer.status, answer.json()["openapi"].clone()), (StatusCode::OK, json!("3.1.0")));
}

#[tokio::test]
async fn list_of_values_is_not_taken_for_an_object() {
    let port = Port::start().await;
    for (method, path, body) in [
        (Method::POST, "/v1/queues/mail/pause".to_owned(), json!([null, null])),
        (Method::POST, format!("/v1/jobs/{}/cancel", JobId::mint()), json!([null])),
        (Method::POST, "/v1/dead/redrive".to_owned(), json!([true])),
        (Method::POST, "/v1/dead/redrives".to_owned(), json!({"which": [true]})),
        (Method::PATCH, format!("/v1/jobs/{}", JobId::mint()), json!([{}])),
        (Method::POST, "/v1/goodbye".to_owned(), json!([JobId::mint()])),
    ] {
        port.send(method, &path, "application/json", body.to_string()).await.problem(400, "invalid");
    }
    assert!(port.store.queues(None).await.expect("queues").iter().all(|queue| queue.paused.is_none()));
}
