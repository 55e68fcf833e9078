//! Templates of reminders: strict (a variable that is not given is an error, not a gap in a mail), bounded in work and in
//! size, HTML escaped in HTML and nowhere else.

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value, value::Serde};
use std::io;

/// Instructions a template may execute: some thousand lines of a list, and no endless loop.
const FUEL: u64 = 100_000;
/// Longer mails are refused by servers; longer subjects by people.
const MOST_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Html,
}

/// The member's template with `vars`, or a sentence about what is wrong with it.
pub(super) fn render(member: &str, source: &str, vars: &serde_json::Value, format: Format) -> Result<String, String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(move |_| if format == Format::Html { AutoEscape::Html } else { AutoEscape::None });
    let template =
        environment.template_from_named_str(member, source).map_err(|e| format!("the template `{member}` cannot be read: {e}"))?;
    let mut output = Capped(Vec::new());
    let rendered = template.render_captured_to(Value::from(Serde(vars)), &mut output);
    if let Err(error) = rendered {
        let missing = missing(&template.undeclared_variables(false), vars);
        return Err(match error.kind() {
            ErrorKind::UndefinedError if !missing.is_empty() => {
                format!("the template `{member}` needs {missing}, which `vars` does not hold")
            }
            ErrorKind::UndefinedError => format!("the template `{member}` uses a variable that `vars` does not hold: {error}"),
            ErrorKind::OutOfFuel => format!("the template `{member}` does too much work; shorten its loops"),
            ErrorKind::WriteFailure => format!("the template `{member}` writes more than {MOST_BYTES} bytes"),
            _ => format!("the template `{member}` fails: {error}"),
        });
    }
    drop(rendered);
    String::from_utf8(output.0).map_err(|_| format!("the template `{member}` writes something that is not text"))
}

fn missing(needed: &std::collections::HashSet<String>, vars: &serde_json::Value) -> String {
    let mut names: Vec<String> = needed.iter().filter(|name| vars.get(name.as_str()).is_none()).map(|name| format!("`{name}`")).collect();
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
