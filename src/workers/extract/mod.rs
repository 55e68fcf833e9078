//! `ai.extract`: text and a JSON Schema in, validated JSON out, over any OpenAI-compatible server. At most three answers are
//! paid for in one run: a cut one, the whole one, and one repair of an answer that does not fit.

mod answer;
mod hygiene;
mod prompt;
mod size;
mod talk;

use super::run::{Early, Run, bad_payload};
use crate::{
    clients::openai::OpenAi,
    engine::worker::{Context, Outcome, Worker},
    job::LeasedJob,
    telemetry::Metrics,
};
use async_trait::async_trait;
use jsonschema::Validator;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::{borrow::Cow, collections::BTreeMap};
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
    validator: Validator,
    instructions: Option<String>,
    model: Option<String>,
    max_output_tokens: u32,
}

#[derive(Debug)]
pub struct Extract {
    config: Config,
    client: OpenAi,
    metrics: Metrics,
    marker_key: [u8; 32],
}

impl Extract {
    /// # Errors
    /// When a profile cannot work.
    pub fn new(config: &Config, client: OpenAi, metrics: Metrics, marker_key: [u8; 32]) -> Result<Self, ConfigError> {
        for (name, profile) in &config.profiles {
            let wrong = |member, problem| ConfigError { name: name.clone(), member, problem };
            if let Some(schema) = &profile.schema {
                let schema = serde_json::from_str(schema).map_err(|e| wrong("schema", format!("is not JSON: {e}")))?;
                answer::compile(&schema).map_err(|problem| wrong("schema", problem))?;
            }
            let cap = profile.max_output_tokens.unwrap_or(1);
            if !(1..=config.output_ceiling).contains(&cap) {
                return Err(wrong("max_output_tokens", format!("must be 1 to {} (output_ceiling)", config.output_ceiling)));
            }
        }
        Ok(Self { config: config.clone(), client, metrics, marker_key })
    }

    fn question(&self, payload: Payload<'_>) -> Result<Question, String> {
        let profile = match &payload.profile {
            None => Profile::default(),
            Some(name) => {
                let known = self.config.profiles.get(name).cloned();
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
        let parsed: Value = serde_json::from_str(schema.get()).map_err(|e| format!("`schema` is not JSON: {e}"))?;
        let max_output_tokens = payload.max_output_tokens.or(profile.max_output_tokens).unwrap_or(self.config.max_output_tokens);
        if !(1..=self.config.output_ceiling).contains(&max_output_tokens) {
            return Err(format!("`max_output_tokens` must be 1 to {}", self.config.output_ceiling));
        }
        Ok(Question {
            text,
            validator: answer::compile(&parsed)?,
            schema,
            instructions: payload.instructions.or(profile.instructions).map(|words| hygiene::clean(&words)),
            model: payload.model.or(profile.model),
            max_output_tokens,
        })
    }

    async fn fits(&self, question: &Question) -> Result<(), Early> {
        let too_long = |what: String| Box::new(Outcome::reject("input_too_long", what));
        let parts = [question.text.as_str(), question.instructions.as_deref().unwrap_or_default(), question.schema.get()];
        let (bytes, most) = (parts.iter().map(|part| part.len()).sum::<usize>(), self.config.max_input_bytes);
        if bytes > most {
            return Err(too_long(format!("the input is {bytes} bytes, the limit is {most}; split the text into several jobs")));
        }
        let most = self.config.max_input_tokens;
        size::at_most(&parts.join("\n"), most).await.map_err(|tokens| {
            too_long(format!("the input is about {tokens} tokens, the limit is {most}; split the text into several jobs"))
        })
    }

    async fn extract(&self, run: &Run<'_>) -> Result<Outcome, Early> {
        let question = self.question(run.payload()?).map_err(|sentence| bad_payload(&sentence))?;
        self.fits(&question).await?;
        Ok(Talk::new(self, run, &question).until_it_fits().await)
    }
}

#[async_trait]
impl Worker for Extract {
    async fn run(&self, job: &LeasedJob, context: &Context) -> Outcome {
        self.extract(&Run::begin(job, context)).await.unwrap_or_else(|early| *early)
    }
}
