//! Turns due instants into jobs: wakes at the next one, asks `job::schedule` what becomes of those that have passed, and
//! has the store record it. Any number of daemons may do so at once; `Store::fire` lets one of them win.
//!
//! Nothing is remembered here that matters: the store keeps how far each schedule got, so a restart misses nothing.

use crate::{
    job::{
        Name, Timestamp,
        schedule::{Plan, Rule, ScheduleState, SkipReason, Timetable, plan},
    },
    store::{self, Now, Store},
    telemetry::Metrics,
};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A schedule that was put or edited is seen after this long at most, by this daemon and by all others. No rule is due more
/// often, so even a new one misses nothing by it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Stores commit what arrives together: ten thousand schedules due at midnight are some forty commits, not ten thousand.
const FIRED_AT_ONCE: usize = 256;

pub struct Scheduler {
    store: Arc<dyn Store>,
    metrics: Metrics,
    stop: CancellationToken,
    watched: BTreeMap<Name, Watched>,
}

/// A schedule as of the last look, kept so that the next look costs no parsing.
struct Watched {
    rule: Rule,
    /// None: the rule cannot be read (any more).
    timetable: Option<Arc<Timetable>>,
    /// The first due instant after `last`.
    last: Timestamp,
    next: Option<Timestamp>,
    /// What is wrong with it, so that the log says so once and not every second.
    trouble: Option<String>,
}

/// What a look at all schedules left to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// The next instant at which any schedule is due.
    pub next_due: Option<Timestamp>,
    /// A schedule has a backlog beyond what one step bears: tick again at once.
    pub more: bool,
}

impl Tick {
    fn due_at(&mut self, instant: Option<Timestamp>) {
        self.next_due = self.next_due.into_iter().chain(instant).min();
    }
}

/// What became of firing one schedule: how far it got, or what is wrong with it.
type Fired = Result<Option<Plan>, String>;

impl Scheduler {
    #[must_use]
    pub fn new(store: Arc<dyn Store>, metrics: Metrics, stop: CancellationToken) -> Self {
        for result in ["job", "broken"].into_iter().chain(SkipReason::ALL.map(SkipReason::as_str)) {
            metrics.schedule_occurrences.with_label_values(&[result]).inc_by(0);
        }
        Self { store, metrics, stop, watched: BTreeMap::new() }
    }

    /// Ticks until stopped. A store that cannot be reached is tried again with every look.
    pub async fn run(mut self) {
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            let wake_at = self.look().await;
            tokio::select! {
                () = tokio::time::sleep_until(wake_at) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// One tick by the store's clock; returns when the next one is wanted.
    async fn look(&mut self) -> Instant {
        let began = Instant::now();
        let looked = async {
            let now = self.store.now().await?;
            Ok::<_, store::Error>((now, self.tick_at(now, None).await?))
        };
        match looked.await {
            Ok((_, Tick { more: true, .. })) => began,
            Ok((now, Tick { next_due: Some(due), .. })) => began + due.since(now).min(LOOK_EVERY),
            Ok(_) => began + LOOK_EVERY,
            Err(error) => {
                // The engine tells of an outage.
                if !error.is_outage() {
                    tracing::warn!(%error, "schedules wait for the store");
                }
                began + LOOK_EVERY
            }
        }
    }

    /// Records everything that is due by `now`, the store's clock if none is given. One broken schedule stops no other.
    ///
    /// # Errors
    /// When the store cannot be used at all. What was recorded until then stays recorded; the rest waits for the next tick.
    pub async fn tick(&mut self, now: Now) -> store::Result<Tick> {
        let instant = match now {
            Some(instant) => instant,
            None => self.store.now().await?,
        };
        self.tick_at(instant, now).await
    }

    async fn tick_at(&mut self, instant: Timestamp, now: Now) -> store::Result<Tick> {
        let Self { store, metrics, stop, watched } = self;
        let states = store.schedules().await?;
        metrics.scheduler_last_tick.with_label_values::<&str>(&[]).set(instant.0 as f64 / 1e6);
        let names: BTreeSet<&Name> = states.iter().map(|state| &state.schedule.name).collect();
        watched.retain(|name, _| names.contains(name));

        let mut tick = Tick::default();
        let mut due = Vec::new();
        for state in states {
            match Watched::of(watched, &state, metrics).next_due(&state, metrics) {
                Some((next, timetable)) if next <= instant => due.push((state, timetable)),
                next => tick.due_at(next.map(|(next, _)| next)),
            }
        }
        let mut firing = stream::iter(due)
            .take_while(|_| std::future::ready(!stop.is_cancelled()))
            .map(|(state, timetable)| fire(&**store, state, timetable, instant, now))
            .buffer_unordered(FIRED_AT_ONCE);
        while let Some((name, fired)) = firing.try_next().await? {
            let Some(watched) = watched.get_mut(&name) else { continue };
            match fired {
                Ok(Some(plan)) => {
                    count(metrics, &plan);
                    tick.more |= plan.more;
                    tick.due_at(watched.timetable.as_ref().and_then(|timetable| timetable.next_after(plan.through)));
                    watched.trouble = None;
                }
                // Another daemon was first; the next look sees how far it got.
                Ok(None) => watched.trouble = None,
                Err(trouble) => watched.complain(&name, trouble, metrics),
            }
        }
        Ok(tick)
    }
}

impl Watched {
    /// The entry of a schedule, made anew when its rule is not the one last seen.
    fn of<'a>(watched: &'a mut BTreeMap<Name, Self>, state: &ScheduleState, metrics: &Metrics) -> &'a mut Self {
        let (name, rule) = (&state.schedule.name, &state.schedule.rule);
        if watched.get(name).is_none_or(|watched| watched.rule != *rule) {
            watched.insert(name.clone(), Self::new(name, rule, metrics));
        }
        watched.get_mut(name).expect("it was put there if it was missing")
    }

    fn new(name: &Name, rule: &Rule, metrics: &Metrics) -> Self {
        // `last` before every instant, so that the first look computes the next one.
        let mut new = Self { rule: rule.clone(), timetable: None, last: Timestamp(i64::MIN), next: None, trouble: None };
        match contained(|| Timetable::new(rule)).and_then(|made| made.map_err(|error| error.to_string())) {
            Ok(timetable) => new.timetable = Some(Arc::new(timetable)),
            Err(trouble) => new.complain(name, trouble, metrics),
        }
        new
    }

    /// The first instant that has neither job nor skip yet. None: it never comes, or the schedule is broken.
    fn next_due(&mut self, state: &ScheduleState, metrics: &Metrics) -> Option<(Timestamp, Arc<Timetable>)> {
        let timetable = Arc::clone(self.timetable.as_ref()?);
        if self.last != state.last {
            match contained(|| timetable.next_after(state.last)) {
                Ok(next) => (self.last, self.next) = (state.last, next),
                Err(trouble) => {
                    self.complain(&state.schedule.name, trouble, metrics);
                    return None;
                }
            }
        }
        self.next.map(|next| (next, timetable))
    }

    /// Logs and counts what is wrong with a schedule when it goes wrong, and again only if it goes wrong otherwise.
    fn complain(&mut self, name: &Name, trouble: String, metrics: &Metrics) {
        if self.trouble.as_ref() != Some(&trouble) {
            tracing::error!(schedule = %name, error = trouble, "the schedule is broken; the others go on");
            metrics.schedule_occurrences.with_label_values(&["broken"]).inc();
            self.trouble = Some(trouble);
        }
    }
}

/// Plans one schedule and has the store record it. The inner result is the schedule's own: what was recorded (nothing, if
/// another daemon was first), or what is wrong with it. The outer error says that the store cannot be used at all.
async fn fire(
    store: &dyn Store,
    state: ScheduleState,
    timetable: Arc<Timetable>,
    instant: Timestamp,
    now: Now,
) -> store::Result<(Name, Fired)> {
    let name = state.schedule.name.clone();
    let fired = AssertUnwindSafe(async {
        // A backlog is some milliseconds of computing; other tasks of this thread go first.
        tokio::task::yield_now().await;
        let plan = match plan(&state, &timetable, instant) {
            Ok(Some(plan)) => plan,
            Ok(None) => return Ok(Ok(None)),
            Err(error) => return Ok(Err(error.to_string())),
        };
        match store.fire(&state, plan.clone(), now).await {
            Ok(first) => Ok(Ok(first.then_some(plan))),
            // Unknown: the next tick reads how far the schedule got, and that is the answer.
            Err(error) if error.is_outage() => Err(error),
            Err(error) => Ok(Err(error.to_string())),
        }
    });
    let fired = fired.catch_unwind().await.unwrap_or_else(|panic| Ok(Err(said(&*panic))))?;
    Ok((name, fired))
}

fn count(metrics: &Metrics, plan: &Plan) {
    metrics.schedule_occurrences.with_label_values(&["job"]).inc_by(plan.jobs.len() as u64);
    if let Some(skipped) = plan.skipped {
        metrics.schedule_occurrences.with_label_values(&[skipped.reason.as_str()]).inc_by(skipped.count);
    }
}

/// Calendars are other people's code; what they cannot bear must not end the loop that all schedules share.
fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| said(&*panic))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", words.unwrap_or("without words"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        job::schedule::Schedule,
        store::{Actor, Role, sqlite::SqliteStore},
    };

    #[tokio::test]
    async fn a_calendar_that_panics_stops_no_other_schedule() {
        let folder = tempfile::tempdir().unwrap();
        let role = Role::Daemon { control: None };
        let store = Arc::new(SqliteStore::open(&folder.path().join("s.db"), role, Default::default(), Clock::System).unwrap());
        let begun = Timestamp::from_secs(1_893_456_000);
        for name in ["bomb", "sound"] {
            let text = format!(r#"{{"name":"{name}","every_ms":60000,"job":{{"kind":"k","payload":0}}}}"#);
            store.put_schedule(&serde_json::from_str::<Schedule>(&text).unwrap(), &Actor::new("test"), Some(begun)).await.unwrap();
        }
        let metrics = Metrics::new();
        let mut scheduler = Scheduler::new(store.clone(), metrics.clone(), CancellationToken::new());
        scheduler.tick(Some(begun)).await.unwrap();
        // Divides by zero when asked for its next instant: once while looking, once while planning.
        let bomb = Arc::new(Timetable::Every { every_us: 0, anchor: Timestamp(0) });
        let name = Name::literal("bomb");
        scheduler.watched.get_mut(&name).unwrap().timetable = Some(Arc::clone(&bomb));
        scheduler.tick(Some(begun.plus_ms(60_000))).await.unwrap();
        scheduler.watched.get_mut(&name).unwrap().last = begun.plus_ms(1);
        scheduler.tick(Some(begun.plus_ms(120_000))).await.unwrap();

        assert_eq!(store.occurrences(&Name::literal("sound"), 10).await.unwrap().len(), 2);
        assert!(store.occurrences(&name, 10).await.unwrap().is_empty());
        let trouble = scheduler.watched[&name].trouble.as_deref();
        assert_eq!(trouble, Some("panicked: attempt to divide by zero"));
        assert_eq!(metrics.schedule_occurrences.with_label_values(&["broken"]).get(), 1, "said once");
    }
}
