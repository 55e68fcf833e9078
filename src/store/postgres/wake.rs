//! Hears of work that others brought, and of requests to cancel.
//!
//! A daemon with much to do looks for more by itself, and producers pay nothing. One that looked in vain falls asleep: it
//! takes the lock that every transaction which brings work shares until its end (`windlass_v1.keep_awake`). Only when none is
//! under way does it get the lock; it looks once more, and from then on every producer finds the lock taken and notifies. So
//! nothing that is committed is overlooked, however long its transaction took.
//!
//! It sleeps on while single jobs come: a notification starts each sooner than the next look would, and costs next to nothing
//! until many commit together. Then one lease call after the other brings something, and it gets up.

use super::{
    connection::{Direct, Lane},
    error,
    error::Effect,
    params::params,
};
use crate::store::wakes::Wakes;
use std::{str::FromStr as _, time::Duration};
use tokio::sync::{mpsc, watch};
use tokio_postgres::{AsyncMessage, Client};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Between two looks of a daemon that found nothing: the first, and the longest while it cannot fall asleep.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOK: Duration = Duration::from_millis(25);
/// Lease calls in a row that each brought something before it is busy, and gets up.
const BUSY: u32 = 8;
/// Notifications in a row of work that another daemon took before it leaves that one alone, and gets up.
const IN_VAIN: u32 = 3;
/// Within this time a notification must arrive that it sends to itself.
const ECHO: Duration = Duration::from_secs(2);
/// Between two tries where none arrives: the connection goes through a pooler that gives each transaction another session.
const DEAF: Duration = Duration::from_secs(60);

const FALL_ASLEEP: &str = "SELECT pg_try_advisory_lock(1465206861, 0)";
const WAKE_UP: &str = "SELECT pg_advisory_unlock(1465206861, 0)";

/// What lease calls brought, for the one who decides whether to sleep.
#[derive(Clone)]
pub(super) struct Calls(watch::Sender<Call>);

#[derive(Clone, Copy, Default)]
struct Call {
    number: u64,
    /// So many in a row, this one the last, brought something.
    streak: u32,
}

impl Call {
    fn brought(self) -> bool {
        self.streak > 0
    }
}

impl Calls {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Call::default()))
    }

    pub(super) fn ended(&self, brought: bool) {
        self.0.send_modify(|call| {
            call.number += 1;
            call.streak = if brought { call.streak.saturating_add(1) } else { 0 };
        });
    }
}

/// Why the connection is given up.
enum End {
    Lost(String),
    /// Notifications do not come through.
    Deaf,
    Stopped,
}

pub(super) struct Listener {
    pub(super) url: String,
    pub(super) wakes: Wakes,
    pub(super) calls: Calls,
    /// For the notification that it sends to itself.
    pub(super) lane: Lane,
    /// Where all connections go the same way: whether that is the server itself.
    pub(super) direct: Option<Direct>,
    /// It looks now and then for so long after it fell asleep, and after each notification.
    pub(super) light_sleep: Duration,
    pub(super) stop: CancellationToken,
}

impl Listener {
    /// Listens until told to stop, on a connection of its own; while there is none, it looks often.
    pub(super) async fn run(self) {
        let mut tries = 0_u32;
        let mut looks = Looks::new(&self);
        loop {
            let pause = match self.listen(&mut looks).await {
                End::Stopped => return,
                End::Deaf => {
                    tracing::warn!(
                        "notifications do not come through, as behind a transaction pooler; polling instead. \
                        A direct connection for `store.postgres.listen_url` saves that"
                    );
                    DEAF
                }
                End::Lost(reason) => {
                    tracing::debug!(reason, "not listening to Postgres; polling goes on");
                    tries = (tries + 1).min(6);
                    Duration::from_millis(50 << tries)
                }
            };
            let until = tokio::time::Instant::now() + pause;
            loop {
                tokio::select! {
                    () = looks.one() => {}
                    () = tokio::time::sleep_until(until) => break,
                    () = self.stop.cancelled() => return,
                }
            }
        }
    }

    async fn listen(&self, looks: &mut Looks) -> End {
        let (client, mut notes) = match connect(&self.url).await {
            Ok(connected) => connected,
            Err(reason) => return End::Lost(reason),
        };
        tokio::select! {
            end = self.serve(&client, &mut notes, looks) => end,
            () = self.stop.cancelled() => End::Stopped,
        }
    }

    async fn serve(&self, client: &Client, notes: &mut mpsc::UnboundedReceiver<String>, looks: &mut Looks) -> End {
        if let Err(e) = client.batch_execute("LISTEN windlass").await {
            return End::Lost(error::text(&e));
        }
        let hears_itself = self.hears_itself(notes).await;
        if let Some(direct) = &self.direct {
            direct.set(hears_itself);
        }
        if !hears_itself {
            return End::Deaf;
        }
        loop {
            tokio::select! {
                () = looks.one() => {}
                note = notes.recv() => match note {
                    Some(note) => {
                        self.heard(&note);
                        continue;
                    }
                    None => return End::Lost("the connection ended".into()),
                }
            }
            if !looks.in_vain {
                continue;
            }
            match client.query_one(FALL_ASLEEP, &[]).await {
                Ok(row) if row.get(0) => {}
                Ok(_) => continue,
                Err(e) => return End::Lost(error::text(&e)),
            }
            if self.sleep(notes).await.is_none() {
                return End::Lost("the connection ended".into());
            }
            if let Err(e) = client.query_one(WAKE_UP, &[]).await {
                return End::Lost(error::text(&e));
            }
        }
    }

    /// Until there is much to do, or nobody who could do it; nothing when the connection ended.
    async fn sleep(&self, notes: &mut mpsc::UnboundedReceiver<String>) -> Option<()> {
        let mut calls = self.calls.0.subscribe();
        let mut in_vain = 0;
        // Whatever was committed before it slept is found by this look.
        self.wakes.work();
        let mut quiet_since = tokio::time::Instant::now();
        loop {
            let is_light = quiet_since.elapsed() < self.light_sleep;
            let mut is_work = tokio::select! {
                note = notes.recv() => self.heard(&note?),
                _ = calls.wait_for(|call| call.streak >= BUSY) => return Some(()),
                () = tokio::time::sleep(LAST_LOOK), if is_light => {
                    self.wakes.work();
                    false
                }
            };
            while let Ok(note) = notes.try_recv() {
                is_work |= self.heard(&note);
            }
            if !is_work {
                continue;
            }
            quiet_since = tokio::time::Instant::now();
            // A call that was under way may bring it already.
            let before = *calls.borrow_and_update();
            let answered = tokio::time::timeout(LAST_LOOK, calls.wait_for(|call| call.number > before.number)).await;
            let Ok(Ok(brought)) = answered.map(|call| call.map(|call| call.brought())) else { return Some(()) };
            in_vain = if brought || before.brought() { 0 } else { in_vain + 1 };
            if in_vain >= IN_VAIN {
                return Some(());
            }
        }
    }

    /// Whether a notification that another session sends arrives here.
    async fn hears_itself(&self, notes: &mut mpsc::UnboundedReceiver<String>) -> bool {
        let word = format!("echo {}", Uuid::now_v7());
        let call = self.lane.rows(Effect::Reads, "SELECT pg_notify('windlass', $1)", params![word.clone()]);
        let heard = async {
            call.await.ok()?;
            while let Some(note) = notes.recv().await {
                if note == word {
                    return Some(());
                }
                self.heard(&note);
            }
            None
        };
        matches!(tokio::time::timeout(ECHO, heard).await, Ok(Some(())))
    }

    /// Passes it on; answers whether it tells of work.
    fn heard(&self, note: &str) -> bool {
        match note {
            "cancel" => self.wakes.cancel(),
            "" => self.wakes.work(),
            // Another daemon talks to itself.
            _ => {}
        }
        note.is_empty()
    }
}

/// The looks of a daemon that is awake.
struct Looks {
    calls: watch::Receiver<Call>,
    wakes: Wakes,
    /// Whether the last one brought nothing.
    in_vain: bool,
    pause: Duration,
}

impl Looks {
    fn new(listener: &Listener) -> Self {
        Self { calls: listener.calls.0.subscribe(), wakes: listener.wakes.clone(), in_vain: false, pause: FIRST_LOOK }
    }

    /// One look after the pause that is due, or after the work that is there. Where nobody leases, as while there is no room
    /// for more, it waits until somebody does.
    async fn one(&mut self) {
        while self.calls.borrow_and_update().brought() {
            (self.in_vain, self.pause) = (false, FIRST_LOOK);
            if self.calls.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        tokio::time::sleep(self.pause).await;
        let before = self.calls.borrow_and_update().number;
        self.wakes.work();
        let looked = self.calls.wait_for(|call| call.number > before).await.map(|call| call.brought());
        self.in_vain = looked.is_ok_and(|brought| !brought);
        if self.in_vain {
            self.pause = (self.pause * 2).min(LAST_LOOK);
        }
    }
}

/// A connection, and what is notified on it.
pub(super) async fn connect(url: &str) -> Result<(Client, mpsc::UnboundedReceiver<String>), String> {
    let mut server = tokio_postgres::Config::from_str(url).map_err(|e| error::text(&e))?;
    server
        .application_name(format!("{} listen", super::install::RELEASE))
        .connect_timeout(Duration::from_secs(5))
        .keepalives_idle(Duration::from_secs(15));
    let tls = super::tls::connector().map_err(|e| e.to_string())?;
    let (client, mut connection) = server.connect(tls).await.map_err(|e| error::text(&e))?;
    let (note, notes) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(said) = message
                && note.send(said.payload().to_owned()).is_err()
            {
                return;
            }
        }
    });
    Ok((client, notes))
}
