//! The conversation of one run: ask, check, perhaps once more with the whole output cap, perhaps once more with the problem
//! named; and the bill for all of it.

use super::{Extract, KIND, Question, prompt, size};
use crate::{
    clients::{
        ProviderError, measured,
        openai::{Completion, End, Message, Prompt},
    },
    engine::worker::Outcome,
    job::Usage,
    workers::run::{Early, Run},
};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

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

/// One run's conversation with the model, and what it has cost so far.
pub(super) struct Talk<'a> {
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
    pub fn new(extract: &'a Extract, run: &'a Run<'a>, question: &'a Question) -> Self {
        let tag = prompt::tag(&extract.marker_key, run.job.id, run.job.attempt);
        let schema = (!extract.client.takes_schema()).then_some(&*question.schema);
        let messages = prompt::messages(&tag, question.instructions.as_deref(), &question.text, schema);
        let max_output_tokens = question.max_output_tokens;
        Self { extract, run, question, tag, messages, max_output_tokens, repaired: false, usage: Vec::new() }
    }

    /// The run's end, with everything it cost, whatever the end is.
    pub async fn until_it_fits(mut self) -> Outcome {
        let outcome = self.converse().await;
        Outcome { usage: self.usage, ..outcome }
    }

    async fn converse(&mut self) -> Outcome {
        loop {
            let completion = match self.ask().await {
                Ok(completion) => completion,
                Err(error) => return *self.run.failed(error),
            };
            let ceiling = self.extract.config.output_ceiling;
            match completion.end {
                End::Text(text) => match self.read(text).await {
                    Err(early) => return *early,
                    Ok((_, Ok(data))) => return self.extracted(&data, &completion.model),
                    Ok((_, Err(problem))) if self.repaired => {
                        return Outcome::reject("invalid_answer", format!("the model's answer does not fit: {problem}"));
                    }
                    Ok((text, Err(problem))) => {
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

    /// The answer's text again, and what it says or what is wrong with it.
    async fn read(&self, text: String) -> Result<(String, Result<Value, String>), Early> {
        let (shape, tag) = (Arc::clone(&self.question.shape), self.tag.clone());
        let read = move || {
            let data = shape.read(&text, &tag);
            (text, data)
        };
        self.extract.pool.run(read).await
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
        self.count(&usage);
        self.usage.push(usage);
    }

    fn count(&self, usage: &Usage) {
        let (metrics, provider) = (&self.extract.metrics, usage.provider.as_str());
        let model = self.extract.label(self.question.model.as_deref());
        for (direction, tokens) in [("input", usage.input_tokens), ("cached", usage.cached_tokens), ("output", usage.output_tokens)] {
            metrics.ai_tokens.with_label_values(&[provider, model, direction]).inc_by(tokens);
        }
        metrics.ai_cost_micros.with_label_values(&[provider, model]).inc_by(usage.cost_micros.unwrap_or(0));
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
