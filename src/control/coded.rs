//! An answer whose status says something too.

use super::openapi::{Answers, JSON, Operation, Schemas};
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

/// `T` with one of these two statuses.
pub(super) struct Coded<T, const ONE: u16, const OTHER: u16 = ONE>(pub StatusCode, pub T);

impl<T: Serialize, const ONE: u16, const OTHER: u16> IntoResponse for Coded<T, ONE, OTHER> {
    fn into_response(self) -> Response {
        debug_assert!([ONE, OTHER].contains(&self.0.as_u16()), "{} is not among those that the handler names", self.0);
        (self.0, Json(self.1)).into_response()
    }
}

impl<T: JsonSchema, const ONE: u16, const OTHER: u16> Answers for Coded<T, ONE, OTHER> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        for status in [ONE, OTHER] {
            let status = StatusCode::from_u16(status).expect("a handler names statuses of HTTP");
            operation.answers(status.as_str(), status.canonical_reason().unwrap_or("An answer."), &[(JSON, schemas.told::<T>())]);
        }
    }
}
