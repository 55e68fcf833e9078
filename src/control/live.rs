//! What pages that stand open are told: one look at the store a second for all of them together, while there are any.

use super::{
    Problem, State,
    caller::Caller,
    daemons,
    places::{Place, Places},
};
use crate::store;
use serde::Serialize;
use serde_json::json;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

/// Streams at once: each holds a connection, and the port has others to serve.
const STREAMS: usize = 256;
/// Of one token, so that no one takes all.
const STREAMS_OF_ONE: usize = 32;
pub(super) const EVERY: Duration = Duration::from_secs(1);

pub(super) struct Live {
    places: Places,
    seen: watch::Sender<Seen>,
    looking: Mutex<Option<JoinHandle<()>>>,
    closing: CancellationToken,
}

/// The newest of everything. Numbers grow with each change.
#[derive(Clone, Default)]
pub(super) struct Seen {
    pub parts: [Part; 3],
    number: u64,
}

#[derive(Clone)]
pub(super) struct Part {
    /// What the event is called.
    pub name: &'static str,
    pub text: Arc<str>,
    /// Of its last change; 0: nothing is known yet.
    pub number: u64,
}

impl Default for Part {
    fn default() -> Self {
        Self { name: "", text: "null".into(), number: 0 }
    }
}

/// In the order of [`Seen::parts`].
const PARTS: [&str; 3] = ["queues", "daemons", "trouble"];

impl Default for Live {
    fn default() -> Self {
        let mut seen = Seen::default();
        for (part, name) in seen.parts.iter_mut().zip(PARTS) {
            part.name = name;
        }
        let (places, looking) = (Places::new(STREAMS, STREAMS_OF_ONE), Mutex::default());
        Self { places, seen: watch::Sender::new(seen), looking, closing: CancellationToken::new() }
    }
}

impl Live {
    /// A place for one more stream, for as long as the answer is kept.
    ///
    /// # Errors
    /// When there are too many, in all or of this caller's token.
    pub fn place(&self, caller: &Caller) -> Result<Place, Problem> {
        let sentence = || {
            format!("at most {STREAMS} event streams, and {STREAMS_OF_ONE} of one token, are open at once; close some, or ask again later")
        };
        self.places.take(caller).ok_or_else(|| Problem::unavailable("too_many_streams", sentence()))
    }

    /// What is seen from now on; the looking begins with the first who listens.
    pub fn listen(&self, state: &State) -> watch::Receiver<Seen> {
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let listener = self.seen.subscribe();
        if looking.as_ref().is_none_or(JoinHandle::is_finished) {
            *looking = Some(tokio::spawn(look(state.clone())));
        }
        listener
    }

    /// The port closes: all streams end.
    pub fn close(&self) {
        self.closing.cancel();
    }

    pub fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// False, and nobody looks any more, when nobody listens.
    fn goes_on(&self) -> bool {
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = self.seen.receiver_count() > 0 && !self.closing.is_cancelled();
        if !goes_on {
            *looking = None;
        }
        goes_on
    }

    fn say(&self, texts: [Option<String>; 3]) {
        self.seen.send_if_modified(|seen| {
            let number = seen.number + 1;
            for (part, text) in seen.parts.iter_mut().zip(texts) {
                if let Some(text) = text.filter(|text| part.number == 0 || **text != *part.text) {
                    (part.text, part.number, seen.number) = (text.into(), number, number);
                }
            }
            seen.number == number
        });
    }
}

async fn look(state: State) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !state.live.goes_on() {
            return;
        }
        let patience = state.in_force().config.health_deadline();
        let (queues, daemons) =
            tokio::join!(timeout(patience, store::queues(state.store())), timeout(patience, daemons::all(state.store())));
        let (queues, daemons) = (queues.ok().and_then(Result::ok), daemons.ok().and_then(Result::ok));
        let trouble = if queues.is_some() && daemons.is_some() {
            json!(null)
        } else {
            json!({"code": "store_unavailable", "detail": "the store does not answer the daemon; what is shown is what it said last"})
        };
        state.live.say([text(queues), text(daemons), Some(trouble.to_string())]);
    }
}

fn text(answer: Option<impl Serialize>) -> Option<String> {
    answer.and_then(|answer| serde_json::to_string(&answer).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_said_again() {
        let live = Live::default();
        let listener = live.seen.subscribe();
        let say = |queues: &str, trouble: &str| {
            live.say([Some(queues.into()), None, Some(trouble.into())]);
            listener.borrow().parts.clone().map(|part| part.number)
        };
        assert_eq!(say("[]", "null"), [1, 0, 1], "what is not known is not said");
        assert_eq!(say("[]", "null"), [1, 0, 1]);
        assert_eq!(say("[1]", "null"), [2, 0, 1]);
        assert_eq!(say("[1]", "{}"), [2, 0, 3]);
    }
}
