//! Providers, one file each: a request, a typed answer, and an error that says retry, wait, stop or park.

use crate::job::{ErrorClass, JobError};
use std::time::Duration;

/// What a provider's refusal means for the job (reference: providers, rule 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderError {
    pub class: ErrorClass,
    /// Stable, such as `rate_limit_exceeded`, `http_503`, `connect`.
    pub code: String,
    /// A sentence for people; never a credential, never a whole body.
    pub message: String,
    /// The provider said not before then.
    pub retry_after: Option<Duration>,
}

impl From<ProviderError> for JobError {
    fn from(error: ProviderError) -> Self {
        Self::new(error.class, error.code, error.message)
    }
}
