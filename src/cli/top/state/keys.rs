//! What each key does.

use super::{Go, Hold, JobsOf, List, Note, Over, Step, Top, View};
use crate::job::State;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A screen's worth, more or less.
const PAGE: isize = 10;

/// The states that jobs are narrowed down to, one after the other.
const STATES: [Option<State>; 6] =
    [None, Some(State::Queued), Some(State::Running), Some(State::Scheduled), Some(State::Parked), Some(State::Dead)];

impl Top {
    pub fn key(&mut self, key: KeyEvent) -> Step {
        let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if with_control => return Step::Quit,
            KeyCode::Char('l') if with_control => return Step::Redraw,
            _ if with_control => return Step::Stay,
            _ => self.note = None,
        }
        match self.over.take() {
            None => self.key_in_view(key.code),
            Some(Over::Filter) => self.key_in_filter(key.code),
            Some(Over::Hold(hold)) => self.key_in_hold(hold, key.code),
            Some(over) => self.key_in_text(over, key.code),
        }
    }

    fn key_in_view(&mut self, key: KeyCode) -> Step {
        match key {
            KeyCode::Char('q') => return Step::Quit,
            KeyCode::Esc => return self.back(),
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.turn(1),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => self.turn(View::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='5') => self.show(View::ALL[digit as usize - '1' as usize]),
            KeyCode::Char('?') => self.over = Some(Over::Help),
            KeyCode::Char('/') => self.over = Some(Over::Filter),
            KeyCode::Char('p') => self.ask_to_hold(),
            KeyCode::Char('s') => self.sort(),
            KeyCode::Char('r') => self.order.is_reversed = !self.order.is_reversed,
            KeyCode::Enter => self.open(),
            key => {
                if let Some(go) = way(key) {
                    let keys = self.keys();
                    self.list_mut().go(go, &keys);
                }
            }
        }
        Step::Stay
    }

    fn key_in_filter(&mut self, key: KeyCode) -> Step {
        self.over = Some(Over::Filter);
        match key {
            KeyCode::Enter => self.over = None,
            KeyCode::Esc => {
                self.list_mut().filter.clear();
                self.over = None;
            }
            KeyCode::Backspace => drop(self.list_mut().filter.pop()),
            KeyCode::Char(c) if !c.is_control() => self.list_mut().filter.push(c),
            _ => {}
        }
        Step::Stay
    }

    fn key_in_hold(&mut self, mut hold: Hold, key: KeyCode) -> Step {
        match key {
            KeyCode::Esc => return Step::Stay,
            KeyCode::Enter => {
                if let Some(act) = hold.agree() {
                    return Step::Do(act);
                }
            }
            KeyCode::Backspace => hold.erase(),
            KeyCode::Char(c) => hold.write(c),
            _ => {}
        }
        self.over = Some(Over::Hold(hold));
        Step::Stay
    }

    /// Something to read: it is gone through, and closed by any key that closes things.
    fn key_in_text(&mut self, mut over: Over, key: KeyCode) -> Step {
        if matches!(key, KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q' | '?')) {
            return Step::Stay;
        }
        if let (Over::Job { scroll, .. } | Over::Group { scroll, .. }, Some(go)) = (&mut over, way(key)) {
            *scroll = match go {
                Go::By(lines) => scroll.saturating_add_signed(i16::try_from(lines).unwrap_or_default()),
                Go::First => 0,
                Go::Last => u16::MAX,
            };
        }
        self.over = Some(over);
        Step::Stay
    }

    /// One step out of what one is in, and out of the program from the outermost.
    fn back(&mut self) -> Step {
        if !self.list().filter.is_empty() {
            self.list_mut().filter.clear();
        } else if self.view == View::Jobs && self.jobs_of != JobsOf::default() {
            self.show_jobs(JobsOf::default());
            self.show(View::Queues);
        } else {
            return Step::Quit;
        }
        Step::Stay
    }

    fn turn(&mut self, steps: usize) {
        let place = View::ALL.iter().position(|view| *view == self.view).unwrap_or(0);
        self.show(View::ALL[(place + steps) % View::ALL.len()]);
    }

    const fn show(&mut self, view: View) {
        self.view = view;
    }

    fn show_jobs(&mut self, of: JobsOf) {
        if self.jobs_of != of {
            self.jobs = None;
            self.jobs_of = of;
            self.lists[Self::list_of(View::Jobs)] = List::default();
        }
        self.show(View::Jobs);
    }

    /// The next order of queues, or the next state of jobs.
    fn sort(&mut self) {
        match self.view {
            View::Overview | View::Queues => self.order.next(),
            View::Jobs => {
                let place = STATES.iter().position(|state| *state == self.jobs_of.state).unwrap_or(0);
                self.show_jobs(JobsOf { state: STATES[(place + 1) % STATES.len()], ..self.jobs_of.clone() });
            }
            View::Dead | View::Daemons => {}
        }
    }

    fn open(&mut self) {
        let Some(place) = self.chosen() else { return };
        match self.view {
            View::Overview | View::Queues => {
                let queue = self.queue_rows().get(place).map(|queue| queue.name.clone());
                self.show_jobs(JobsOf { queue, state: None });
            }
            View::Jobs => {
                self.explanation = None;
                self.over = self.job_rows().get(place).map(|job| Over::Job { id: job.id, scroll: 0 });
            }
            View::Dead => {
                self.over = self.group_rows().get(place).map(|group| Over::Group { fingerprint: group.fingerprint.clone(), scroll: 0 });
            }
            View::Daemons => {}
        }
    }

    fn ask_to_hold(&mut self) {
        let hold = match (self.may_not_operate(), self.chosen_queue()) {
            (Some(why), _) => Err(why),
            (None, None) => Err("choose a queue first: Tab to Queues".into()),
            (None, Some(queue)) => Hold::of(queue),
        };
        match hold {
            Ok(hold) => self.over = Some(Over::Hold(hold)),
            Err(why) => self.note = Some(Note { at: self.now, says: Err(why) }),
        }
    }
}

const fn way(key: KeyCode) -> Option<Go> {
    match key {
        KeyCode::Down | KeyCode::Char('j') => Some(Go::By(1)),
        KeyCode::Up | KeyCode::Char('k') => Some(Go::By(-1)),
        KeyCode::PageDown => Some(Go::By(PAGE)),
        KeyCode::PageUp => Some(Go::By(-PAGE)),
        KeyCode::Home | KeyCode::Char('g') => Some(Go::First),
        KeyCode::End | KeyCode::Char('G') => Some(Go::Last),
        _ => None,
    }
}
