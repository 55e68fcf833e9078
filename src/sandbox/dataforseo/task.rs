//! One task as it is sent: the array of one, the members it may have, and which of them make it refused.

use super::{Status, places};
use serde_json::Value;

const KNOWN_MEMBERS: [&str; 22] = [
    "keyword",
    "location_code",
    "location_name",
    "location_coordinate",
    "language_code",
    "language_name",
    "device",
    "os",
    "depth",
    "max_crawl_pages",
    "se_domain",
    "target",
    "stop_crawl_on_match",
    "people_also_ask_click_depth",
    "load_async_ai_overview",
    "group_organic_results",
    "calculate_rectangles",
    "search_param",
    "remove_from_url",
    "url",
    "tag",
    "browser_preset",
];
const KEYWORD_CHARS: usize = 700;
const TAG_CHARS: usize = 255;
/// The deepest that a live call goes.
const DEPTH: u64 = 200;
/// Ten results, live, in millionths of a dollar.
const PAGE_MICROS: u64 = 2_000;

/// A task that will be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Task {
    /// Decoded: `%xx` and `+` mean what they mean in a URL.
    pub keyword: String,
    pub location_code: u64,
    pub language_code: String,
    pub device: String,
    pub depth: u64,
    pub se_domain: String,
}

/// The one task of the array that a live call must be.
pub(super) fn read(body: &[u8]) -> Result<Value, Status> {
    if body.is_empty() {
        return Err(Status::new(40_502, "POST Data Is Empty."));
    }
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return Err(Status::new(40_503, "POST Data Is Invalid.")) };
    let Value::Array(mut tasks) = value else { return Err(Status::new(40_503, "POST Data Is Invalid.")) };
    match (tasks.len(), tasks.pop()) {
        (0, _) => Err(Status::new(40_502, "POST Data Is Empty.")),
        (1, Some(task)) if task.is_object() => Ok(task),
        (1, _) => Err(Status::new(40_503, "POST Data Is Invalid.")),
        _ => Err(Status::new(40_000, "You can set only one task at a time.")),
    }
}

impl Task {
    pub(super) fn check(data: &Value) -> Result<Self, Status> {
        let stranger = data.as_object().and_then(|members| members.keys().find(|name| !KNOWN_MEMBERS.contains(&name.as_str())));
        if let Some(name) = stranger {
            return Err(Status::new(40_506, format!("Unknown Fields in POST data: '{name}'.")));
        }
        let keyword = data["keyword"].as_str().filter(|keyword| !keyword.trim().is_empty() && keyword.chars().count() <= KEYWORD_CHARS);
        let depth = optional(data, "depth", |depth| depth.as_u64().filter(|depth| (1..=DEPTH).contains(depth)))?;
        let device = optional(data, "device", |device| device.as_str().filter(|device| ["desktop", "mobile"].contains(device)))?;
        optional(data, "tag", |tag| tag.as_str().filter(|tag| tag.chars().count() <= TAG_CHARS))?;
        let (location_code, se_domain) = location(data)?;
        let own_domain = optional(data, "se_domain", |domain| domain.as_str().filter(|domain| domain.starts_with("google.")))?;
        Ok(Self {
            keyword: decoded(keyword.ok_or_else(|| invalid("keyword"))?),
            location_code,
            language_code: language(data)?,
            device: device.unwrap_or("desktop").to_owned(),
            depth: depth.unwrap_or(10),
            se_domain: own_domain.unwrap_or(&se_domain).to_owned(),
        })
    }

    /// Billed by the page of ten.
    pub(super) const fn cost_micros(&self) -> u64 {
        self.depth.div_ceil(10) * PAGE_MICROS
    }
}

fn invalid(field: &str) -> Status {
    Status::new(40_501, format!("Invalid Field: '{field}'."))
}

/// A member that may be left out, but not be wrong.
fn optional<'v, T>(data: &'v Value, field: &str, check: impl Fn(&'v Value) -> Option<T>) -> Result<Option<T>, Status> {
    match &data[field] {
        Value::Null => Ok(None),
        value => check(value).map(Some).ok_or_else(|| invalid(field)),
    }
}

fn location(data: &Value) -> Result<(u64, String), Status> {
    let code = optional(data, "location_code", |code| code.as_u64().filter(|code| places::is_location(*code)))?;
    let name = optional(data, "location_name", |name| name.as_str().and_then(places::location_of))?;
    let coordinate = optional(data, "location_coordinate", |text| text.as_str().filter(|text| is_coordinate(text)))?;
    let code = match (code, name, coordinate) {
        (Some(code), None, None) => code,
        (None, Some(code), None) => code,
        // A point is not looked up on a map here; it is searched as from the default country.
        (None, None, Some(_)) => 2840,
        _ => return Err(invalid("location_code")),
    };
    Ok((code, places::domain_of(code)))
}

/// `latitude,longitude[,radius]`.
fn is_coordinate(text: &str) -> bool {
    let parts: Vec<Option<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    matches!(parts[..], [Some(latitude), Some(longitude), ..] if latitude.abs() <= 90.0 && longitude.abs() <= 180.0)
}

fn language(data: &Value) -> Result<String, Status> {
    let code = optional(data, "language_code", |code| code.as_str().filter(|code| places::is_language(code)))?;
    let name = optional(data, "language_name", |name| name.as_str().and_then(places::language_of))?;
    match (code, name) {
        (Some(code), None) | (None, Some(code)) => Ok(code.to_owned()),
        _ => Err(invalid("language_code")),
    }
}

fn decoded(keyword: &str) -> String {
    let decoded =
        url::form_urlencoded::parse(format!("k={}", keyword.replace('&', "%26")).as_bytes()).next().map(|(_, value)| value.into_owned());
    decoded.unwrap_or_else(|| keyword.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_live_call_is_an_array_of_one_object() {
        let code = |body: &[u8]| read(body).unwrap_err().code;
        assert_eq!(
            [code(b""), code(b"[]"), code(b"{}"), code(b"nope"), code(b"[1]"), code(b"[{},{}]")],
            [40_502, 40_502, 40_503, 40_503, 40_503, 40_000]
        );
    }

    #[test]
    fn the_wrong_field_is_named() {
        let ok = json!({"keyword": "a+b%21", "location_code": 2840, "language_code": "en"});
        assert_eq!(Task::check(&ok).unwrap().keyword, "a b!");
        let wrong = [
            ("keyword", json!("")),
            ("keyword", json!("x".repeat(701))),
            ("location_code", json!(1)),
            ("location_code", Value::Null),
            ("language_code", json!("xx")),
            ("depth", json!(201)),
            ("device", json!("watch")),
            ("tag", json!("t".repeat(256))),
        ];
        for (field, value) in wrong {
            let mut task = ok.clone();
            task[field] = value;
            assert_eq!(Task::check(&task).unwrap_err(), invalid(field));
        }
        let mut stranger = ok;
        stranger["keywrd"] = json!("x");
        assert_eq!(Task::check(&stranger).unwrap_err().code, 40_506);
    }

    #[test]
    fn depth_is_billed_by_the_page() {
        let task = |depth: u64| {
            Task::check(&json!({"keyword": "a", "location_name": "Berlin,Berlin,Germany", "language_name": "German", "depth": depth}))
                .unwrap()
        };
        assert_eq!([task(1).cost_micros(), task(10).cost_micros(), task(11).cost_micros()], [2_000, 2_000, 4_000]);
        assert_eq!((task(1).location_code, task(1).language_code.as_str()), (2276, "de"));
    }
}
