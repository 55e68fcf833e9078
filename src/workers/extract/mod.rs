//! `ai.extract`: text and a JSON Schema in, validated JSON out, over any OpenAI-compatible server. At most three answers are
//! paid for in one run: a cut one, the whole one, and one repair of an answer that does not fit.

mod answer;
mod hygiene;
mod prompt;
mod schema;
mod size;
mod talk;

use super::{
    pool::Pool,
    run::{self, Early, Run, bad_payload},
};
use crate::{
    clients::openai::OpenAi,
    engine::worker::{Context, Outcome, Worker},
    job::LeasedJob,
    telemetry::Metrics,
};
use answer::Shape;
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};
use talk::Talk;

pub(super) const KIND: &str = "ai.extract";

/// `[workers.extract]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Tokens of text, instructions and schema together; more is refused before anyone pays.
    pub max_input_tokens: usize,
    /// Texts beyond this are not even counted.
    pub max_input_bytes: usize,
    /// The output cap of a first answer, when the payload names none.
    pub max_output_tokens: u32,
    /// What a payload may ask for, and what a cut answer is repeated with.
    pub output_ceiling: u32,
    /// Named sets of defaults that a payload can choose.
    pub profiles: BTreeMap<String, Profile>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // What today's models read comfortably; 512 KiB of any text is some 130,000 tokens.
            max_input_tokens: 100_000,
            max_input_bytes: 512 << 10,
            // A page of JSON, and four of them.
            max_output_tokens: 4_000,
            output_ceiling: 16_000,
            profiles: BTreeMap::new(),
        }
    }
}

/// Defaults for payloads that name it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    pub model: Option<String>,
    pub instructions: Option<String>,
    pub max_output_tokens: Option<u32>,
    /// The JSON Schema, as text.
    pub schema: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("workers.extract.profiles.{name}.{member}: {problem}")]
pub struct ConfigError {
    name: String,
    member: &'static str,
    problem: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    instructions: Option<String>,
    model: Option<String>,
    max_output_tokens: Option<u32>,
    profile: Option<String>,
}

/// A checked payload, with its profile's defaults.
struct Question {
    text: String,
    schema: Box<RawValue>,
    shape: Arc<Shape>,
    instructions: Option<String>,
    model: Option<String>,
    max_output_tokens: u32,
}

#[derive(Debug)]
pub struct Extract {
    config: Arc<Config>,
    client: OpenAi,
    metrics: Metrics,
    marker_key: [u8; 32],
    pool: Pool,
}

impl Extract {
    /// # Errors
    /// When a profile cannot work.
    pub fn new(config: &Config, client: OpenAi, metrics: Metrics, marker_key: [u8; 32]) -> Result<Self, ConfigError> {
        for (name, profile) in &config.profiles {
            let wrong = |member, problem| ConfigError { name: name.clone(), member, problem };
            if let Some(schema) = &profile.schema {
                Shape::new(schema).map_err(|problem| wrong("schema", problem.trim_start_matches("`schema` ").to_owned()))?;
            }
            let cap = profile.max_output_tokens.unwrap_or(1);
            if !(1..=config.output_ceiling).contains(&cap) {
                return Err(wrong("max_output_tokens", format!("must be 1 to {} (output_ceiling)", config.output_ceiling)));
            }
        }
        Ok(Self { config: Arc::new(config.clone()), client, metrics, marker_key, pool: Pool::new(KIND) })
    }

    async fn extract(&self, run: &Run<'_>) -> Result<Outcome, Early> {
        let (config, job) = (Arc::clone(&self.config), run.job.clone());
        let question = self.pool.run(move || Question::read(&config, &job)).await??;
        Ok(Talk::new(self, run, &question).until_it_fits().await)
    }
}

impl Extract {
    /// The model in metrics: one that the configuration names, or `other`. Payloads name what they like, and every name
    /// would be a time series for ever.
    fn label(&self, asked: Option<&str>) -> &str {
        let asked = self.client.model(asked);
        let mut configured = self.config.profiles.values().filter_map(|profile| profile.model.as_deref());
        let default = self.client.model(None);
        if asked == default { default } else { configured.find(|model| *model == asked).unwrap_or("other") }
    }
}

impl Question {
    /// The job's payload, checked: everything about it that computes.
    fn read(config: &Config, job: &LeasedJob) -> Result<Self, Early> {
        let question = Self::new(config, run::payload(job)?).map_err(|sentence| bad_payload(&sentence))?;
        question.fits(config)?;
        Ok(question)
    }

    fn new(config: &Config, payload: Payload<'_>) -> Result<Self, String> {
        let profile = match &payload.profile {
            None => Profile::default(),
            Some(name) => {
                let known = config.profiles.get(name).cloned();
                known.ok_or_else(|| format!("no profile `{name}` is configured; add it to workers.extract.profiles or leave it out"))?
            }
        };
        let text = hygiene::clean(&payload.text);
        if text.trim().is_empty() {
            return Err("`text` is empty; there is nothing to extract".into());
        }
        let own = payload.schema.map(ToOwned::to_owned);
        let schema =
            own.or_else(|| RawValue::from_string(profile.schema?).ok()).ok_or("`schema` is required: the JSON Schema of the answer")?;
        let max_output_tokens = payload.max_output_tokens.or(profile.max_output_tokens).unwrap_or(config.max_output_tokens);
        if !(1..=config.output_ceiling).contains(&max_output_tokens) {
            return Err(format!("`max_output_tokens` must be 1 to {}", config.output_ceiling));
        }
        Ok(Self {
            text,
            shape: Arc::new(Shape::new(schema.get())?),
            schema,
            instructions: payload.instructions.or(profile.instructions).map(|words| hygiene::clean(&words)),
            model: payload.model.or(profile.model),
            max_output_tokens,
        })
    }

    fn fits(&self, config: &Config) -> Result<(), Early> {
        let too_long = |what: String| Box::new(Outcome::reject("input_too_long", what));
        let parts = [self.text.as_str(), self.instructions.as_deref().unwrap_or_default(), self.schema.get()];
        let (bytes, most) = (parts.iter().map(|part| part.len()).sum::<usize>(), config.max_input_bytes);
        if bytes > most {
            return Err(too_long(format!("the input is {bytes} bytes, the limit is {most}; split the text into several jobs")));
        }
        let most = config.max_input_tokens;
        size::at_most(&parts.join("\n"), most).map_err(|tokens| {
            too_long(format!("the input is about {tokens} tokens, the limit is {most}; split the text into several jobs"))
        })
    }
}

#[async_trait]
impl Worker for Extract {
    async fn run(&self, job: &LeasedJob, context: &Context) -> Outcome {
        self.extract(&Run::begin(job, context)).await.unwrap_or_else(|early| *early)
    }
}
