//! `serp.refresh`: one live look at Google's results for a keyword, normalised, stored as the job's result and as the
//! newest record of its subject. Dashboards read the record; only this job calls the provider.

mod normalise;

use super::run::{Early, Run, bad_payload};
use crate::{
    clients::{
        dataforseo::{ByCodeOrName, DataForSeo, Query},
        measured,
    },
    engine::worker::{Context, Outcome, Worker},
    job::{Effect, Json, LeasedJob, Name, Usage},
    telemetry::Metrics,
};
use async_trait::async_trait;
use serde::Deserialize;

pub(super) const KIND: &str = "serp.refresh";
/// Where the newest result of each subject is kept.
pub const COLLECTION: &str = "serp_results";

/// `[workers.serp]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Results asked for when the payload does not say; billed per ten.
    pub depth: u32,
    /// The record keeps the provider's own items up to this many bytes; beyond, only the normalised ones.
    pub raw_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        // A page of ten with all its features is some 100 KiB.
        Self { depth: 10, raw_bytes: 256 << 10 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    keyword: String,
    location_code: Option<u64>,
    location_name: Option<String>,
    language_code: Option<String>,
    language_name: Option<String>,
    device: Option<String>,
    depth: Option<u32>,
    /// Names the record, where the keyword and its place do not.
    subject: Option<String>,
}

/// The provider's limits (reference: providers 2.2).
const MAX_KEYWORD_CHARS: usize = 700;
const MAX_LIVE_DEPTH: u32 = 200;
const MAX_SUBJECT_BYTES: usize = 255;

/// A checked payload.
struct Search {
    keyword: String,
    location: ByCodeOrName<u64>,
    language: ByCodeOrName<String>,
    device: String,
    depth: u32,
    subject: Option<String>,
}

impl Payload {
    fn check(self, config: &Config) -> Result<Search, String> {
        let keyword = self.keyword.trim().to_owned();
        if keyword.is_empty() || keyword.chars().count() > MAX_KEYWORD_CHARS {
            return Err(format!("`keyword` must be 1 to {MAX_KEYWORD_CHARS} characters"));
        }
        let depth = self.depth.unwrap_or(config.depth);
        if !(1..=MAX_LIVE_DEPTH).contains(&depth) {
            return Err(format!("`depth` must be 1 to {MAX_LIVE_DEPTH}"));
        }
        let device = self.device.unwrap_or_else(|| "desktop".into());
        if !matches!(device.as_str(), "desktop" | "mobile") {
            return Err("`device` must be desktop or mobile".into());
        }
        if self.subject.as_ref().is_some_and(|subject| subject.is_empty() || subject.len() > MAX_SUBJECT_BYTES) {
            return Err(format!("`subject` must be 1 to {MAX_SUBJECT_BYTES} bytes"));
        }
        let location = one_of("location", self.location_code, self.location_name)?;
        let language = one_of("language", self.language_code, self.language_name)?;
        Ok(Search { keyword, location, language, device, depth, subject: self.subject })
    }
}

fn one_of<C>(what: &str, code: Option<C>, name: Option<String>) -> Result<ByCodeOrName<C>, String> {
    match (code, name) {
        (Some(code), None) => Ok(ByCodeOrName::Code(code)),
        (None, Some(name)) if !name.is_empty() => Ok(ByCodeOrName::Name(name)),
        _ => Err(format!("exactly one of `{what}_code` and `{what}_name` is needed")),
    }
}

impl Search {
    /// What makes two refreshes the same record.
    fn record_key(&self) -> String {
        let spelled = || {
            let place = format!("{}|{}|{}", self.keyword, self.location, self.language);
            if self.device == "mobile" { place + "|mobile" } else { place }
        };
        self.subject.clone().unwrap_or_else(spelled)
    }
}

#[derive(Debug)]
pub struct Serp {
    config: Config,
    client: DataForSeo,
    metrics: Metrics,
}

impl Serp {
    #[must_use]
    pub fn new(config: &Config, client: DataForSeo, metrics: Metrics) -> Self {
        Self { config: config.clone(), client, metrics }
    }

    async fn refresh(&self, run: &Run<'_>) -> Result<Outcome, Early> {
        let search = run.payload::<Payload>()?.check(&self.config).map_err(|sentence| bad_payload(&sentence))?;
        let tag = run.job.id.to_string();
        let query = Query {
            keyword: &search.keyword,
            location: &search.location,
            language: &search.language,
            device: &search.device,
            depth: search.depth,
            tag: &tag,
        };
        let page = measured(&self.metrics, DataForSeo::NAME, KIND, self.client.live(&query)).await.map_err(|e| run.failed(e))?;
        let checked_at = page.checked_at.unwrap_or_else(|| run.now());
        let ranking = normalise::Ranking::new(&search, &page, checked_at);
        let record = Effect::PutRecord {
            collection: Name::literal(COLLECTION),
            key: search.record_key(),
            value: Json::of(&ranking.with_raw(&page.items, self.config.raw_bytes)),
            event_time: Some(checked_at),
        };
        Ok(Outcome::complete_with(&ranking).with_effect(record).with_usage(usage(page.cost_micros)))
    }
}

fn usage(cost_micros: Option<u64>) -> Usage {
    Usage {
        provider: DataForSeo::NAME.into(),
        model: DataForSeo::FUNCTION.into(),
        input_tokens: 0,
        cached_tokens: 0,
        output_tokens: 0,
        cost_micros,
        estimated: cost_micros.is_none(),
    }
}

#[async_trait]
impl Worker for Serp {
    async fn run(&self, job: &LeasedJob, context: &Context) -> Outcome {
        self.refresh(&Run::begin(job, context)).await.unwrap_or_else(|early| *early)
    }
}
