//! The terminal while the screen is up, and its way back to what it was, however that ends.

use ratatui::{
    Frame, Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::{Hide, Show},
        event::{self, Event},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
    layout::Position,
};
use std::{
    io::{self, IsTerminal as _, Stdout},
    panic, thread,
};
use tokio::sync::mpsc;

/// Whether somebody sits there to look and to press keys.
#[must_use]
pub fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|name| name != "dumb")
}

/// The whole screen. What was on it comes back when this is dropped, and before a panic is told.
pub struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// # Errors
    /// When the terminal cannot be written.
    pub fn open() -> io::Result<Self> {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            restore();
            tell(panicked);
        }));
        let screen = Self(Terminal::new(CrosstermBackend::new(io::stdout()))?);
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        Ok(screen)
    }

    /// # Errors
    /// When the terminal is gone.
    pub fn draw(&mut self, draws: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(draws).map(drop)
    }

    /// Nothing of what is there is taken for drawn any more. Not by `Terminal::clear`: it asks where the cursor is, and the answer would be
    /// read as keys.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn clear(&mut self) -> io::Result<()> {
        let size = self.0.size()?;
        self.0.resize((Position::ORIGIN, size).into())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// A terminal that is gone needs nothing.
fn restore() {
    let _ = disable_raw_mode();
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
}

/// Keys as they are pressed, and changes of the screen's size. Ends with the terminal.
///
/// # Errors
/// When no thread can be started.
pub fn events() -> io::Result<mpsc::UnboundedReceiver<Event>> {
    let (tell, events) = mpsc::unbounded_channel();
    thread::Builder::new().name("keys".into()).spawn(move || {
        while let Ok(event) = event::read() {
            if tell.send(event).is_err() {
                return;
            }
        }
    })?;
    Ok(events)
}
