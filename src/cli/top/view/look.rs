//! How things look. A colour never says anything that no word or sign says too.

use ratatui::style::{Color, Modifier, Style};

#[derive(Clone, Copy, Debug)]
pub struct Look {
    in_colour: bool,
}

impl Look {
    pub const PLAIN: Self = Self { in_colour: false };
    #[cfg(test)]
    pub const COLOURED: Self = Self { in_colour: true };

    /// Without colours where the environment says so (<https://no-color.org>).
    #[must_use]
    pub fn of_process() -> Self {
        Self { in_colour: std::env::var_os("NO_COLOR").is_none_or(|said| said.is_empty()) }
    }

    #[must_use]
    pub fn good(self) -> Style {
        self.in_colour(Style::new(), Color::Green)
    }

    #[must_use]
    pub fn warn(self) -> Style {
        self.in_colour(Style::new(), Color::Yellow)
    }

    #[must_use]
    pub fn bad(self) -> Style {
        self.in_colour(Style::new().add_modifier(Modifier::BOLD), Color::Red)
    }

    #[must_use]
    pub fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    #[must_use]
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    #[must_use]
    pub fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    fn in_colour(self, style: Style, colour: Color) -> Style {
        if self.in_colour { style.fg(colour) } else { style }
    }
}
