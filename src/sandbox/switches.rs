//! What goes wrong, when, and how often: faults by script (the next n calls), by standing order (delay, rate), and by
//! markers in the calls themselves. Only decides; each stand-in plays the fault in its own protocol.

use super::marker::Marker;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The stand-ins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    OpenAi,
    DataForSeo,
    Smtp,
    /// `/receive` and `/count`.
    Receiver,
}

impl Provider {
    pub const ALL: [Self; 4] = [Self::OpenAi, Self::DataForSeo, Self::Smtp, Self::Receiver];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::DataForSeo => "dataforseo",
            Self::Smtp => "smtp",
            Self::Receiver => "receiver",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where in an SMTP conversation a fault strikes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Greeting,
    Auth,
    MailFrom,
    #[default]
    Recipient,
    /// After the message was sent, before it is kept.
    Data,
    /// After the message was kept: the answer is what goes wrong.
    Kept,
}

/// One way to go wrong. A stand-in that has no form for a fault answers its plain internal error instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// An HTTP status, with the provider's error body.
    Status {
        status: u16,
        /// The `code` in an OpenAI error body; the status decides when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_secs: Option<u64>,
    },
    /// HTTP 200 with an error inside: an OpenAI `error` object, a DataForSEO `status_code`.
    ErrorInside { code: String },
    /// A reply of an SMTP server, such as 450 or 550.
    Reply {
        code: u16,
        #[serde(default)]
        stage: Stage,
    },
    /// Never an answer; the caller's patience ends it. SMTP: at the end of the message, which is kept or not by `kept`.
    Hang {
        #[serde(default)]
        kept: bool,
    },
    /// The connection closes before a byte of the answer.
    Reset,
    /// Half of the body, then the connection closes.
    CutBody,
    /// A model's answer that is not JSON.
    WrongJson,
    /// A model's answer that is JSON, but not what the schema says.
    Mismatch,
    /// A model's refusal.
    Refusal,
    /// A model's answer cut in the middle, `finish_reason: length`.
    Length,
    /// An answer without token counts, as some servers give.
    NoUsage,
}

impl Fault {
    #[must_use]
    pub const fn status(status: u16) -> Self {
        Self::Status { status, code: None, retry_after_secs: None }
    }

    #[must_use]
    pub const fn reply(code: u16, stage: Stage) -> Self {
        Self::Reply { code, stage }
    }

    /// As shown in the log of calls.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::ErrorInside { .. } => "error_inside",
            Self::Reply { .. } => "reply",
            Self::Hang { .. } => "hang",
            Self::Reset => "reset",
            Self::CutBody => "cut_body",
            Self::WrongJson => "wrong_json",
            Self::Mismatch => "mismatch",
            Self::Refusal => "refusal",
            Self::Length => "length",
            Self::NoUsage => "no_usage",
        }
    }

    /// The moment of an SMTP conversation that this fault waits for.
    pub(super) const fn stage(&self) -> Stage {
        match self {
            Self::Reply { stage, .. } => *stage,
            Self::Hang { kept: true } => Stage::Kept,
            Self::Hang { kept: false } | Self::CutBody => Stage::Data,
            Self::Reset => Stage::MailFrom,
            _ => Stage::Recipient,
        }
    }
}

/// A line of a script: the next `times` calls fail so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Counts down; absent means until the script is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Only calls whose text, keyword, recipient or path contains this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matching: Option<String>,
    pub fault: Fault,
}

/// All switches of one stand-in; as JSON, what the admin API shows and takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Before every answer.
    pub delay_ms: u64,
    /// More calls than this within any second are told to slow down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u32>,
    /// The first rule that matches a call takes it.
    pub next: Vec<Rule>,
}

/// Marked texts that are remembered to count their calls; the oldest runs are long over by then.
const MARKED_TEXTS: usize = 100_000;

/// Set by tests and by the admin API, asked by every call.
#[derive(Debug, Default)]
pub struct Switches {
    desk: Mutex<Desk>,
}

#[derive(Debug, Default)]
struct Desk {
    settings: BTreeMap<Provider, Settings>,
    /// The calls of the last second, for the rate.
    recent: BTreeMap<Provider, VecDeque<Instant>>,
    /// Calls seen of each marked text.
    marked: HashMap<(Provider, String), u32>,
}

/// What is to happen to one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub delay: Duration,
    pub slow_down: bool,
    pub fault: Option<Fault>,
}

impl Verdict {
    /// For the log.
    pub(super) fn name(&self) -> Option<&'static str> {
        if self.slow_down { Some("rate_limited") } else { self.fault.as_ref().map(Fault::name) }
    }
}

impl Switches {
    /// The next `times` calls to `provider` fail with `fault`, after those already scripted.
    pub fn fail_next(&self, provider: Provider, times: u32, fault: Fault) {
        self.add(provider, Rule { times: Some(times), matching: None, fault });
    }

    /// As [`Switches::fail_next`], only for calls whose text, keyword, recipient or path contains `part`.
    pub fn fail_matching(&self, provider: Provider, part: impl Into<String>, times: u32, fault: Fault) {
        self.add(provider, Rule { times: Some(times), matching: Some(part.into()), fault });
    }

    /// Every call to `provider` fails with `fault` until [`Switches::heal`].
    pub fn fail_always(&self, provider: Provider, fault: Fault) {
        self.add(provider, Rule { times: None, matching: None, fault });
    }

    pub fn add(&self, provider: Provider, rule: Rule) {
        self.change(provider, |settings| settings.next.push(rule));
    }

    pub fn delay(&self, provider: Provider, delay: Duration) {
        self.change(provider, |settings| settings.delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
    }

    /// At most `per_second` calls in any second; none lifts the limit.
    pub fn limit(&self, provider: Provider, per_second: Option<u32>) {
        self.change(provider, |settings| settings.per_second = per_second);
    }

    /// All switches of `provider` back to serving well.
    pub fn heal(&self, provider: Provider) {
        self.set(provider, Settings::default());
    }

    pub fn set(&self, provider: Provider, new: Settings) {
        self.change(provider, |settings| *settings = new);
    }

    #[must_use]
    pub fn get(&self, provider: Provider) -> Settings {
        self.with(|desk| desk.settings.get(&provider).cloned().unwrap_or_default())
    }

    fn change(&self, provider: Provider, change: impl FnOnce(&mut Settings)) {
        self.with(|desk| change(desk.settings.entry(provider).or_default()));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Desk) -> T) -> T {
        work(&mut self.desk.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What becomes of a call to `provider` about `subject`. Uses up one turn of the rule that takes it.
    pub(super) fn judge(&self, provider: Provider, subject: &str, marker: Option<&Marker>) -> Verdict {
        self.judge_at(provider, subject, marker, None)
    }

    /// As [`Switches::judge`], at one moment of an SMTP conversation: faults of other moments stay for theirs, and the
    /// rate is counted once a message.
    pub(super) fn judge_at(&self, provider: Provider, subject: &str, marker: Option<&Marker>, stage: Option<Stage>) -> Verdict {
        let counts = stage.is_none_or(|stage| stage == Stage::MailFrom);
        self.with(|desk| {
            let settings = desk.settings.entry(provider).or_default();
            let delay = Duration::from_millis(if counts { settings.delay_ms } else { 0 }) + marker.map_or(Duration::ZERO, |m| m.delay);
            let slow_down = counts && settings.per_second.is_some_and(|limit| over(limit, desk.recent.entry(provider).or_default()));
            if slow_down {
                return Verdict { delay, slow_down, fault: None };
            }
            let due = |fault: &Fault| stage.is_none_or(|stage| fault.stage() == stage);
            let marked = marker.filter(|marker| marker.fault.as_ref().is_some_and(due));
            let fault =
                marked.and_then(|marker| desk.turn_of(provider, subject, marker)).or_else(|| desk.next_fault(provider, subject, due));
            Verdict { delay, slow_down, fault }
        })
    }
}

/// Whether `limit` calls went through within the last second; counts this one if not.
fn over(limit: u32, recent: &mut VecDeque<Instant>) -> bool {
    let now = Instant::now();
    while recent.front().is_some_and(|&at| now.duration_since(at) >= Duration::from_secs(1)) {
        recent.pop_front();
    }
    let full = recent.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    if !full {
        recent.push_back(now);
    }
    full
}

impl Desk {
    /// The fault of a marked call, while its turns last.
    fn turn_of(&mut self, provider: Provider, subject: &str, marker: &Marker) -> Option<Fault> {
        if self.marked.len() >= MARKED_TEXTS {
            self.marked.clear();
        }
        let seen = self.marked.entry((provider, subject.to_owned())).or_default();
        *seen += 1;
        marker.fault.clone().filter(|_| marker.times.is_none_or(|times| *seen <= times))
    }

    fn next_fault(&mut self, provider: Provider, subject: &str, due: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let rules = &mut self.settings.get_mut(&provider)?.next;
        let takes = |rule: &Rule| due(&rule.fault) && rule.matching.as_ref().is_none_or(|part| subject.contains(part.as_str()));
        let at = rules.iter().position(takes)?;
        let fault = rules[at].fault.clone();
        if let Some(times) = &mut rules[at].times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                rules.remove(at);
            }
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_played_in_order_and_then_over() {
        let switches = Switches::default();
        switches.fail_matching(Provider::OpenAi, "special", 1, Fault::Refusal);
        switches.fail_next(Provider::OpenAi, 2, Fault::status(503));
        let fault = |subject| switches.judge(Provider::OpenAi, subject, None).fault;
        assert_eq!(fault("plain"), Some(Fault::status(503)));
        assert_eq!(fault("a special one"), Some(Fault::Refusal));
        assert_eq!(fault("a special one"), Some(Fault::status(503)));
        assert_eq!(fault("plain"), None);
        assert_eq!(switches.judge(Provider::Smtp, "plain", None), Verdict::default());
    }

    #[test]
    fn a_rate_lets_no_more_through_than_it_says() {
        let switches = Switches::default();
        switches.limit(Provider::Receiver, Some(3));
        let slowed: Vec<bool> = (0..5).map(|_| switches.judge(Provider::Receiver, "", None).slow_down).collect();
        assert_eq!(slowed, [false, false, false, true, true]);
    }

    #[test]
    fn settings_read_as_json() {
        let json = r#"{"delay_ms":5,"per_second":2,"next":[{"times":2,"fault":{"kind":"status","status":429,"retry_after_secs":1}},{"fault":{"kind":"hang"}}]}"#;
        let settings: Settings = serde_json::from_str(json).unwrap();
        assert_eq!(settings.next[1].fault, Fault::Hang { kept: false });
        assert!(serde_json::from_str::<Settings>(r#"{"dely_ms":5}"#).is_err());
    }
}
