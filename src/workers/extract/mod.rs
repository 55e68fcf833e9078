//! `ai.extract`: text and a JSON Schema in, validated JSON out, over any OpenAI-compatible server. At most three answers are
//! paid for in one run: a cut one, the whole one, and one repair of an answer that does not fit.

mod answer;
mod hygiene;
mod prompt;
mod size;

use super::run::{Early, Run, bad_payload};
use crate::{
    clients::{
        ProviderError, measured,
        openai::{Completion, End, Message, OpenAi, Prompt},
    },
    engine::worker::{Context, Outcome, Worker},
    job::{LeasedJob, Usage},
    telemetry::Metrics,
};
use async_trait::async_trait;
use jsonschema::Validator;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use std::{borrow::Cow, collections::BTreeMap};

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

/// The job's result.
#[derive(Serialize)]
struct Extracted<'a> {
    data: &'a Value,
    provider: &'a str,
    model: &'a str,
    prompt_version: u32,
    input_tokens: u64,
    output_tokens: u64,
    /// Answers that were paid for.
    calls: usize,
    /// The first answer did not fit and a second one did.
    repaired: bool,
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
        let mut talk = Talk::new(self, run, &question);
        let outcome = talk.until_it_fits().await;
        Ok(Outcome { usage: talk.usage, ..outcome })
    }
}

/// One run's conversation with the model, and what it has cost so far.
struct Talk<'a> {
    extract: &'a Extract,
    run: &'a Run<'a>,
    question: &'a Question,
    tag: String,
    messages: Vec<Message>,
    max_output_tokens: u32,
    repaired: bool,
    usage: Vec<Usage>,
}

impl<'a> Talk<'a> {
    fn new(extract: &'a Extract, run: &'a Run<'a>, question: &'a Question) -> Self {
        let tag = prompt::tag(&extract.marker_key, run.job.id, run.job.attempt);
        let schema = (!extract.client.takes_schema()).then_some(&*question.schema);
        let messages = prompt::messages(&tag, question.instructions.as_deref(), &question.text, schema);
        let max_output_tokens = question.max_output_tokens;
        Self { extract, run, question, tag, messages, max_output_tokens, repaired: false, usage: Vec::new() }
    }

    async fn until_it_fits(&mut self) -> Outcome {
        loop {
            let completion = match self.ask().await {
                Ok(completion) => completion,
                Err(error) => return *self.run.failed(error),
            };
            let ceiling = self.extract.config.output_ceiling;
            match completion.end {
                End::Text(text) => match answer::read(&text, &self.question.validator, &self.tag) {
                    Ok(data) => return self.extracted(&data, &completion.model),
                    Err(problem) if self.repaired => {
                        return Outcome::reject("invalid_answer", format!("the model's answer does not fit: {problem}"));
                    }
                    Err(problem) => {
                        self.messages.extend(prompt::repair(&text, &problem));
                        self.repaired = true;
                    }
                },
                End::Truncated if self.max_output_tokens < ceiling => self.max_output_tokens = ceiling,
                End::Truncated => {
                    return Outcome::reject("output_truncated", format!("the answer did not fit into {ceiling} tokens; ask for less"));
                }
                End::Refused(words) => return Outcome::reject("model_refused", format!("the model declined: {words}")),
                End::Filtered => return Outcome::reject("content_filtered", "the provider's content filter withheld the answer"),
            }
            // Another answer costs money; nobody wants it any more.
            if self.run.context.cancelled.is_cancelled() {
                return Outcome::retry("interrupted", "the run was stopped before the answer could be repaired");
            }
        }
    }

    async fn ask(&mut self) -> Result<Completion, ProviderError> {
        let client = &self.extract.client;
        let request_id = format!("{}/{}/{}", self.run.job.id, self.run.job.attempt, self.usage.len() + 1);
        let prompt = Prompt {
            model: self.question.model.as_deref(),
            messages: &self.messages,
            schema: &self.question.schema,
            max_output_tokens: self.max_output_tokens,
            request_id: &request_id,
        };
        let said = measured(&self.extract.metrics, client.name(), KIND, client.complete(prompt)).await;
        match &said {
            Ok(completion) => self.book(completion),
            // The question may have been answered and billed; nobody knows.
            Err(error) if error.unanswered => {
                let model = client.model(self.question.model.as_deref()).to_owned();
                self.usage.push(self.estimate(model, 0));
            }
            Err(_) => {}
        }
        said
    }

    fn book(&mut self, completion: &Completion) {
        let usage = match completion.tokens {
            Some(tokens) => Usage {
                provider: self.extract.client.name().to_owned(),
                model: completion.model.clone(),
                input_tokens: tokens.input,
                cached_tokens: tokens.cached,
                output_tokens: tokens.output,
                cost_micros: tokens.cost_micros,
                estimated: false,
            },
            None => {
                let said = if let End::Text(text) = &completion.end { text.len() } else { 0 };
                self.estimate(completion.model.clone(), size::estimated(said))
            }
        };
        let metrics = &self.extract.metrics;
        for (direction, tokens) in [("input", usage.input_tokens), ("cached", usage.cached_tokens), ("output", usage.output_tokens)] {
            metrics.ai_tokens.with_label_values(&[usage.provider.as_str(), usage.model.as_str(), direction]).inc_by(tokens);
        }
        if let Some(micros) = usage.cost_micros {
            metrics.ai_cost_micros.with_label_values(&[usage.provider.as_str(), usage.model.as_str()]).inc_by(micros);
        }
        self.usage.push(usage);
    }

    fn estimate(&self, model: String, output_tokens: u64) -> Usage {
        let bytes = self.messages.iter().map(|message| message.content.len()).sum();
        Usage {
            provider: self.extract.client.name().to_owned(),
            model,
            input_tokens: size::estimated(bytes),
            cached_tokens: 0,
            output_tokens,
            cost_micros: None,
            estimated: true,
        }
    }

    fn extracted(&self, data: &Value, model: &str) -> Outcome {
        let sum = |of: fn(&Usage) -> u64| self.usage.iter().map(of).sum();
        Outcome::complete_with(&Extracted {
            data,
            provider: self.extract.client.name(),
            model,
            prompt_version: prompt::VERSION,
            input_tokens: sum(|usage| usage.input_tokens),
            output_tokens: sum(|usage| usage.output_tokens),
            calls: self.usage.len(),
            repaired: self.repaired,
        })
    }
}

#[async_trait]
impl Worker for Extract {
    async fn run(&self, job: &LeasedJob, context: &Context) -> Outcome {
        self.extract(&Run::begin(job, context)).await.unwrap_or_else(|early| *early)
    }
}
