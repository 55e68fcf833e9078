//! The one thread that writes. It owns the connection, takes every command that has gathered, runs them in one
//! `BEGIN IMMEDIATE` and commits once: a lone command pays no delay, a thousand share one fsync.

use super::{
    Config,
    connection::{self, Purpose},
    error,
    tx::{Cache, Tx},
};
use crate::{
    clock::Clock,
    store::{Durability, Error, Result, wakes::Wakes},
};
use rusqlite::Connection;
use std::{
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// One piece of work for the thread. It may be run more than once if its group is rolled back, so it keeps its input.
trait Command: Send {
    /// Runs inside a transaction. Answers whether its writes are to be kept.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// After the commit (`None`), or after it failed.
    fn answer(self: Box<Self>, failed: Option<Error>);
}

struct Call<F, T> {
    work: F,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<F, T> Command for Call<F, T>
where
    F: FnMut(&mut Tx<'_>) -> Result<T> + Send,
    T: Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let outcome = (self.work)(tx).and_then(|value| tx.flush().map(|()| value));
        let keep = outcome.is_ok();
        self.outcome = Some(outcome);
        keep
    }

    fn answer(self: Box<Self>, failed: Option<Error>) {
        let outcome = match (self.outcome, failed) {
            // A refusal of its own is the better news: it wrote nothing, whatever became of the group.
            (Some(Err(refused)), _) => Err(refused),
            (_, Some(failed)) => Err(failed),
            (Some(Ok(value)), None) => Ok(value),
            (None, None) => Err(Error::Unavailable("the command was never run".into())),
        };
        // The caller may have gone; its command ran all the same.
        let _ = self.reply.send(outcome);
    }
}

enum Message {
    Run(Box<dyn Command>),
    Stop(oneshot::Sender<()>),
}

/// How long an idle writer sleeps before it looks whether another process has committed: half of the 20 ms within which
/// the daemon must notice (contract 2).
const LOOK_AROUND: Duration = Duration::from_millis(10);
/// The second that `relaxed` may lose (contract P1), less a tick and the sync itself.
const SYNC_AT_LATEST: Duration = Duration::from_millis(900);
/// Commands in one commit: enough that an fsync is nothing per command, few enough that the first does not wait long.
const GROUP: usize = 512;

#[derive(Clone)]
pub(super) struct Writer {
    inbox: Sender<Message>,
}

impl Writer {
    /// Opens the file and starts the thread. `first` runs in a transaction of its own before anything else.
    pub(super) fn start(
        path: PathBuf,
        config: Config,
        clock: Clock,
        wakes: Wakes,
        first: impl FnOnce(&mut Tx<'_>) -> Result<()>,
    ) -> Result<(Self, JoinHandle<()>)> {
        let connection = connection::open(&path, &config, Purpose::Write)?;
        let mut thread = Thread {
            path,
            config,
            clock,
            wakes,
            cache: Cache::default(),
            connection: Some(connection),
            seen: 0,
            others_wrote: false,
            unsynced: None,
        };
        thread.alone(first)?;
        let (inbox, commands) = channel();
        let handle = std::thread::Builder::new()
            .name("windlass-writer".into())
            .spawn(move || thread.serve(&commands))
            .map_err(|e| Error::Unavailable(format!("no thread can be started: {e}")))?;
        Ok((Self { inbox }, handle))
    }

    /// Queues `work` and waits for its commit. Dropping the future does not stop the work.
    pub(super) async fn call<T: Send + 'static>(&self, work: impl FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let call = Box::new(Call { work, outcome: None, reply });
        self.inbox.send(Message::Run(call)).map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(Error::Unknown("the writer ended before it answered".into())))
    }

    /// Runs what is queued, then ends the thread.
    pub(super) async fn stop(&self) {
        let (done, ended) = oneshot::channel();
        if self.inbox.send(Message::Stop(done)).is_ok() {
            let _ = ended.await;
        }
    }
}

/// Whoever syncs a file syncs all of it, through whichever descriptor it was written.
fn sync_log(path: &Path) -> std::io::Result<()> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::File::open(log)?.sync_data()
}

fn closed() -> Error {
    Error::Unavailable("the store is closed".into())
}

struct Thread {
    path: PathBuf,
    config: Config,
    clock: Clock,
    wakes: Wakes,
    cache: Cache,
    /// None while the file cannot be opened; every group tries again.
    connection: Option<Connection>,
    /// `PRAGMA data_version` when last looked at: changes when another connection commits.
    seen: i64,
    /// Another connection has committed, and nobody was told yet.
    others_wrote: bool,
    /// In `relaxed`: since when something is committed that may not be on the disk.
    unsynced: Option<Instant>,
}

impl Thread {
    fn serve(mut self, commands: &Receiver<Message>) {
        let mut group: Vec<Box<dyn Command>> = Vec::new();
        loop {
            let mut stop = None;
            match commands.recv_timeout(LOOK_AROUND) {
                Ok(Message::Run(command)) => group.push(command),
                Ok(Message::Stop(done)) => stop = Some(done),
                Err(RecvTimeoutError::Timeout) => {
                    self.look_around();
                    self.sync_in_time(sync_log);
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while stop.is_none() && group.len() < GROUP {
                match commands.try_recv() {
                    Ok(Message::Run(command)) => group.push(command),
                    Ok(Message::Stop(done)) => stop = Some(done),
                    Err(_) => break,
                }
            }
            if !group.is_empty() {
                self.commit(std::mem::take(&mut group));
                self.tell_of_others();
                self.sync_in_time(sync_log);
            }
            if let Some(done) = stop {
                // Closing checkpoints the log, so that a stopped daemon leaves one file.
                drop(self.connection.take());
                let _ = done.send(());
                return;
            }
        }
    }

    /// Notices what other processes committed: settings and lines may be new, jobs may wait.
    fn look_around(&mut self) {
        let Some(connection) = &self.connection else { return };
        let version = connection.query_row("PRAGMA data_version", [], |row| row.get(0)).unwrap_or(self.seen);
        if version != self.seen {
            self.seen = version;
            self.cache.forget();
            self.others_wrote = true;
        }
        self.tell_of_others();
    }

    fn tell_of_others(&mut self) {
        if std::mem::take(&mut self.others_wrote) {
            self.wakes.work();
            self.wakes.cancel();
        }
    }

    /// `relaxed` commits are not synced one by one; once in [`SYNC_AT_LATEST`] they are, together.
    fn sync_in_time(&mut self, sync: impl FnOnce(&Path) -> std::io::Result<()>) {
        if self.unsynced.is_none_or(|since| since.elapsed() < SYNC_AT_LATEST) {
            return;
        }
        match sync(&self.path) {
            Ok(()) => self.unsynced = None,
            Err(error) => {
                tracing::error!(%error, "the log could not be synced; what was just committed may not survive a power cut");
                self.unsynced = Some(Instant::now());
            }
        }
    }

    fn commit(&mut self, mut group: Vec<Box<dyn Command>>) {
        if let Err(failed) = self.reopen() {
            let text = failed.to_string();
            return group.into_iter().for_each(|command| command.answer(Some(Error::Unavailable(text.clone()))));
        }
        match self.transaction(&mut group) {
            Ok(()) => group.into_iter().for_each(|command| command.answer(None)),
            Err(failed) => {
                let again = || match &failed {
                    Error::Unknown(text) => Error::Unknown(text.clone()),
                    Error::Corrupt(text) => Error::Corrupt(text.clone()),
                    other => Error::Unavailable(other.to_string()),
                };
                group.into_iter().for_each(|command| command.answer(Some(again())));
            }
        }
    }

    fn reopen(&mut self) -> Result<()> {
        if self.connection.is_none() {
            self.connection = Some(connection::open(&self.path, &self.config, Purpose::Write)?);
        }
        Ok(())
    }

    /// All commands in one commit. A command that refuses leaves no trace: mostly it has written nothing when it does. If it
    /// has, the group begins again with a savepoint around each, which a group without such a command need not pay for.
    fn transaction(&mut self, group: &mut [Box<dyn Command>]) -> Result<()> {
        let outcome = match self.attempt(group, false) {
            Ok(None) if group.len() > 1 => self.attempt(group, true),
            other => other,
        };
        match outcome {
            Ok(hints) => {
                let (work, cancel) = hints.unwrap_or_default();
                if work {
                    self.wakes.work();
                }
                if cancel {
                    self.wakes.cancel();
                }
                Ok(())
            }
            Err((reopen, failed)) => {
                if let Some(connection) = self.connection.as_ref().filter(|connection| !connection.is_autocommit()) {
                    let _ = connection.execute_batch("ROLLBACK");
                }
                self.cache.forget();
                if reopen {
                    self.connection = None;
                }
                Err(failed)
            }
        }
    }

    /// Answers the hints of what was committed, or `None` if nothing was, because a command without savepoint had written
    /// before it refused. With an error: whether the file must be opened anew.
    fn attempt(&mut self, group: &mut [Box<dyn Command>], guarded: bool) -> std::result::Result<Option<(bool, bool)>, (bool, Error)> {
        let relaxed = self.config.durability == Durability::Relaxed;
        let Self { connection: Some(connection), cache, clock, seen, others_wrote, unsynced, .. } = self else {
            return Err((false, closed()));
        };
        let own = |e: rusqlite::Error| (error::wants_reopen(&e), error::before_commit(e));
        connection.execute_batch("BEGIN IMMEDIATE").map_err(own)?;
        // Another process may have committed since the last look; what is remembered of the file may be stale.
        let version: i64 =
            connection.prepare_cached("PRAGMA data_version").and_then(|mut s| s.query_row([], |row| row.get(0))).map_err(own)?;
        if version != *seen {
            *seen = version;
            *others_wrote = true;
            cache.forget();
        }
        let mut tx = Tx::begin(connection, cache, clock.now());
        for command in group.iter_mut() {
            let before = connection.total_changes();
            if guarded {
                tx.execute("SAVEPOINT command").map_err(own)?;
            }
            let kept = command.run(&mut tx);
            if !kept {
                tx.undo();
            }
            if connection.is_autocommit() {
                // SQLite itself rolled back, as it does when the disk fails: what would follow had no transaction.
                return Err((
                    true,
                    Error::Unavailable("the database rolled back, as it does when its disk fails or is full; see the system's log".into()),
                ));
            }
            if guarded {
                tx.execute(if kept { "RELEASE command" } else { "ROLLBACK TO command; RELEASE command" }).map_err(own)?;
            } else if !kept && connection.total_changes() != before {
                tx.execute("ROLLBACK").map_err(own)?;
                return Ok(None);
            }
        }
        let hints = tx.hints();
        connection.execute_batch("COMMIT").map_err(|e| (error::wants_reopen(&e), error::in_commit(e)))?;
        if relaxed {
            unsynced.get_or_insert_with(Instant::now);
        }
        Ok(Some(hints))
    }

    fn alone(&mut self, work: impl FnOnce(&mut Tx<'_>) -> Result<()>) -> Result<()> {
        let Self { connection: Some(connection), cache, clock, .. } = self else { return Err(closed()) };
        connection.execute_batch("BEGIN IMMEDIATE").map_err(error::before_commit)?;
        let mut tx = Tx::begin(connection, cache, clock.now());
        let outcome = work(&mut tx).and_then(|()| tx.flush());
        match outcome {
            Ok(()) => connection.execute_batch("COMMIT").map_err(error::in_commit),
            Err(refused) => {
                let _ = connection.execute_batch("ROLLBACK");
                Err(refused)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(folder: &Path, durability: Durability) -> Thread {
        let path = folder.join("test.db");
        let config = Config { durability, ..Config::default() };
        let connection = connection::open(&path, &config, Purpose::Write).unwrap();
        let (clock, wakes, cache) = (Clock::System, Wakes::new(), Cache::default());
        Thread { path, config, clock, wakes, cache, connection: Some(connection), seen: 0, others_wrote: false, unsynced: None }
    }

    fn commit(thread: &mut Thread) {
        let (reply, _answer) = oneshot::channel();
        let work = |tx: &mut Tx<'_>| tx.positions(1);
        thread.commit(vec![Box::new(Call { work, outcome: None, reply })]);
    }

    fn synced(thread: &mut Thread) -> bool {
        let mut synced = false;
        thread.sync_in_time(|path| {
            synced = true;
            sync_log(path)
        });
        synced
    }

    #[test]
    fn relaxed_commits_are_synced_together_before_a_second_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut thread = thread(folder.path(), Durability::Relaxed);
        commit(&mut thread);
        assert!(!synced(&mut thread), "too early");
        thread.unsynced = thread.unsynced.and_then(|since| since.checked_sub(SYNC_AT_LATEST));
        commit(&mut thread);
        assert!(synced(&mut thread));
        assert!(!synced(&mut thread), "nothing is left to sync");
    }

    #[test]
    fn strict_commits_need_no_sync_later() {
        let folder = tempfile::tempdir().unwrap();
        let mut thread = thread(folder.path(), Durability::Strict);
        commit(&mut thread);
        assert_eq!(thread.unsynced, None);
    }

    #[test]
    fn what_others_commit_is_told_of_even_when_a_command_of_ours_sees_it_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut thread = thread(folder.path(), Durability::Strict);
        commit(&mut thread);
        thread.tell_of_others();
        let mut wakes = thread.wakes.on_work();
        wakes.borrow_and_update();
        let other = connection::open(&thread.path, &thread.config, Purpose::Write).unwrap();
        other.execute_batch("UPDATE counters SET pos = pos + 1").unwrap();
        commit(&mut thread);
        thread.tell_of_others();
        assert!(wakes.has_changed().unwrap());
    }
}
