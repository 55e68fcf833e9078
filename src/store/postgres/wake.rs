//! Hears of work that others brought, and of requests to cancel.

use super::error;
use crate::store::wakes::Wakes;
use futures_util::{StreamExt as _, stream};
use std::{str::FromStr as _, time::Duration};
use tokio_postgres::AsyncMessage;
use tokio_util::sync::CancellationToken;

/// Listens until told to stop, on a connection of its own; after every loss of it a full look is due.
pub(super) async fn listen(url: String, wakes: Wakes, stop: CancellationToken) {
    let mut tries = 0_u32;
    while !stop.is_cancelled() {
        tokio::select! {
            heard = hear(&url, &wakes) => {
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

async fn hear(url: &str, wakes: &Wakes) -> Result<(), String> {
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
