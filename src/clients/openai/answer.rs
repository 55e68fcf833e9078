//! What an OpenAI-compatible server answers, read leniently: compatible servers leave out what OpenAI always sends.

use super::errors;
use crate::{
    clients::{ProviderError, http::Answer, micros},
    job::ErrorClass,
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// One answer, billed whatever its end.
#[derive(Clone, Debug)]
pub struct Completion {
    pub end: End,
    /// The model that answered, which may have a longer name than the one asked.
    pub model: String,
    /// None: the server reported nothing believable.
    pub tokens: Option<Tokens>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The model finished; empty when it said nothing.
    Text(String),
    /// The output cap cut it.
    Truncated,
    /// The model declined, with its words.
    Refused(String),
    /// The provider's filter withheld the answer.
    Filtered,
}

/// As reported. `output` includes reasoning, `input` includes cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    pub input: u64,
    pub cached: u64,
    pub output: u64,
    /// Some gateways name the price.
    pub cost_micros: Option<u64>,
}

impl Tokens {
    /// A report beyond this is a fault of the server, and no ledger should believe it.
    const MOST: u64 = 1_000_000_000;

    fn read(usage: &RawValue) -> Option<Self> {
        #[derive(Deserialize)]
        struct Usage<'a> {
            prompt_tokens: u64,
            completion_tokens: u64,
            prompt_tokens_details: Option<Details>,
            #[serde(borrow)]
            cost: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        struct Details {
            cached_tokens: Option<u64>,
        }
        let usage: Usage<'_> = serde_json::from_str(usage.get()).ok()?;
        let cached = usage.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0);
        let (input, output) = (usage.prompt_tokens, usage.completion_tokens);
        (input <= Self::MOST && output <= Self::MOST).then(|| Self {
            input,
            cached: cached.min(input),
            output,
            cost_micros: usage.cost.and_then(|cost| micros::of(cost.get())),
        })
    }
}

/// A 2xx answer; `asked` is the model that stands in for a missing name.
pub(super) fn read(answer: &Answer, asked: &str) -> Result<Completion, ProviderError> {
    let bad = |what: &str| ProviderError::new(ErrorClass::Retry, "bad_response", format!("the provider's answer {what}"));
    let body: Body<'_> = serde_json::from_slice(&answer.body).map_err(|_| bad("is not a chat completion"))?;
    if let Some(error) = body.error.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok()) {
        return Err(errors::in_success(&error, answer));
    }
    let choice = body.choices.unwrap_or_default().into_iter().next().ok_or_else(|| bad("holds no choices"))?;
    let model = body.model.unwrap_or_else(|| asked.to_owned());
    Ok(Completion { end: choice.end(), model, tokens: body.usage.and_then(Tokens::read) })
}

#[derive(Deserialize)]
struct Body<'a> {
    model: Option<String>,
    choices: Option<Vec<Choice>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice {
    finish_reason: Option<String>,
    message: Option<Said>,
}

#[derive(Default, Deserialize)]
struct Said {
    content: Option<Content>,
    refusal: Option<String>,
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
}

#[derive(Deserialize)]
struct ToolCall {
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    arguments: String,
}

impl Choice {
    fn end(self) -> End {
        let message = self.message.unwrap_or_default();
        if let Some(words) = message.refusal.filter(|words| !words.is_empty()) {
            return End::Refused(words);
        }
        match self.finish_reason.as_deref() {
            Some("length") => return End::Truncated,
            Some("content_filter") => return End::Filtered,
            _ => {}
        }
        let arguments = message.tool_calls.and_then(|calls| calls.into_iter().next()).map(|call| call.function.arguments);
        let text = match message.content {
            Some(Content::Text(text)) => Some(text),
            Some(Content::Parts(parts)) => Some(parts.into_iter().filter_map(|part| part.text).collect()),
            None => None,
        };
        End::Text(text.filter(|text| !text.is_empty()).or(arguments).unwrap_or_default())
    }
}
