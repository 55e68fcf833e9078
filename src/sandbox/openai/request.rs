//! A request to complete a chat: what must be there, what form the answer is to have, and where among the messages the
//! text is that is to be read.

use super::{ApiError, strict, tokens};
use crate::sandbox::Config;
use serde_json::{Value, json};

/// The form of the answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    Text,
    Object,
    Schema(Value),
    /// A call of the function `name` with arguments by `schema`.
    Tool {
        name: String,
        schema: Value,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub model: String,
    /// The text to read, freed of the markers around it.
    pub data: String,
    pub form: Form,
    pub max_tokens: Option<u64>,
    pub input_tokens: u64,
}

struct Turn {
    role: String,
    text: String,
}

impl Request {
    pub(super) fn read(body: &[u8], config: &Config) -> Result<Self, ApiError> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| ApiError::invalid("body", format!("We could not parse the JSON body of your request: {error}.")))?;
        let model = value["model"]
            .as_str()
            .filter(|model| !model.is_empty())
            .ok_or_else(|| ApiError::invalid("model", "you must provide a model parameter"))?;
        if !config.openai_models.is_empty() && !config.openai_models.iter().any(|known| known == model) {
            return Err(ApiError::coded(404, "invalid_request_error", "model_not_found", format!("The model `{model}` does not exist.")));
        }
        if value["stream"] == true || value["n"].as_u64().is_some_and(|n| n != 1) {
            return Err(ApiError::invalid("stream", "this server answers whole and once: leave `stream` and `n` out"));
        }
        let turns = turns(&value["messages"])?;
        let max_tokens = max_tokens(&value)?;
        let form = form(&value, &turns, config)?;
        let input_tokens = turns.iter().map(|turn| tokens::count(&turn.text) + tokens::MESSAGE).sum::<u64>() + form.input_tokens();
        if input_tokens + max_tokens.unwrap_or(0) > config.openai_context_tokens {
            let limit = config.openai_context_tokens;
            let message =
                format!("This model's maximum context length is {limit} tokens; your messages resulted in {input_tokens} tokens.");
            return Err(ApiError {
                param: Some("messages"),
                ..ApiError::coded(400, "invalid_request_error", "context_length_exceeded", message)
            });
        }
        Ok(Self { model: model.to_owned(), data: data(&turns), form, max_tokens, input_tokens })
    }
}

impl Form {
    fn input_tokens(&self) -> u64 {
        match self {
            Self::Text | Self::Object => 0,
            Self::Schema(schema) | Self::Tool { schema, .. } => tokens::count(&schema.to_string()),
        }
    }
}

fn turns(messages: &Value) -> Result<Vec<Turn>, ApiError> {
    let messages = messages.as_array().filter(|messages| !messages.is_empty());
    let messages = messages.ok_or_else(|| ApiError::invalid("messages", "'messages' must be an array with at least one message"))?;
    messages.iter().map(turn).collect()
}

fn turn(message: &Value) -> Result<Turn, ApiError> {
    let role = message["role"].as_str().filter(|role| ["system", "developer", "user", "assistant", "tool"].contains(role));
    let role =
        role.ok_or_else(|| ApiError::invalid("messages", "each message must have a role of system, developer, user, assistant or tool"))?;
    let text = match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n"),
        Value::Null if role == "assistant" => String::new(),
        _ => return Err(ApiError::invalid("messages", "each message must have a content of text")),
    };
    Ok(Turn { role: role.to_owned(), text })
}

fn max_tokens(value: &Value) -> Result<Option<u64>, ApiError> {
    for member in ["max_completion_tokens", "max_tokens"] {
        match &value[member] {
            Value::Null => {}
            number => {
                let wrong = || ApiError::invalid("max_completion_tokens", format!("'{member}' must be an integer of at least 1"));
                return number.as_u64().filter(|&n| n >= 1).map(Some).ok_or_else(wrong);
            }
        }
    }
    Ok(None)
}

fn form(value: &Value, turns: &[Turn], config: &Config) -> Result<Form, ApiError> {
    let format = &value["response_format"];
    match format["type"].as_str() {
        Some("json_schema") => json_schema(&format["json_schema"], config).map(Form::Schema),
        // Where the server cannot be given a schema, clients put it into the prompt.
        Some("json_object") => Ok(schema_in_prompt(turns).map_or(Form::Object, Form::Schema)),
        Some("text") | None if format.is_null() || format["type"] == "text" => {
            Ok(tool(value).or_else(|| schema_in_prompt(turns).map(Form::Schema)).unwrap_or(Form::Text))
        }
        _ => Err(ApiError::invalid("response_format", "'response_format.type' must be text, json_object or json_schema")),
    }
}

fn json_schema(wanted: &Value, config: &Config) -> Result<Value, ApiError> {
    let invalid = |message: String| ApiError::invalid("response_format", message);
    let is_name = |name: &&str| (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if wanted["name"].as_str().filter(is_name).is_none() {
        return Err(invalid("'response_format.json_schema.name' must match [A-Za-z0-9_-]{1,64}".to_owned()));
    }
    let schema = match &wanted["schema"] {
        Value::Null => json!({"type": "object"}),
        schema @ (Value::Object(_) | Value::Bool(_)) => schema.clone(),
        _ => return Err(invalid("'response_format.json_schema.schema' must be a JSON Schema object".to_owned())),
    };
    if let Err(error) = jsonschema::validator_for(&schema) {
        return Err(invalid(format!("Invalid schema for response_format: {error}")));
    }
    if wanted["strict"] == true && config.openai_strict_subset {
        strict::check(&schema).map_err(|why| invalid(format!("Invalid schema for response_format: {why}")))?;
    }
    Ok(schema)
}

/// The function that `tool_choice` names, or the only one there is.
fn tool(value: &Value) -> Option<Form> {
    let tools = value["tools"].as_array()?;
    let chosen = value["tool_choice"]["function"]["name"].as_str();
    let function = |tool: &Value| tool.get("function").cloned();
    let function = match chosen {
        Some(name) => tools.iter().filter_map(function).find(|function| function["name"] == name)?,
        None if value["tool_choice"] == "none" => return None,
        None => tools.iter().find_map(function)?,
    };
    let schema = function.get("parameters").cloned().unwrap_or(json!({"type": "object"}));
    Some(Form::Tool { name: function["name"].as_str()?.to_owned(), schema })
}

/// A JSON Schema among the instructions: the first object there that has `type` or `properties`.
fn schema_in_prompt(turns: &[Turn]) -> Option<Value> {
    let instructions = turns.iter().filter(|turn| turn.role == "system" || turn.role == "developer");
    instructions.flat_map(|turn| turn.text.match_indices('{').map(|(at, _)| &turn.text[at..]).collect::<Vec<_>>()).take(64).find_map(
        |from| {
            let first = serde_json::Deserializer::from_str(from).into_iter::<Value>().next()?.ok()?;
            let is_schema = first.get("properties").is_some_and(Value::is_object)
                || first["type"].as_str().is_some_and(|kind| kind == "array" || kind == "object");
            (is_schema && jsonschema::validator_for(&first).is_ok()).then_some(first)
        },
    )
}

/// The text to read: between markers in the last user message that has them, else the last user message before the
/// model's first answer (what comes after speaks of that answer).
fn data(turns: &[Turn]) -> String {
    let users = || turns.iter().filter(|turn| turn.role == "user");
    if let Some(marked) = users().rev().find_map(|turn| between_markers(&turn.text)) {
        return marked;
    }
    let first_answer = turns.iter().position(|turn| turn.role == "assistant").unwrap_or(turns.len());
    let before = turns[..first_answer].iter().rev().find(|turn| turn.role == "user");
    before.or_else(|| users().next_back()).map_or(String::new(), |turn| turn.text.trim().to_owned())
}

/// What stands between two markers that carry the same random word: `<<<DATA 7f3a>>> … <<<END 7f3a>>>`,
/// `=== BEGIN 7f3a ===`, `[data-7f3a] … [/data-7f3a]`.
fn between_markers(text: &str) -> Option<String> {
    let nonces = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| is_random(word));
    nonces.take(32).find_map(|nonce| {
        let mut places = text.match_indices(nonce).map(|(at, _)| at);
        let (first, last) = (places.next()?, places.last()?);
        marker_start(&text[..first])?;
        let open_end = first + nonce.len() + marker_tail(&text[first + nonce.len()..]);
        let close_start = marker_start(&text[..last])?;
        (open_end <= close_start).then(|| text[open_end..close_start].trim().to_owned())
    })
}

/// Four or more letters and digits, with a digit among them and nothing but hex or mixed case: not a word of a language.
fn is_random(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let hex = word.bytes().all(|b| b.is_ascii_hexdigit());
    (4..=64).contains(&word.len()) && (hex && digits < word.len() && digits > 0 || word.len() >= 16 && digits > 0 || hex && word.len() >= 8)
}

const MARKS: &[char] = &['<', '>', '[', ']', '=', '-', '#', '/', '*', '_', '~', '"', '`', ':', '|'];

/// How much of `rest`, the text behind the random word, still belongs to the marker.
fn marker_tail(rest: &str) -> usize {
    let marks = rest.len() - rest.trim_start_matches(|c: char| c == ' ' || MARKS.contains(&c)).len();
    rest[..marks].rfind(MARKS).map_or(0, |at| at + 1)
}

/// Where the marker begins whose random word follows `before`: back over its words, to its outermost marks. Nothing
/// when there are none: then it is a word like any other.
fn marker_start(before: &str) -> Option<usize> {
    let line = before.rfind('\n').map_or(0, |at| at + 1);
    let words = before[line..].trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == ' ' || c == '_' || c == '-' || c == '/');
    let text = words.trim_end_matches(MARKS);
    let marks = &words[text.len()..];
    (marks.len() >= 2 || marks == "[" || marks == "<").then_some(line + text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &Value) -> Result<Request, ApiError> {
        Request::read(value.to_string().as_bytes(), &Config::default())
    }

    #[test]
    fn the_text_is_found_between_its_markers() {
        let texts = [
            "<<<DATA 7f3a>>> Week 1: cells <<<END 7f3a>>>",
            "Read this.\n<<<DATA 7f3a>>>\nWeek 1: cells\n<<<END 7f3a>>>\nThanks.",
            "=== BEGIN 9b1c44e0 ===\nWeek 1: cells\n=== END 9b1c44e0 ===",
            "[data-01ab23cd]\nWeek 1: cells\n[/data-01ab23cd]",
            "Week 1: cells",
        ];
        for text in texts {
            let request = read(&json!({"model": "m", "messages": [{"role": "user", "content": text}]})).unwrap();
            assert_eq!(request.data, "Week 1: cells", "{text}");
        }
    }

    #[test]
    fn words_of_the_text_are_not_taken_for_markers() {
        let text = "Room 12b4 opens at 9.\nBook room 12b4 today.";
        let request = read(&json!({"model": "m", "messages": [{"role": "user", "content": text}]})).unwrap();
        assert_eq!(request.data, text);
    }

    #[test]
    fn a_repair_turn_still_reads_the_text_and_not_the_complaint() {
        let complaint = json!({"role": "user", "content": "Your answer was invalid: /weeks is missing. Answer again."});
        for text in ["<<<DATA 7f3a>>>\nWeek 1: cells\n<<<END 7f3a>>>", "Week 1: cells"] {
            let messages = json!([{"role": "system", "content": "Extract."}, {"role": "user", "content": text}, {"role": "assistant", "content": "{}"}, complaint]);
            assert_eq!(read(&json!({"model": "m", "messages": messages})).unwrap().data, "Week 1: cells");
        }
    }

    #[test]
    fn malformed_requests_are_refused_by_the_member_that_is_wrong() {
        let ok = json!([{"role": "user", "content": "x"}]);
        let wrong = [
            (json!([]), "model"),
            (json!({"messages": ok}), "model"),
            (json!({"model": "m", "messages": []}), "messages"),
            (json!({"model": "m", "messages": [{"role": "robot", "content": "x"}]}), "messages"),
            (json!({"model": "m", "messages": [{"role": "user", "content": 5}]}), "messages"),
            (json!({"model": "m", "messages": ok, "max_completion_tokens": 0}), "max_completion_tokens"),
            (json!({"model": "m", "messages": ok, "response_format": {"type": "yaml"}}), "response_format"),
            (
                json!({"model": "m", "messages": ok, "response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}}),
                "response_format",
            ),
            (
                json!({"model": "m", "messages": ok, "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": 5}}}}),
                "response_format",
            ),
            (json!({"model": "m", "messages": ok, "stream": true}), "stream"),
        ];
        for (request, param) in wrong {
            let error = read(&request).unwrap_err();
            assert_eq!((error.status, error.param), (400, Some(param)), "{request}");
        }
        assert_eq!(Request::read(b"{", &Config::default()).unwrap_err().status, 400);
    }

    #[test]
    fn a_schema_in_the_prompt_or_in_a_tool_is_the_form_of_the_answer() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        let system = json!({"role": "system", "content": format!("Answer as JSON {{like this}} by {schema}.")});
        let user = json!({"role": "user", "content": "x"});
        let prompt = read(&json!({"model": "m", "messages": [system, user], "response_format": {"type": "json_object"}})).unwrap();
        assert_eq!(prompt.form, Form::Schema(schema.clone()));
        let tools = json!([{"type": "function", "function": {"name": "emit", "parameters": schema}}]);
        let tool = read(&json!({"model": "m", "messages": [user], "tools": tools})).unwrap();
        assert_eq!(tool.form, Form::Tool { name: "emit".into(), schema });
    }
}
