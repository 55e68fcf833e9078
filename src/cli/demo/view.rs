//! How the tour looks while it goes on: a bar that stays and lines that pass above it, or only the lines when standard error
//! is no terminal.

use crate::cli::output::plain;
use indicatif::{ProgressBar, ProgressStyle};
use std::{io::IsTerminal as _, time::Duration};

pub struct View {
    /// None without a terminal.
    bar: Option<ProgressBar>,
}

impl View {
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar }
    }

    /// From now on it is known how many jobs there are.
    pub fn begin(&self, jobs: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(jobs as u64);
            if let Ok(style) = ProgressStyle::with_template("{spinner} [{bar:40}] {pos} of {len} jobs done, {elapsed}") {
                bar.set_style(style.progress_chars("=> "));
            }
        }
    }

    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(plain(line)),
            None => eprintln!("{}", plain(line)),
        }
    }

    /// A line, and where the bar stands after it.
    pub fn step(&self, line: &str, done: usize) {
        self.say(line);
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
        }
    }

    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
