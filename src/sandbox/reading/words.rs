//! Words as a reader compares them: split out of names and prose, lower case, stemmed a little, with the synonyms that
//! course plans, offers and minutes use. Which text a word came from is the caller's affair.

use std::collections::BTreeSet;

/// Words that say nothing about what a property wants.
const STOP_WORDS: &[&str] = &[
    "a", "an", "and", "any", "are", "as", "at", "be", "each", "every", "for", "from", "given", "if", "in", "is", "it", "its", "list", "of",
    "one", "or", "per", "such", "that", "the", "their", "them", "this", "to", "was", "were", "with", "value", "string", "text", "item",
    "array", "object", "field", "null", "optional", "required", "found", "extract", "exactly", "all", "e", "g", "i", "s",
];

/// Each line is one meaning, by its stems; a word may stand in several lines.
const SYNONYMS: &[&[&str]] = &[
    &["title", "name", "heading", "headline", "subject", "label"],
    &["instructor", "teacher", "lecturer", "professor", "tutor", "taught", "author", "by"],
    &["price", "cost", "fee", "amount", "total", "tuition", "budget", "rate", "pay"],
    &["date", "day", "when"],
    &["deadline", "due", "until", "before", "expire", "submit"],
    &["start", "begin", "open", "first"],
    &["end", "finish", "close", "until", "last"],
    &["duration", "length", "long", "last", "take", "runtime"],
    &["topic", "unit", "module", "chapter", "lesson", "lecture", "week", "session", "theme"],
    &["schedule", "calendar", "timetable", "plan", "agenda", "week", "outline"],
    &["assignment", "homework", "exercise", "project", "deliverable", "assessment", "exam", "quiz"],
    &["task", "action", "todo", "step", "deliverable"],
    &["weight", "weighting", "worth", "percent", "percentage", "share", "grade", "grading"],
    &["email", "mail", "contact"],
    &["url", "link", "website", "site", "homepage", "web"],
    &["phone", "telephone", "tel", "mobile", "call"],
    &["location", "room", "place", "venue", "where", "address", "office", "building"],
    &["summary", "description", "abstract", "overview", "about", "detail", "note"],
    &["requirement", "prerequisite", "need", "must"],
    &["goal", "objective", "outcome", "aim", "learn"],
    &["person", "people", "attendee", "participant", "member", "student", "present"],
    &["company", "organization", "organisation", "vendor", "supplier", "firm", "employer"],
    &["customer", "client", "buyer", "bill"],
    &["quantity", "count", "number", "qty"],
    &["risk", "issue", "problem", "concern"],
    &["skill", "technology", "tool", "stack", "knowledge", "proficiency"],
    &["owner", "assignee", "responsible", "lead"],
    &["text", "reading", "book", "textbook", "material", "literature"],
];

/// The words of `text` as stems, in order: runs of letters or digits, `camelCase` and `snake_case` taken apart.
pub fn stems(text: &str) -> Vec<String> {
    split(text).into_iter().map(|word| stem(&word)).collect()
}

fn meaningful(text: &str) -> Vec<String> {
    stems(text).into_iter().filter(|word| !STOP_WORDS.contains(&word.as_str())).collect()
}

fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut after_lower = false;
    for c in text.chars() {
        let humps = after_lower && c.is_uppercase();
        if (!c.is_alphanumeric() || humps) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        after_lower = c.is_lowercase();
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Cuts the endings that separate `weeks` from `week` and `grading` from `grade`; crude, the same on both sides.
pub fn stem(word: &str) -> String {
    let cut = |ending: &str, least: usize| word.strip_suffix(ending).filter(|rest| rest.chars().count() >= least);
    if let Some(rest) = cut("ies", 2) {
        return format!("{rest}y");
    }
    for (ending, least) in [("sses", 2), ("xes", 2), ("ches", 2), ("shes", 2)] {
        if cut(ending, least).is_some() {
            return word[..word.len() - 2].to_owned();
        }
    }
    if word.ends_with("ss") || word.ends_with("us") || word.ends_with("is") {
        return word.to_owned();
    }
    cut("s", 3).unwrap_or(word).to_owned()
}

/// What a property asks for: the words of its name, and those of its title and description.
#[derive(Clone, Debug, Default)]
pub struct Cue {
    pub name: String,
    named: Vec<String>,
    described: BTreeSet<String>,
    akin: BTreeSet<String>,
}

/// How much one word of the text counts when the cue has it in its name, means it, or mentions it.
const NAMED: u32 = 6;
pub const AKIN: u32 = 3;
const DESCRIBED: u32 = 1;

impl Cue {
    pub fn new(name: &str, description: &str) -> Self {
        Self::of(name, meaningful(name), meaningful(description).into_iter().collect())
    }

    fn of(name: &str, named: Vec<String>, described: BTreeSet<String>) -> Self {
        let akin = SYNONYMS.iter().filter(|group| named.iter().any(|word| group.contains(&word.as_str())));
        let akin = akin.flat_map(|group| group.iter().map(|&word| word.to_owned())).collect();
        Self { name: name.to_owned(), named, described, akin }
    }

    /// The cue without the words that say no more than its form does; the whole cue when it has no others.
    pub fn without(&self, words: &[&str]) -> Self {
        let rest: Vec<String> = self.named.iter().filter(|word| !words.contains(&word.as_str())).cloned().collect();
        if rest.is_empty() { self.clone() } else { Self::of(&self.name, rest, self.described.clone()) }
    }

    /// How well `words` (stems) answer the cue; 0 when no word does.
    pub fn score(&self, words: &[String]) -> u32 {
        words.iter().map(|word| self.weight(word)).sum()
    }

    /// The worth of one stem.
    pub fn weight(&self, word: &String) -> u32 {
        if self.named.contains(word) {
            NAMED
        } else if self.akin.contains(word) {
            AKIN
        } else if self.described.contains(word) {
            DESCRIBED
        } else {
            0
        }
    }

    /// As [`Cue::score`] of a heading or label: only a word of the name or a synonym makes it one that was asked for.
    pub fn names(&self, label: &str) -> u32 {
        let words = stems(label);
        let score = words.iter().map(|word| self.weight(word)).filter(|&weight| weight >= AKIN).sum::<u32>();
        // A short label that says it beats a long one that mentions it.
        if score == 0 { 0 } else { (score * 4).saturating_sub(u32::try_from(words.len()).unwrap_or(9).min(9)).max(1) }
    }

    /// Whether the name (or, less surely, its description) has one of `words`.
    pub fn asks_for(&self, words: &[&str]) -> bool {
        self.named.iter().any(|word| words.contains(&word.as_str()))
    }

    pub fn mentions(&self, words: &[&str]) -> bool {
        self.asks_for(words) || words.iter().any(|&word| self.described.contains(word))
    }

    /// The last word of the name: in `start_date` a date, in `date_of_birth` still told by [`Cue::asks_for`].
    pub fn head(&self) -> &str {
        self.named.last().map_or("", String::as_str)
    }

    pub fn named_stems(&self) -> &[String] {
        &self.named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_and_stemmed() {
        assert_eq!(stems("dueDates_of Classes"), ["due", "date", "of", "class"]);
        assert_eq!(stems("Prerequisites: activities, status"), ["prerequisite", "activity", "status"]);
    }

    #[test]
    fn a_label_that_says_the_word_beats_one_that_means_it() {
        let cue = Cue::new("price", "what it costs");
        assert!(cue.names("Price") > cue.names("Fee"));
        assert!(cue.names("Fee") > 0);
        assert_eq!(cue.names("Room"), 0);
    }
}
