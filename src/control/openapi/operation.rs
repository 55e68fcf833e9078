//! What one route takes and answers, read from its handler's own types.

use super::{
    super::{
        Problem, State,
        body::{Sent, SentIfAny, SentText},
        caller::Caller,
        extract::{Asked, Id, Member, Named},
        wire::ProblemDocument,
    },
    Schemas,
};
use crate::job::{JobId, Name};
use axum::{
    Json,
    http::{HeaderMap, StatusCode},
};
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

/// As an operation object of OpenAPI has it.
pub(in crate::control) struct Operation {
    path: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: Map<String, Value>,
}

impl Operation {
    pub fn of(path: &'static str) -> Self {
        Self { path, parameters: Vec::new(), body: None, answers: Map::new() }
    }

    /// The one member of the path.
    pub fn in_path(&mut self, schema: Value) {
        let name = self.path.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(name, _)| name);
        self.parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
    }

    pub fn in_header(&mut self, name: &str, about: &str, schema: Value) {
        self.parameters.push(json!({"name": name, "in": "header", "required": false, "description": about, "schema": schema}));
    }

    /// The members of `T`, each of which may be left out.
    pub fn in_query<T: JsonSchema>(&mut self, schemas: &mut Schemas) {
        for (name, schema) in schemas.members::<T>() {
            let about = schema.get("description").cloned();
            let mut parameter = json!({"name": name, "in": "query", "required": false, "schema": schema});
            if let Some(about) = about {
                parameter["description"] = about;
            }
            self.parameters.push(parameter);
        }
    }

    /// A body in one of these media types.
    pub fn takes(&mut self, is_required: bool, forms: &[(&str, Value)]) {
        self.body = Some(json!({"required": is_required, "content": content(forms)}));
    }

    pub fn answers(&mut self, status: &str, about: &str, forms: &[(&str, Value)]) {
        let mut answer = json!({"description": about});
        if !forms.is_empty() {
            answer["content"] = content(forms);
        }
        self.answers.insert(status.to_owned(), answer);
    }

    pub fn write(self, told: &mut Value, schemas: &mut Schemas) {
        if !self.parameters.is_empty() {
            told["parameters"] = self.parameters.into();
        }
        if let Some(body) = self.body {
            told["requestBody"] = body;
        }
        let mut answers = self.answers;
        let problem = json!({"application/problem+json": {"schema": schemas.told::<ProblemDocument>()}});
        for (status, about) in [("4XX", "It was refused; nothing was done."), ("5XX", "It failed; `code` says whether to ask again.")] {
            answers.insert(status.to_owned(), json!({"description": about, "content": problem}));
        }
        told["responses"] = answers.into();
    }
}

fn content(forms: &[(&str, Value)]) -> Value {
    forms.iter().map(|(form, schema)| ((*form).to_owned(), json!({"schema": schema}))).collect::<Map<_, _>>().into()
}

/// A handler, as far as its types tell what it takes and answers. `T` is what axum's own `Handler` has there.
pub(in crate::control) trait Speaks<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas);
}

/// What an extractor takes of a request.
pub(in crate::control) trait Takes {
    fn describe(_operation: &mut Operation, _schemas: &mut Schemas) {}
}

/// What a handler's answer can be, refusals left out.
pub(in crate::control) trait Answers {
    fn describe(operation: &mut Operation, schemas: &mut Schemas);
}

macro_rules! speaks {
    ($($taken:ident)+) => {
        impl<F, Fut, R, M, $($taken),+> Speaks<(M, $($taken,)+)> for F
        where
            F: FnOnce($($taken),+) -> Fut,
            Fut: Future<Output = R>,
            R: Answers,
            $($taken: Takes),+
        {
            fn describe(operation: &mut Operation, schemas: &mut Schemas) {
                $($taken::describe(operation, schemas);)+
                R::describe(operation, schemas);
            }
        }
    };
}

speaks!(A);
speaks!(A B);
speaks!(A B C);
speaks!(A B C D);
speaks!(A B C D E);

impl Takes for axum::extract::State<State> {}
impl Takes for Caller {}
impl Takes for HeaderMap {}

impl Takes for Id {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.in_path(schemas.sent::<JobId>());
    }
}

impl Takes for Named {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.in_path(schemas.sent::<Name>());
    }
}

impl Takes for Member {
    fn describe(operation: &mut Operation, _: &mut Schemas) {
        operation.in_path(json!({"type": "string", "minLength": 1, "maxLength": Self::MOST_BYTES}));
    }
}

impl<T: JsonSchema> Takes for Asked<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.in_query::<T>(schemas);
    }
}

impl<T: JsonSchema, const MOST: usize> Takes for Sent<T, MOST> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.takes(true, &[(JSON, schemas.sent::<T>())]);
    }
}

impl<T: JsonSchema> Takes for SentIfAny<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.takes(false, &[(JSON, schemas.sent::<T>())]);
    }
}

impl<T: JsonSchema> Takes for SentText<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.takes(true, &[(JSON, schemas.sent::<T>())]);
    }
}

pub(in crate::control) const JSON: &str = "application/json";
pub(in crate::control) const NDJSON: &str = "application/x-ndjson";

impl<R: Answers> Answers for Result<R, Problem> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        R::describe(operation, schemas);
    }
}

impl<T: JsonSchema> Answers for Json<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.answers("200", "Done.", &[(JSON, schemas.told::<T>())]);
    }
}

impl Answers for StatusCode {
    fn describe(operation: &mut Operation, _: &mut Schemas) {
        operation.answers("204", "Done; there is nothing to tell.", &[]);
    }
}
