//! `windlass top`: how it all stands, live in a terminal. What is shown and what keys do is `state/`, how it looks `view/`; `feed.rs` asks,
//! and `terminal.rs` has the terminal.

mod feed;
mod heard;
mod question;
mod state;
mod terminal;
mod view;

use super::{Place, door, exit::Exit, output, run};
use crate::clock::Clock;
use feed::Feed;
use heard::{Act, Interest, Told};
use ratatui::crossterm::{event::Event, terminal::size};
use state::{Step, Top};
use std::{io::IsTerminal as _, time::Duration};
use terminal::Screen;
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep},
};
use view::Look;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How often to ask, from 200ms to 1h
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = pace)]
    interval: Duration,
    /// Ask twice, print the overview as plain text, and end
    #[arg(long)]
    once: bool,
}

fn pace(text: &str) -> Result<Duration, String> {
    let pace = humantime::parse_duration(text).map_err(|error| format!("{error}; write such as 500ms or 2s"))?;
    let (least, most) = (Duration::from_millis(200), Duration::from_secs(3600));
    if (least..=most).contains(&pace) { Ok(pace) } else { Err("must be 200ms to 1h".into()) }
}

pub fn run(place: &Place, args: &Args) -> anyhow::Result<()> {
    if args.once {
        return door::runtime()?.block_on(once(place, args.interval));
    }
    if !terminal::is_there() {
        return Err(Exit::Usage.because(
            "`windlass top` needs a terminal; use `windlass top --once` for one look as text, or `windlass queues list --json` for a program",
        ));
    }
    let runtime = door::runtime()?;
    let ended = runtime.block_on(live(place, args.interval));
    // The thread that reads keys waits for one that nobody presses.
    runtime.shutdown_background();
    ended
}

async fn live(place: &Place, every: Duration) -> anyhow::Result<()> {
    let mut signals = run::signals()?;
    let mut feed = tokio::select! {
        feed = Feed::open(place) => feed?,
        _ = signals.recv() => return Ok(()),
    };
    let (interested, interest) = watch::channel(Interest::default());
    let (act, acts) = mpsc::unbounded_channel();
    let (tell, told) = mpsc::unbounded_channel();
    let desk = Desk { top: Top::new(Clock::System.now()), look: Look::of_process(), interested, act };
    let ended = tokio::select! {
        ended = desk.sit(signals, told) => ended,
        () = feed.run(every, interest, acts, tell) => Ok(()),
    };
    feed.close().await;
    ended
}

/// Where somebody sits: the state, and whom it hands on what is wanted.
struct Desk {
    top: Top,
    look: Look,
    interested: watch::Sender<Interest>,
    act: mpsc::UnboundedSender<Act>,
}

impl Desk {
    async fn sit(mut self, mut signals: mpsc::UnboundedReceiver<i32>, mut told: mpsc::UnboundedReceiver<Told>) -> anyhow::Result<()> {
        let mut screen = Screen::open()?;
        let mut events = terminal::events()?;
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut beyond = 0;
            screen.draw(|frame| beyond = view::draw(frame, &self.top, self.look))?;
            self.top.bound_scroll(beyond);
            let step = tokio::select! {
                biased;
                _ = signals.recv() => Step::Quit,
                event = events.recv() => match event {
                    Some(Event::Key(key)) if !key.is_release() => self.top.key(key),
                    Some(_) => Step::Stay,
                    None => Step::Quit,
                },
                Some(told) = told.recv() => { self.top.hear(told); Step::Stay }
                _ = ticks.tick() => { self.top.tick(Clock::System.now()); Step::Stay }
            };
            match step {
                Step::Quit => return Ok(()),
                Step::Redraw => screen.clear()?,
                Step::Do(act) => drop(self.act.send(act)),
                Step::Stay => {}
            }
            let interest = self.top.interest();
            self.interested.send_if_modified(|known| {
                *known != interest && {
                    *known = interest;
                    true
                }
            });
        }
    }
}

/// Two looks: how fast something goes is not to be seen by one.
async fn once(place: &Place, every: Duration) -> anyhow::Result<()> {
    let mut feed = Feed::open(place).await?;
    let mut top = Top::new(Clock::System.now());
    for wait in [Duration::ZERO, every] {
        sleep(wait).await;
        match feed.look(Interest::default()).await {
            Told::Lost(says) => return Err(Exit::TryAgain.because(says)),
            told => top.hear(told),
        }
    }
    feed.close().await;
    Ok(output::print(&view::text(&top, width()))?)
}

/// Of the terminal; where there is none, as `COLUMNS` says.
fn width() -> usize {
    let of_terminal = std::io::stdout().is_terminal().then(|| size().ok()).flatten().map(|(wide, _)| wide.into());
    let said = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    of_terminal.or_else(said).unwrap_or(80).clamp(40, 400)
}
