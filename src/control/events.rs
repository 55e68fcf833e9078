//! `/v1/events` and `/v1/jobs/{id}/events`: what changes, as it changes (server-sent events). Each event brings the whole of what it is about,
//! so one that reconnects has missed nothing.

use super::{
    Problem, State,
    caller::Caller,
    extract::Id,
    jobs::{self, JobAnswer},
    live::{EVERY, Seen},
    openapi::{Answers, Operation, Schemas},
    places::Place,
};
use crate::job::{Job, JobId};
use axum::{
    extract,
    http::HeaderName,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use serde_json::json;
use std::{collections::VecDeque, convert::Infallible, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};

/// A stream ends after so long; who still listens asks again.
const LASTS: Duration = Duration::from_secs(30 * 60);
/// Well within the patience of proxies.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a client waits before it asks again.
const RETRY: Duration = Duration::from_secs(2);

/// Server-sent events, as they come.
pub(super) struct Events(Response);

impl IntoResponse for Events {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Answers for Events {
    fn describe(operation: &mut Operation, _: &mut Schemas) {
        operation.answers("200", "Events, until the stream ends.", &[("text/event-stream", json!({"type": "string"}))]);
    }
}

struct Stream {
    state: State,
    caller: Caller,
    about: About,
    waiting: VecDeque<Event>,
    ticks: Interval,
    until: Instant,
    is_over: bool,
    _place: Place,
}

enum About {
    Everything { seen: watch::Receiver<Seen>, told: u64 },
    Job { id: JobId, number: u64, told: String },
}

/// `GET /v1/events`: `queues` and `daemons` as `/v1/queues` and `/v1/daemons` have them, and `trouble` while the store does not answer.
pub(super) async fn of_everything(extract::State(state): extract::State<State>, caller: Caller) -> Result<Events, Problem> {
    caller.everything(&state)?;
    let place = state.live.place(&caller)?;
    let about = About::Everything { seen: state.live.listen(&state), told: 0 };
    Ok(Stream::new(state, caller, about, place).answer())
}

/// `GET /v1/jobs/{id}/events`: `job` as `/v1/jobs/{id}` has it, until it is final.
pub(super) async fn of_job(extract::State(state): extract::State<State>, caller: Caller, Id(id): Id) -> Result<Events, Problem> {
    let job = jobs::find(&state, &caller, id).await?;
    let place = state.live.place(&caller)?;
    let mut stream = Stream::new(state, caller, About::Job { id, number: 0, told: String::new() }, place);
    stream.tell_job(Some(job));
    Ok(stream.answer())
}

impl Stream {
    fn new(state: State, caller: Caller, about: About, place: Place) -> Self {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let waiting = VecDeque::from([Event::default().retry(RETRY).comment("windlass")]);
        Self { state, caller, about, waiting, ticks, until: Instant::now() + LASTS, is_over: false, _place: place }
    }

    fn answer(self) -> Events {
        let events = stream::unfold(self, async |mut stream| Some((Ok::<_, Infallible>(stream.next().await?), stream)));
        // Some proxies collect answers before they pass them on.
        let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
        Events((unbuffered, Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT))).into_response())
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            let closing = self.state.live.closing();
            tokio::select! {
                biased;
                () = closing.cancelled() => self.end("closing"),
                () = sleep_until(self.until) => self.end("time"),
                () = self.about.changed() => self.tell_everything(),
                _ = self.ticks.tick() => self.look().await,
            }
        }
    }

    /// Says why, so that a page knows whether to ask again.
    fn end(&mut self, why: &str) {
        self.is_over = true;
        self.waiting.push_back(Event::default().event("end").data(json!({"why": why}).to_string()));
    }

    async fn look(&mut self) {
        if !self.caller.is_still_let_in(&self.state).await {
            return self.end("unauthorized");
        }
        if let About::Job { id, .. } = self.about
            // While the store is away the stream waits with everybody.
            && let Ok(found) = self.caller.jobs(&self.state).get(id).await
        {
            self.tell_job(found);
        }
    }

    fn tell_everything(&mut self) {
        let About::Everything { seen, told } = &mut self.about else { return };
        let parts = seen.borrow_and_update().parts.clone();
        let last = *told;
        for part in parts.into_iter().filter(|part| part.number > last) {
            *told = part.number.max(*told);
            self.waiting.push_back(Event::default().event(part.name).id(part.number.to_string()).data(&*part.text));
        }
    }

    fn tell_job(&mut self, found: Option<Job>) {
        let Some(job) = found else { return self.end("gone") };
        let is_final = job.state.is_final();
        let About::Job { number, told, .. } = &mut self.about else { return };
        let text = serde_json::to_string(&JobAnswer::for_caller(&self.caller, job)).unwrap_or_default();
        if *told != text {
            *number += 1;
            self.waiting.push_back(Event::default().event("job").id(number.to_string()).data(&text));
            *told = text;
        }
        if is_final {
            self.end("final");
        }
    }
}

impl About {
    async fn changed(&mut self) {
        match self {
            Self::Everything { seen, told } => {
                let is_new = *told == 0 && seen.borrow().parts.iter().any(|part| part.number > 0);
                // The sender lives as long as the state does.
                if !is_new && seen.changed().await.is_err() {
                    std::future::pending().await
                }
            }
            Self::Job { .. } => std::future::pending().await,
        }
    }
}
