//! Templates of reminders: strict (a variable that is not given is an error, not a gap in a mail), HTML escaped in HTML and
//! nowhere else, and bounded in depth, work and memory, because they come from whoever may enqueue. Rendering computes, so
//! it is for a [`Pool`](crate::workers::pool::Pool), whose stack holds what little nesting is left.

mod filters;
mod language;
mod values;

use minijinja::{AutoEscape, Environment, Error, ErrorKind, Template, UndefinedBehavior};
use std::{collections::HashSet, io};
use values::Meter;

/// Steps a template may take: some thousand lines of a list, and no endless loop.
const FUEL: u64 = 100_000;
/// Texts up to here take any step at no cost worth counting; longer ones leave fewer steps.
const LIGHT: usize = 64 << 10;
/// Longer mails are refused by servers; longer subjects by people.
const MOST_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Html,
}

/// The member's template with `vars`, or a sentence about what is wrong with it.
pub(super) fn render(member: &str, source: &str, vars: &serde_json::Value, format: Format) -> Result<String, String> {
    rendered(member, source, vars, format).map_err(|problem| format!("the template `{member}` {problem}"))
}

fn rendered(member: &str, source: &str, vars: &serde_json::Value, format: Format) -> Result<String, String> {
    language::check(source)?;
    let (meter, longest) = (Meter::new(), longest_text(vars));
    let environment = environment(&meter, longest, format);
    let template = environment.template_from_named_str(member, source).map_err(language::unreadable)?;
    let mut output = Capped(Vec::new());
    let end = template.render_captured_to(meter.value(vars), &mut output).map(drop);
    if meter.is_spent() {
        return Err(too_much_work());
    }
    end.map_err(|error| problem(&error, &template, vars))?;
    String::from_utf8(output.0).map_err(|_| "writes something that is not text".into())
}

fn environment<'s>(meter: &Meter, longest: usize, format: Format) -> Environment<'s> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some((FUEL * LIGHT as u64 / longest.max(LIGHT) as u64).max(1)));
    environment.set_auto_escape_callback(move |_| if format == Format::Html { AutoEscape::Html } else { AutoEscape::None });
    filters::install(&mut environment, meter, (2 * longest).clamp(LIGHT, MOST_BYTES));
    environment
}

fn longest_text(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::String(text) => text.len(),
        serde_json::Value::Array(items) => items.iter().map(longest_text).max().unwrap_or(0),
        serde_json::Value::Object(members) => members.iter().map(|(name, value)| name.len().max(longest_text(value))).max().unwrap_or(0),
        _ => 0,
    }
}

fn problem(error: &Error, template: &Template<'_, '_>, vars: &serde_json::Value) -> String {
    match error.kind() {
        ErrorKind::UndefinedError => match missing(&template.undeclared_variables(false), vars) {
            names if names.is_empty() => format!("uses a variable that `vars` does not hold: {error}"),
            names => format!("needs {names}, which `vars` does not hold"),
        },
        ErrorKind::OutOfFuel => too_much_work(),
        ErrorKind::WriteFailure => format!("writes more than {MOST_BYTES} bytes"),
        _ => format!("fails: {error}"),
    }
}

fn too_much_work() -> String {
    "does too much work; shorten its loops and the texts they go over".into()
}

fn missing(needed: &HashSet<String>, vars: &serde_json::Value) -> String {
    let is_missing = |name: &&String| *name != "range" && vars.get(name.as_str()).is_none();
    let mut names: Vec<String> = needed.iter().filter(is_missing).map(|name| format!("`{name}`")).collect();
    names.sort();
    names.join(", ")
}

struct Capped(Vec<u8>);

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
