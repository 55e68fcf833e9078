//! The DataForSEO-shaped stand-in: `POST /v3/serp/google/organic/live/advanced` (reference: providers 2.1, 2.2, 2.5). The
//! envelope and its errors; which tasks are accepted is `task.rs`', what was found is `serp.rs`'.

mod places;
mod serp;
mod task;

use super::{
    Backstage, Call, Fault, Provider,
    answer::fingerprint,
    marker::Marker,
    switches::Verdict,
    wire::{self, Scissors},
};
use crate::job::Timestamp;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{any, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use std::sync::Arc;
use task::Task;

const PATH: [&str; 6] = ["v3", "serp", "google", "organic", "live", "advanced"];
/// Calls a minute that the provider allows; only shown in the headers, the switches do the limiting.
const CALLS_PER_MINUTE: u32 = 2_000;

pub(super) fn routes() -> Router<Arc<Backstage>> {
    Router::new().route("/v3/serp/google/organic/live/advanced", post(live)).route("/v3/{*path}", any(elsewhere))
}

/// A status of the provider: its number and sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Status {
    code: u32,
    message: String,
}

impl Status {
    fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn ok() -> Self {
        Self::new(20_000, "Ok.")
    }

    /// The provider's sentence for a scripted code.
    fn scripted(code: &str) -> Self {
        let code = code.parse().unwrap_or(50_000);
        let message = match code {
            20_000..=29_999 => "Ok.",
            40_100 => "You are not Authorized to Access this Resource.",
            40_101 => "Internal SE Error.",
            40_102 => "No Search Results.",
            40_103 => "Task execution failed. Please, set the task again.",
            40_104 => "Please, verify your account.",
            40_200 => "Payment Required.",
            40_201 => "Your account is blocked.",
            40_202 => "The rate-limit per minute is exceeded.",
            40_203 => "The cost limit per day is exceeded.",
            40_204 => "Access denied. Subscription is required.",
            40_207 => "Access denied. Your IP is not whitelisted.",
            40_209 => "You can send up to 30 simultaneous requests.",
            40_210 => "Insufficient Funds.",
            40_401 => "Task Not Found.",
            40_402 => "Invalid Path.",
            40_501 => "Invalid Field.",
            40_601 => "Task Handed.",
            40_602 => "Task In Queue.",
            50_301 => "3rd Party API Service Unavailable.",
            50_303 => "Update in progress.",
            50_401 => "Internal SE Service Timeout.",
            40_000..=49_999 => "The request was not accepted.",
            _ => "Internal Error.",
        };
        Self::new(code, message)
    }

    /// Whether it concerns the whole call and not the one task in it.
    const fn is_of_the_call(&self) -> bool {
        matches!(self.code, 40_000..=40_006 | 40_100 | 40_104 | 40_200..=40_299 | 40_400..=40_402 | 50_001..=50_100)
    }
}

/// An answer before it is an envelope.
struct Answer {
    http: StatusCode,
    status: Status,
    task: Option<Value>,
    cost_micros: u64,
}

impl Answer {
    fn of_the_call(http: StatusCode, status: Status) -> Self {
        Self { http, status, task: None, cost_micros: 0 }
    }

    fn response(&self) -> Response {
        let cost = dollars(self.cost_micros);
        let failed = self.task.as_ref().is_some_and(|task| task["status_code"] != 20_000);
        let body = json!({
            "version": "0.1.20260601",
            "status_code": self.status.code,
            "status_message": self.status.message,
            "time": "0.1 sec.",
            "cost": cost,
            "tasks_count": u8::from(self.task.is_some()),
            "tasks_error": u8::from(failed),
            "tasks": self.task.as_ref().map_or(json!([]), |task| json!([task])),
        });
        let mut response = (self.http, Json(body)).into_response();
        response.headers_mut().insert("x-ratelimit-limit", CALLS_PER_MINUTE.into());
        response.headers_mut().insert("x-ratelimit-remaining", (CALLS_PER_MINUTE - 1).into());
        response
    }
}

fn dollars(micros: u64) -> f64 {
    micros as f64 / 1e6
}

async fn elsewhere() -> Response {
    Answer::of_the_call(StatusCode::NOT_FOUND, Status::scripted("40402")).response()
}

async fn live(
    State(backstage): State<Arc<Backstage>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let now = backstage.clock.now();
    let read = if may_enter(&backstage, &headers) { task::read(&body) } else { Err(Status::scripted("40100")) };
    let subject = read.as_ref().map_or(String::new(), |data| data["keyword"].as_str().unwrap_or_default().to_owned());
    let (marker, _) = Marker::in_text(&subject);
    let verdict = if read.is_ok() { backstage.switches.judge(Provider::DataForSeo, &subject, marker.as_ref()) } else { Verdict::default() };
    tokio::time::sleep(verdict.delay).await;
    let id = task_id(now, backstage.calls.list().came(), &subject);
    let answer = answer(&verdict, read, &id, now);
    let mut call = Call::new(now, Provider::DataForSeo, &id, &subject, answer.http.as_u16());
    call.fault = verdict.name();
    call.cost_micros = answer.cost_micros;
    if matches!(verdict.fault, Some(Fault::Hang { .. } | Fault::Reset)) {
        call.status = 0;
    }
    backstage.calls.add(call);
    wire::play(verdict.fault.as_ref(), answer.response(), &scissors, &backstage.closing).await
}

fn answer(verdict: &Verdict, read: Result<Value, Status>, id: &str, now: Timestamp) -> Answer {
    let data = match read {
        Ok(data) => data,
        Err(status) => {
            let http = if status.code == 40_100 { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
            return Answer::of_the_call(http, status);
        }
    };
    if verdict.slow_down {
        return Answer::of_the_call(StatusCode::OK, Status::scripted("40202"));
    }
    match &verdict.fault {
        Some(Fault::Status { status, code, .. }) => {
            let http = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Answer::of_the_call(http, Status::scripted(code.as_deref().unwrap_or_else(|| code_of(*status))))
        }
        Some(Fault::ErrorInside { code }) => failed(Status::scripted(code), &data, id),
        Some(Fault::Hang { .. } | Fault::Reset | Fault::CutBody) | None => match Task::check(&data) {
            Ok(task) => found(&task, &data, id, now),
            Err(status) => failed(status, &data, id),
        },
        // The others speak of models and mail; here they are the provider's own internal error.
        Some(_) => failed(Status::scripted("50000"), &data, id),
    }
}

/// What the envelope says when HTTP itself fails (reference: providers 2.5).
const fn code_of(http: u16) -> &'static str {
    match http {
        401 | 403 => "40100",
        402 => "40200",
        404 => "40400",
        429 => "40202",
        _ => "50000",
    }
}

fn failed(status: Status, data: &Value, id: &str) -> Answer {
    if status.is_of_the_call() {
        return Answer::of_the_call(StatusCode::OK, status);
    }
    let task = task_body(&status, data, id, 0, Value::Null);
    Answer { http: StatusCode::OK, status: Status::ok(), task: Some(task), cost_micros: 0 }
}

fn found(task: &Task, data: &Value, id: &str, now: Timestamp) -> Answer {
    let cost_micros = task.cost_micros();
    let body = task_body(&Status::ok(), data, id, cost_micros, json!([serp::result(task, now)]));
    Answer { http: StatusCode::OK, status: Status::ok(), task: Some(body), cost_micros }
}

fn task_body(status: &Status, data: &Value, id: &str, cost_micros: u64, result: Value) -> Value {
    let mut echo = json!({"api": "serp", "function": "live", "se": "google", "se_type": "organic"});
    if let (Some(echo), Some(data)) = (echo.as_object_mut(), data.as_object()) {
        echo.extend(data.clone());
    }
    json!({
        "id": id,
        "status_code": status.code,
        "status_message": status.message,
        "time": "0.1 sec.",
        "cost": dollars(cost_micros),
        "result_count": result.as_array().map_or(0, Vec::len),
        "path": PATH,
        "data": echo,
        "result": result,
    })
}

/// `MMDDhhmm-ssss-…`: the provider's ids begin with the time.
fn task_id(now: Timestamp, calls: u64, keyword: &str) -> String {
    let time = now.to_utc().format("%m%d%H%M-%S");
    format!("{time}{:02}-0139-0000-{:012x}", calls % 100, (fingerprint(keyword) ^ calls) & 0xffff_ffff_ffff)
}

fn may_enter(backstage: &Backstage, headers: &HeaderMap) -> bool {
    let config = &backstage.config;
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("Basic "));
    let wanted = format!("{}:{}", config.dataforseo_login, config.dataforseo_password.expose_secret());
    given.and_then(|given| STANDARD.decode(given).ok()).is_some_and(|given| given == wanted.as_bytes())
}
