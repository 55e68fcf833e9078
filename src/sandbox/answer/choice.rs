//! Values that are chosen, not copied: members of an enum, yes or no.

use super::{Filled, Scope, fingerprint};
use crate::sandbox::reading::{
    Document,
    words::{Cue, stems},
};
use serde_json::Value;

/// What the words of an option count on a line that speaks of the property, besides the one they count anywhere.
const ON_THE_RIGHT_LINE: u32 = 5;

/// The option whose words the text uses, the most so near the words of the property.
pub(super) fn one_of(options: &[Value], cue: &Cue, scope: &Scope<'_>) -> Filled {
    let best = |document: &Document| options.iter().map(|option| uses(option, cue, document)).max().unwrap_or(0);
    let document = scope.wide.filter(|_| best(scope.near) == 0).unwrap_or(scope.near);
    let best = best(document);
    if let Some(option) = options.iter().find(|option| best > 0 && uses(option, cue, document) == best) {
        return Filled::sure(option.clone());
    }
    if options.contains(&Value::Null) {
        return Filled::guess(Value::Null);
    }
    let any = usize::try_from(fingerprint(&document.text()) % options.len().max(1) as u64).unwrap_or(0);
    Filled::guess(options.get(any).cloned().unwrap_or(Value::Null))
}

fn uses(option: &Value, cue: &Cue, document: &Document) -> u32 {
    let words = match option {
        Value::String(text) => stems(text),
        Value::Number(number) => vec![number.to_string()],
        _ => return 0,
    };
    let on_line = |line: &crate::sandbox::reading::line::Line| {
        let spoken = stems(&line.text);
        let hits = spoken.windows(words.len().max(1)).filter(|window| *window == words).count();
        let weight = if cue.score(&spoken) > 0 { 1 + ON_THE_RIGHT_LINE } else { 1 };
        u32::try_from(hits).unwrap_or(u32::MAX).saturating_mul(weight)
    };
    document.spoken().map(on_line).sum()
}

/// Yes when the text speaks of it without a no. A property such as `is_online` or `has_exam` is spoken of by its last
/// words; of several sentences the one that has most of them decides.
pub(super) fn yes_or_no(cue: &Cue, document: &Document) -> Filled {
    const ASKING: [&str; 8] = ["has", "have", "can", "should", "does", "include", "allowed", "available"];
    const DENIALS: [&str; 11] = ["no", "not", "without", "never", "none", "isn", "don", "doesn", "cannot", "false", "neither"];
    let asked: Vec<&String> = cue.named_stems().iter().filter(|word| !ASKING.contains(&word.as_str())).collect();
    let said: Vec<Vec<String>> = document.sentences().iter().map(|sentence| stems(sentence)).collect();
    let spoken_of = |words: &[String]| asked.iter().filter(|word| words.contains(word)).count();
    let most = said.iter().map(|words| spoken_of(words)).max().unwrap_or(0);
    if let Some(words) = said.iter().find(|words| most > 0 && spoken_of(words) == most) {
        let at = words.iter().position(|word| asked.contains(&word)).unwrap_or(0);
        let around = &words[at.saturating_sub(4)..words.len().min(at + 5)];
        return Filled::sure(Value::Bool(!around.iter().any(|word| DENIALS.contains(&word.as_str()))));
    }
    let about = said.iter().find(|words| cue.score(words) > 1 && words.len() <= 12);
    about.map_or(Filled::guess(Value::Bool(false)), |words| {
        Filled::sure(Value::Bool(!words.iter().any(|word| DENIALS.contains(&word.as_str()))))
    })
}
