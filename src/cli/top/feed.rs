//! Asks, over and over: queues and daemons each time, and what else the screen shows. Finds the way again when it is lost, and from the store
//! back to a daemon.

use super::{
    heard::{Act, Answer, Interest, JobsOf, Round, Told},
    question::{PATIENCE, Question, REFUSED_FOR, Silent},
};
use crate::{
    cli::{
        Place,
        door::{self, Door, MayMake},
        exit::{self, Exit},
    },
    clock::Clock,
    config::{self, Config, show::url_without_secrets},
    control::wire::{JobPage, SessionAnswer},
    job::Name,
    store::Filter,
};
use std::time::Duration;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

/// While the store itself is asked, a daemon is looked for so often.
const LOOK_FOR_DAEMON: Duration = Duration::from_secs(10);
/// The newest are enough to see what goes on.
const JOBS: usize = 100;
/// Groups change slowly, and many dead letters are read for them.
const GROUPS_EVERY: Duration = Duration::from_secs(5);

pub struct Feed<'p> {
    place: &'p Place,
    config: Config,
    way: Option<Way>,
    /// Nobody is let in like this: since when, and the sentence.
    barred: Option<(Instant, String)>,
}

/// The way that was found, and what is asked for on it.
struct Way {
    door: Door,
    from: String,
    caller: Option<SessionAnswer>,
    found: Instant,
    session: Question,
    queues: Question,
    daemons: Question,
    jobs: Question,
    groups: Question,
    explanation: Question,
    asked: Interest,
}

impl<'p> Feed<'p> {
    /// # Errors
    /// When there is neither a daemon nor a store: that is a mistyped name, and no outage that ends.
    pub async fn open(place: &'p Place) -> anyhow::Result<Self> {
        let config = config::load(&place.sources())?.config;
        let mut feed = Self { place, config, way: None, barred: None };
        feed.way = Some(feed.find().await?);
        Ok(feed)
    }

    /// Asks until nobody listens.
    pub async fn run(
        &mut self,
        every: Duration,
        mut interest: watch::Receiver<Interest>,
        mut acts: mpsc::UnboundedReceiver<Act>,
        tell: mpsc::UnboundedSender<Told>,
    ) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                changed = interest.changed() => if changed.is_err() { return },
                act = acts.recv() => {
                    let Some(act) = act else { return };
                    let _ = tell.send(Told::Acted(self.act(act).await));
                }
            }
            let wanted = interest.borrow_and_update().clone();
            if tell.send(self.look(wanted).await).is_err() {
                return;
            }
        }
    }

    pub async fn close(&mut self) {
        if let Some(way) = self.way.take() {
            // A store that does not answer is left as it is.
            let _ = timeout(PATIENCE, way.door.close()).await;
        }
    }

    /// One round.
    pub async fn look(&mut self, wanted: Interest) -> Told {
        match self.try_look(wanted).await {
            Ok(round) => Told::Round(Box::new(round)),
            Err(error) => {
                self.close().await;
                Told::Lost(exit::sentence(&error))
            }
        }
    }

    async fn try_look(&mut self, wanted: Interest) -> anyhow::Result<Round> {
        if self.way.as_ref().is_some_and(Way::may_be_outdated) && self.is_there_a_daemon().await {
            self.close().await;
        }
        if self.way.is_none() {
            self.way = Some(self.find_again().await?);
        }
        self.way.as_mut().expect("it was just found").ask(wanted).await
    }

    async fn find(&self) -> anyhow::Result<Way> {
        let door = Door::open(self.place, &self.config, MayMake::Nothing).await?;
        // A daemon of another version may not say; then its refusals have to do.
        let caller = door.caller().await.unwrap_or_default();
        let from = door.daemon().unwrap_or_else(|| url_without_secrets(&self.config.store.url));
        Ok(Way::new(door, from, caller))
    }

    /// A daemon that asks for another token is not asked at once again: it counts those who try.
    async fn find_again(&mut self) -> anyhow::Result<Way> {
        if let Some((since, says)) = &self.barred
            && since.elapsed() < REFUSED_FOR
        {
            return Err(Exit::Configuration.because(says));
        }
        let found = timeout(PATIENCE, self.find()).await.unwrap_or_else(|_| Err(Silent.into()));
        let barred = found.as_ref().err().filter(|error| Exit::of(error) == Exit::Configuration);
        self.barred = barred.map(|error| (Instant::now(), exit::sentence(error)));
        found
    }

    async fn is_there_a_daemon(&mut self) -> bool {
        if let Some(way) = &mut self.way {
            way.found = Instant::now();
        }
        matches!(door::daemon(self.place, &self.config).await, Ok(Some(_)))
    }

    async fn act(&mut self, act: Act) -> Answer<String> {
        let Some(way) = &mut self.way else { return Err("nobody answers just now; nothing was done".into()) };
        // What becomes of it is to be seen at once.
        way.queues = Question::vital();
        let (queue, done) = match &act {
            Act::Pause { queue, reason } => (queue, timeout(PATIENCE, way.door.pause(queue, reason, None)).await),
            Act::Resume { queue } => (queue, timeout(PATIENCE, way.door.resume(queue)).await),
        };
        match done {
            Ok(Ok(answer)) => Ok(format!("queue {queue} {}", if answer.paused.is_some() { "is paused" } else { "goes on" })),
            Ok(Err(error)) => Err(exit::sentence(&error)),
            Err(_) => Err(format!("{Silent}; look whether queue {queue} is as you want it")),
        }
    }
}

impl Way {
    fn new(door: Door, from: String, caller: Option<SessionAnswer>) -> Self {
        let [jobs, groups, explanation] = <[Question; 3]>::default();
        let [session, queues, daemons] = [(); 3].map(|()| Question::vital());
        let (found, asked) = (Instant::now(), Interest::default());
        Self { door, from, caller, found, session, queues, daemons, jobs, groups, explanation, asked }
    }

    /// It leads to the store itself, and a daemon may have come.
    fn may_be_outdated(&self) -> bool {
        self.door.daemon().is_none() && self.found.elapsed() > LOOK_FOR_DAEMON
    }

    async fn ask(&mut self, wanted: Interest) -> anyhow::Result<Round> {
        self.turn_to(&wanted);
        let door = &self.door;
        let began = Instant::now();
        // Whoever may see no queues wants to know all the same whether somebody is there.
        if self.queues.is_refused()
            && let Some(Ok(caller)) = self.session.ask(Duration::ZERO, async || door.caller().await).await?
        {
            self.caller = caller;
        }
        let queues = self.queues.ask(Duration::ZERO, async || door.queues().await).await?;
        let took = began.elapsed();
        let daemons = self.daemons.ask(Duration::ZERO, async || door.daemons().await).await?;
        let mut round = Round {
            at: Clock::System.now(),
            from: self.from.clone(),
            took,
            caller: self.caller.clone(),
            queues,
            daemons,
            ..Round::default()
        };
        if let Some(of) = wanted.jobs {
            let jobs = self.jobs.ask(Duration::ZERO, async || list(door, &of).await).await?;
            round.jobs = jobs.map(|jobs| (of, jobs));
        }
        if wanted.groups {
            round.groups = self.groups.ask(GROUPS_EVERY, async || door.dead_groups(&Filter::default(), None).await).await?;
        }
        if let Some(id) = wanted.explanation {
            round.explanation = self.explanation.ask(Duration::ZERO, async || door.explain(id).await).await?.map(|answer| (id, answer));
        }
        Ok(round)
    }

    /// What the screen just turned to is asked for at once.
    fn turn_to(&mut self, wanted: &Interest) {
        if self.asked.jobs != wanted.jobs {
            self.jobs = Question::default();
        }
        if self.asked.groups != wanted.groups {
            self.groups = Question::default();
        }
        if self.asked.explanation != wanted.explanation {
            self.explanation = Question::default();
        }
        self.asked.clone_from(wanted);
    }
}

async fn list(door: &Door, of: &JobsOf) -> anyhow::Result<JobPage> {
    let queue = of.queue.as_deref().map(Name::new).transpose()?;
    door.list(&Filter { queue, state: of.state, ..Filter::default() }, None, JOBS).await
}
