//! Hints that there may be work, or a request to cancel. Polling is the truth.

use super::{Config, error};
use futures_util::{StreamExt as _, stream};
use std::{str::FromStr as _, time::Duration};
use tokio::sync::watch;
use tokio_postgres::AsyncMessage;
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
pub(super) struct Wakes {
    work: watch::Sender<u64>,
    cancel: watch::Sender<u64>,
}

impl Wakes {
    pub(super) fn new() -> Self {
        Self { work: watch::Sender::new(0), cancel: watch::Sender::new(0) }
    }

    pub(super) fn work(&self) {
        self.work.send_modify(|n| *n += 1);
    }

    pub(super) fn cancel(&self) {
        self.cancel.send_modify(|n| *n += 1);
    }

    pub(super) fn on_work(&self) -> watch::Receiver<u64> {
        self.work.subscribe()
    }

    pub(super) fn on_cancel(&self) -> watch::Receiver<u64> {
        self.cancel.subscribe()
    }
}

/// Listens until told to stop, on a connection of its own; after every loss of it a full look is due.
pub(super) async fn listen(url: String, config: Config, wakes: Wakes, stop: CancellationToken) {
    let mut tries = 0_u32;
    while !stop.is_cancelled() {
        tokio::select! {
            heard = hear(&url, &config, &wakes) => {
                if let Err(reason) = heard {
                    tracing::debug!(reason, "not listening to Postgres; polling goes on");
                }
            }
            () = stop.cancelled() => return,
        }
        tries = (tries + 1).min(6);
        wakes.work();
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(50 << tries)) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn hear(url: &str, _: &Config, wakes: &Wakes) -> Result<(), String> {
    let mut server = tokio_postgres::Config::from_str(url).map_err(|e| error::text(&e))?;
    server.application_name("windlass listen").connect_timeout(Duration::from_secs(5)).keepalives_idle(Duration::from_secs(15));
    let tls = super::tls::connector().map_err(|e| e.to_string())?;
    let (client, mut connection) = server.connect(tls).await.map_err(|e| error::text(&e))?;
    let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
    let listening = client.batch_execute("LISTEN windlass");
    tokio::pin!(listening);
    let mut begun = false;
    loop {
        tokio::select! {
            done = &mut listening, if !begun => {
                done.map_err(|e| error::text(&e))?;
                begun = true;
                wakes.work();
            }
            message = messages.next() => match message {
                Some(Ok(AsyncMessage::Notification(note))) => {
                    if note.payload() == "cancel" { wakes.cancel() } else { wakes.work() }
                }
                Some(Ok(_)) => {}
                Some(Err(e)) => return Err(error::text(&e)),
                None => return Ok(()),
            }
        }
    }
}
