//! How a command reaches the jobs: through the control port of the daemon that works on the store, if one answers, else by
//! opening the store itself. Either way the answers have the same shape, which is that of the control port.

use super::{Place, exit::Exit};
use crate::{
    client::Client,
    config::{self, Config, show::url_without_secrets},
    control::wire::{
        CancelAnswer, DaemonAnswer, JobPage, LimitsAnswer, PageOf, PauseAnswer, PreviewAnswer, RedriveAnswer, RedriveRequest, Retried,
        RetryAnswer, ScheduleAnswer, SessionAnswer, TokenAnswer, TokenMade,
    },
    job::{
        AuditFilter, Audited, Change, Envelope, Head, Job, JobId, Limits, LiveLimits, Name, NewJob, Pause, State, Timestamp, Token,
        TokenId, TokenRequest,
        explain::Explanation,
        schedule::{Occurrence, ScheduleState},
    },
    secret,
    store::{self, Actor, Cancelled, Enqueued, Filter, QueueStatus, Role, Store, dead::Groups, sqlite::Announced, trail, within::Within},
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

/// One of the two ways in.
enum Way {
    Port(Client),
    Store(Arc<dyn Store>),
}

pub struct Door {
    way: Way,
    limits: Limits,
}

/// Whether a command that finds no store may make one. Only those that bring jobs may: a list of a store whose name is
/// mistyped should say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayMake {
    Store,
    Nothing,
}

/// Runs a command on jobs that are there, and closes the door behind it.
pub fn with(place: &Place, command: impl AsyncFnOnce(&Door) -> anyhow::Result<()>) -> anyhow::Result<()> {
    enter(place, MayMake::Nothing, command)
}

pub fn enter(place: &Place, may_make: MayMake, command: impl AsyncFnOnce(&Door) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let config = config::load(&place.sources())?.config;
    runtime()?.block_on(async {
        let door = Door::open(place, &config, may_make).await?;
        let ended = command(&door).await;
        door.close().await;
        ended
    })
}

/// For commands that no control port has: they need the store itself.
pub fn with_store(place: &Place, may_make: MayMake, command: impl AsyncFnOnce(&dyn Store) -> anyhow::Result<()>) -> anyhow::Result<()> {
    if place.listen.is_some() {
        return Err(Exit::Usage.because("this command opens the store itself; name it with --store and leave --listen out"));
    }
    let config = config::load(&place.sources())?.config;
    runtime()?.block_on(async {
        let store = open(&config, may_make).await?;
        let ended = command(&*store).await;
        store.close().await;
        ended
    })
}

pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// A daemon that is stopped or stuck does not answer; the store is there all the same.
const PROBE_DEADLINE: Duration = Duration::from_secs(2);

/// The daemon to ask: the one that `--listen` names, which then must answer, or the one that works on the store, if it does.
pub(super) async fn daemon(place: &Place, config: &Config) -> anyhow::Result<Option<Client>> {
    let token = secret::of("control.token", config.control.token.as_ref(), config.control.token_file.as_deref())?;
    let named = place.listen;
    let address = match named {
        Some(address) => Some(address),
        None => announced(config)?,
    };
    let Some(address) = address else { return Ok(None) };
    let trusted = place.ca_file.as_deref().or(config.control.tls_cert_file.as_deref());
    let scheme = if trusted.is_some() { "https" } else { "http" };
    let client = Client::trusting(&format!("{scheme}://{}", reachable(address)), token.as_ref(), trusted)?;
    match (named, tokio::time::timeout(PROBE_DEADLINE, client.ready()).await) {
        (_, Ok(Ok(_))) => Ok(Some(client)),
        // It is there, and says who may ask it what.
        (_, Ok(Err(error))) if error.code() == Some("missing_scope") => Ok(Some(client)),
        (_, Ok(Err(error))) if error.code() == Some("unauthorized") => Err(Exit::Configuration.because(format!(
            "the daemon at {address} asks for a token: put one into WINDLASS__CONTROL__TOKEN, or its file's name into control.token_file"
        ))),
        (Some(_), Ok(Err(error))) => Err(error.into()),
        (Some(address), Err(_)) => Err(Exit::TryAgain.because(format!("the daemon at {address} does not answer; is it stopped?"))),
        (None, _) => Ok(None),
    }
}

/// Where the daemon that works on the store says it is.
fn announced(config: &Config) -> anyhow::Result<Option<SocketAddr>> {
    let Some(path) = store::sqlite_path(&config.store.url) else { return Ok(None) };
    let Some(Announced { address, owner }) = store::sqlite::announced(&path) else { return Ok(None) };
    // SAFETY: geteuid has no preconditions and cannot fail.
    let caller = unsafe { libc::geteuid() };
    if is_trusted(owner, caller) {
        return Ok(Some(address));
    }
    Err(Exit::Unavailable.because(format!(
        "{}.lock belongs to user {owner} and neither to you nor to root, so the token is not sent to the address that it names; if that \
         is your daemon, say so with --listen {address}",
        path.display()
    )))
}

/// Whoever owns a lock file chose the address in it, and would be sent the token and the jobs. Not even the owner of the store is
/// believed: a store may have been put where somebody else would open it.
const fn is_trusted(owner: u32, caller: u32) -> bool {
    owner == caller || owner == 0
}

/// A daemon that listens on every address is on this one too.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn open(config: &Config, may_make: MayMake) -> anyhow::Result<Arc<dyn Store>> {
    let url = &config.store.url;
    let is_missing = store::sqlite_path(url).is_some_and(|path| !path.exists());
    if may_make == MayMake::Nothing && is_missing {
        let url = url_without_secrets(url);
        return Err(Exit::Unavailable.because(format!("{url} does not exist; name another store with --store, or enqueue a first job")));
    }
    Ok(store::open(url, Role::Client, config.store_options()).await?)
}

impl Door {
    pub async fn open(place: &Place, config: &Config, may_make: MayMake) -> anyhow::Result<Self> {
        let way = match daemon(place, config).await? {
            Some(client) => Way::Port(client),
            None => Way::Store(open(config, may_make).await?),
        };
        Ok(Self { way, limits: config.limits() })
    }

    pub async fn close(&self) {
        if let Way::Store(store) = &self.way {
            store.close().await;
        }
    }

    /// The address of the daemon behind it; None: the store itself.
    #[must_use]
    pub fn daemon(&self) -> Option<String> {
        if let Way::Port(client) = &self.way { Some(client.address()) } else { None }
    }

    /// What the caller may do; None: everything, as whoever can open the store.
    pub async fn caller(&self) -> anyhow::Result<Option<SessionAnswer>> {
        if let Way::Port(client) = &self.way { Ok(Some(client.session().await?)) } else { Ok(None) }
    }

    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// All or nothing, in order. The envelopes have ids, so that the call can be made again when its answer was lost.
    pub async fn enqueue(&self, envelopes: &[Envelope]) -> anyhow::Result<Vec<Enqueued>> {
        match &self.way {
            Way::Port(client) => Ok(client.enqueue_many(envelopes).await?),
            Way::Store(store) => {
                let check = |(index, envelope): (usize, &Envelope)| {
                    envelope.clone().check(self.limits).map_err(|error| store::Error::from((index, error)))
                };
                let jobs = envelopes.iter().enumerate().map(check).collect::<store::Result<Vec<NewJob>>>()?;
                Ok(store.enqueue(jobs, None).await?)
            }
        }
    }

    /// The job once it is final, or as it stands after `patience`.
    pub async fn get_when_final(&self, id: JobId, patience: Duration) -> anyhow::Result<Option<Job>> {
        let end = Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let job = match &self.way {
                Way::Port(client) => client.get_when_final(id, left).await?,
                Way::Store(store) => Within::new(&**store, None).get_when_final(id, left, || true).await?,
            };
            if end <= Instant::now() || job.as_ref().is_none_or(|job| job.state.is_final()) {
                return Ok(job);
            }
        }
    }

    pub async fn explain(&self, id: JobId) -> anyhow::Result<Option<Explanation>> {
        match &self.way {
            Way::Port(client) => Ok(client.explain(id).await?),
            Way::Store(store) => Ok(Within::new(&**store, None).explain(id).await?),
        }
    }

    pub async fn list(&self, filter: &Filter, cursor: Option<&str>, limit: usize) -> anyhow::Result<JobPage> {
        match &self.way {
            Way::Port(client) => Ok(client.list(filter, cursor, limit).await?),
            Way::Store(store) => Ok(store.list(filter, cursor, limit).await?.into()),
        }
    }

    pub async fn cancel(&self, id: JobId, reason: &str) -> anyhow::Result<CancelAnswer> {
        match &self.way {
            Way::Port(client) => Ok(client.cancel(id, Some(reason)).await?),
            Way::Store(store) => {
                let cancelled = match store.cancel(id, reason, &actor(), None).await? {
                    Cancelled::Now => "now",
                    Cancelled::Asked => "asked",
                    Cancelled::AlreadyFinal => "already_final",
                };
                Ok(CancelAnswer { id, cancelled: cancelled.into() })
            }
        }
    }

    pub async fn retry(&self, id: JobId) -> anyhow::Result<RetryAnswer> {
        let store = match &self.way {
            Way::Port(client) => return Ok(client.retry(id).await?),
            Way::Store(store) => store,
        };
        let is_dead = store.get(id).await?.is_some_and(|job| job.state == State::Dead);
        if is_dead {
            store.redrive(id, &actor(), None).await?;
        } else {
            store.run_now(id, &actor(), None).await?;
        }
        Ok(RetryAnswer { id, done: if is_dead { Retried::Redriven } else { Retried::MadeDue } })
    }

    /// One call's worth of those that are named or fit.
    pub async fn redrive(&self, request: &RedriveRequest) -> anyhow::Result<RedriveAnswer> {
        let store = match &self.way {
            Way::Port(client) => return Ok(client.redrive_many(request).await?),
            Way::Store(store) => Within::new(&**store, None),
        };
        let order = request.order(self.limits);
        if !request.ids.is_empty() {
            return Ok(RedriveAnswer::of(store.redrive_named(&order, &request.ids, &actor()).await, request.dry_run));
        }
        let found = store.list(&order.filter, request.cursor.as_deref(), request.limit.unwrap_or(MOST_ROWS)).await?;
        let done = store.redrive_each(&order, found.items, &actor()).await;
        Ok(RedriveAnswer { more: found.next.is_some(), next: found.next, ..RedriveAnswer::of(done, request.dry_run) })
    }

    /// What dead letters died of.
    pub async fn dead_groups(&self, filter: &Filter, cursor: Option<&str>) -> anyhow::Result<Groups> {
        match &self.way {
            Way::Port(client) => Ok(client.dead_groups(filter, cursor).await?),
            Way::Store(store) => Ok(Within::new(&**store, None).dead_groups(filter, cursor).await?),
        }
    }

    /// Answers the job as it is then.
    pub async fn edit(&self, id: JobId, change: &Change) -> anyhow::Result<Job> {
        let store = match &self.way {
            Way::Port(client) => return Ok(client.edit(id, change).await?),
            Way::Store(store) => store,
        };
        let missing = || store::Error::NotFound { what: format!("job {id}") };
        let job = store.get(id).await?.ok_or_else(missing)?;
        let edit = change.on(&job, self.limits).map_err(|error| store::Error::from((0, error)))?;
        store.edit(id, &edit, &actor(), None).await?;
        Ok(store.get(id).await?.ok_or_else(missing)?)
    }

    pub async fn purge(&self, id: JobId) -> anyhow::Result<()> {
        match &self.way {
            Way::Port(client) => Ok(client.purge(id).await?),
            Way::Store(store) => Ok(store.purge(id, &actor(), None).await?),
        }
    }

    pub async fn queues(&self) -> anyhow::Result<Vec<QueueStatus>> {
        match &self.way {
            Way::Port(client) => Ok(client.queues().await?),
            Way::Store(store) => Ok(store::queues(&**store).await?),
        }
    }

    /// None lifts all that was changed.
    pub async fn set_limits(&self, queue: &Name, limits: Option<&LiveLimits>, reason: &str) -> anyhow::Result<LimitsAnswer> {
        match (&self.way, limits) {
            (Way::Port(client), Some(limits)) => Ok(client.set_limits(queue, limits, Some(reason)).await?),
            (Way::Port(client), None) => Ok(client.unset_limits(queue, Some(reason)).await?),
            (Way::Store(store), limits) => {
                let limits = store.set_limits(queue, limits, reason, &actor(), None).await?;
                Ok(LimitsAnswer { name: queue.clone(), limits })
            }
        }
    }

    /// The oldest first; those that fell silent in the last hour too.
    pub async fn daemons(&self) -> anyhow::Result<Vec<DaemonAnswer>> {
        match &self.way {
            Way::Port(client) => Ok(client.daemons().await?),
            Way::Store(store) => Ok(DaemonAnswer::list(store.daemons().await?, store.now().await?)),
        }
    }

    /// `lasts`: it ends by itself after that time.
    pub async fn pause(&self, queue: &Name, reason: &str, lasts: Option<Duration>) -> anyhow::Result<PauseAnswer> {
        let store = match &self.way {
            Way::Port(client) => return Ok(client.pause(queue, Some(reason), lasts).await?),
            Way::Store(store) => store,
        };
        let actor = actor();
        let at = store.now().await?;
        let until = lasts.map(|lasts| at.plus(lasts));
        store.pause(queue, reason, until, &actor, None).await?;
        let paused = Pause { at, by: actor.name, reason: reason.to_owned(), until };
        Ok(PauseAnswer { name: queue.clone(), paused: Some(paused) })
    }

    pub async fn resume(&self, queue: &Name) -> anyhow::Result<PauseAnswer> {
        match &self.way {
            Way::Port(client) => Ok(client.resume(queue).await?),
            Way::Store(store) => {
                store.resume(queue, &actor(), None).await?;
                Ok(PauseAnswer { name: queue.clone(), paused: None })
            }
        }
    }

    /// The clock by which tokens end.
    pub async fn now(&self) -> anyhow::Result<Timestamp> {
        match &self.way {
            Way::Port(_) => Ok(crate::clock::Clock::System.now()),
            Way::Store(store) => Ok(store.now().await?),
        }
    }

    pub async fn tokens(&self) -> anyhow::Result<Vec<TokenAnswer>> {
        match &self.way {
            Way::Port(client) => Ok(client.tokens().await?),
            Way::Store(store) => Ok(TokenAnswer::list(store.tokens().await?, store.now().await?)),
        }
    }

    pub async fn create_token(&self, request: TokenRequest) -> anyhow::Result<TokenMade> {
        match &self.way {
            Way::Port(client) => Ok(client.create_token(&request).await?),
            Way::Store(store) => {
                let (now, actor) = (store.now().await?, actor());
                request.check(now).map_err(|error| Exit::Data.because(error.message))?;
                let (text, token) = Token::make(request, secret::chance()?, now, &actor.name);
                store.put_token(&token, &actor).await?;
                Ok(TokenMade { token: text, kept: TokenAnswer::of(token, now) })
            }
        }
    }

    /// It is worth nothing any more, or after a while.
    pub async fn end_token(&self, id: &TokenId, after: Duration) -> anyhow::Result<()> {
        match &self.way {
            Way::Port(client) => Ok(client.end_token(id, after).await?),
            Way::Store(store) => Ok(store.end_token(id, Token::end(store.now().await?, after), &actor()).await?),
        }
    }

    pub async fn audit(&self, filter: &AuditFilter, cursor: Option<&str>, limit: usize) -> anyhow::Result<PageOf<Audited>> {
        match &self.way {
            Way::Port(client) => Ok(client.audit(filter, cursor, limit).await?),
            Way::Store(store) => {
                let page = trail::list(&**store, filter, cursor, limit).await?;
                Ok(PageOf { items: page.items, next: page.next })
            }
        }
    }

    pub async fn audit_heads(&self) -> anyhow::Result<Vec<Head>> {
        match &self.way {
            Way::Port(client) => Ok(client.audit_heads().await?),
            Way::Store(store) => Ok(store.audit_heads().await?),
        }
    }

    pub async fn schedules(&self) -> anyhow::Result<Vec<ScheduleAnswer>> {
        match &self.way {
            Way::Port(client) => Ok(client.schedules().await?),
            Way::Store(store) => {
                let now = store.now().await?;
                Ok(store.schedules().await?.into_iter().map(|state| schedule_answer(state, now)).collect())
            }
        }
    }

    pub async fn schedule(&self, name: &Name) -> anyhow::Result<ScheduleAnswer> {
        let found = self.schedules().await?.into_iter().find(|answer| answer.schedule.name == *name);
        found.ok_or_else(|| Exit::Data.because(format!("schedule {name} does not exist; see `windlass schedules list`")))
    }

    pub async fn preview(&self, name: &Name, count: usize) -> anyhow::Result<PreviewAnswer> {
        let schedule = self.schedule(name).await?.schedule;
        let instants = match &self.way {
            Way::Port(client) => client.preview_schedule(name, count).await?,
            Way::Store(store) => {
                let timetable = schedule.check().map_err(|error| Exit::Data.because(format!("schedule {name}: {error}")))?;
                timetable.preview(store.now().await?, count)
            }
        };
        Ok(PreviewAnswer { name: name.clone(), instants })
    }

    pub async fn occurrences(&self, name: &Name, limit: usize) -> anyhow::Result<Vec<Occurrence>> {
        self.schedule(name).await?;
        match &self.way {
            Way::Port(client) => Ok(client.occurrences(name, limit).await?),
            Way::Store(store) => Ok(store.occurrences(name, limit).await?),
        }
    }

    pub async fn pause_schedule(&self, name: &Name, paused: bool) -> anyhow::Result<ScheduleAnswer> {
        match &self.way {
            Way::Port(client) => Ok(client.pause_schedule(name, paused).await?),
            Way::Store(store) => {
                store.pause_schedule(name, paused, &actor()).await?;
                self.schedule(name).await
            }
        }
    }

    pub async fn delete_schedule(&self, name: &Name) -> anyhow::Result<()> {
        match &self.way {
            Way::Port(client) => Ok(client.delete_schedule(name).await?),
            Way::Store(store) => Ok(store.delete_schedule(name, &actor()).await?),
        }
    }

    /// One job now, besides the schedule's own.
    pub async fn run_schedule(&self, name: &Name) -> anyhow::Result<Enqueued> {
        let store = match &self.way {
            Way::Port(client) => return Ok(client.run_schedule(name).await?),
            Way::Store(store) => store,
        };
        let job = self.schedule(name).await?.schedule.job;
        let job = Envelope { id: Some(JobId::mint()), ..job }.check(self.limits).map_err(|error| store::Error::from((0, error)))?;
        Ok(store.run_schedule(name, job, &actor()).await?)
    }
}

/// The most that a store lists in one call.
pub const MOST_ROWS: usize = 1000;

/// Who acts, for the audit: each act has an id of its own.
pub(super) fn actor() -> Actor {
    // SAFETY: getuid has no preconditions and cannot fail.
    let by_number = || format!("uid {}", unsafe { libc::getuid() });
    Actor::new(format!("cli:{}", std::env::var("USER").unwrap_or_else(|_| by_number())))
}

fn schedule_answer(state: ScheduleState, now: Timestamp) -> ScheduleAnswer {
    let next = if state.paused { None } else { state.schedule.check().ok().and_then(|timetable| timetable.next_after(now)) };
    ScheduleAnswer { schedule: state.schedule, generation: state.generation, last: state.last, paused: state.paused, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_of_the_caller_or_of_root_is_trusted_and_no_other() {
        assert!(is_trusted(1000, 1000) && is_trusted(0, 1000) && is_trusted(0, 0));
        assert!(!is_trusted(1001, 1000) && !is_trusted(1000, 0));
    }
}
