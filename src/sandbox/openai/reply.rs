//! The completion: content, finish reason and token counts, and the ways in which a model's answer can be wrong.

use super::{
    content,
    request::{Form, Request},
    tokens,
};
use crate::{job::Timestamp, sandbox::Fault};
use serde_json::{Value, json};

/// Tokens as billed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub input: u64,
    pub output: u64,
}

#[derive(Debug)]
pub(super) struct Reply {
    model: String,
    message: Value,
    finish_reason: &'static str,
    pub usage: Usage,
    shows_usage: bool,
}

const REFUSAL: &str = "I'm sorry, but I can't help with that request.";

impl Reply {
    /// The answer to `request`, made wrong in the way of `fault`. `year` completes dates that have none.
    pub(super) fn to(request: &Request, fault: Option<&Fault>, year: i32) -> Self {
        let full = match fault {
            Some(Fault::Refusal) => REFUSAL.to_owned(),
            Some(Fault::WrongJson) => format!("Sure! Here is what I found: {}", content(request, year).trim_end_matches('}')),
            Some(Fault::Mismatch) => mismatch(&request.form).to_string(),
            _ => content(request, year),
        };
        let asked = request.max_tokens.unwrap_or(u64::MAX);
        let cap = if fault == Some(&Fault::Length) { asked.min(tokens::count(&full) / 2) } else { asked };
        let text = tokens::cut(&full, cap);
        let cut = text.len() < full.len();
        let usage = Usage { input: request.input_tokens, output: tokens::count(text) };
        let is_tool = matches!(request.form, Form::Tool { .. });
        let finish_reason = match (cut, is_tool) {
            (true, _) => "length",
            (_, true) => "tool_calls",
            _ => "stop",
        };
        let message = message(request, fault, text);
        Self { model: request.model.clone(), message, finish_reason, usage, shows_usage: fault != Some(&Fault::NoUsage) }
    }

    pub(super) fn body(&self, id: &str, now: Timestamp) -> Value {
        let mut body = json!({
            "id": id,
            "object": "chat.completion",
            "created": now.millis() / 1000,
            "model": self.model,
            "choices": [{"index": 0, "finish_reason": self.finish_reason, "message": self.message}],
        });
        if self.shows_usage {
            let Usage { input, output } = self.usage;
            body["usage"] = json!({
                "prompt_tokens": input,
                "completion_tokens": output,
                "total_tokens": input + output,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0},
            });
        }
        body
    }
}

/// JSON that the schema does not accept, the most likely kind first; some schemas accept anything.
fn mismatch(form: &Form) -> Value {
    let wrong = json!({"unexpected": "members"});
    let (Form::Schema(schema) | Form::Tool { schema, .. }) = form else { return wrong };
    let candidates = [wrong.clone(), json!([]), json!("unexpected"), json!(null)];
    candidates.into_iter().find(|candidate| !jsonschema::is_valid(schema, candidate)).unwrap_or(wrong)
}

fn message(request: &Request, fault: Option<&Fault>, text: &str) -> Value {
    if fault == Some(&Fault::Refusal) {
        return json!({"role": "assistant", "content": null, "refusal": text});
    }
    if let Form::Tool { name, .. } = &request.form {
        let call = json!({"id": "call_1", "type": "function", "function": {"name": name, "arguments": text}});
        return json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": [call]});
    }
    json!({"role": "assistant", "content": text, "refusal": null})
}
