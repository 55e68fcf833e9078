//! Cron expressions on the clocks of a time zone.
//!
//! croner parses the expression and walks the calendar, but only on clock readings without a zone. What a reading means
//! on the days when clocks are changed is decided here, by the rules of ISC cron, because croner 4.0 departs from them: it skips
//! a gap for `30 2,14 * * *` and for `0,30 2 * * *`, gives up on a gap longer than two hours (Apia lost a whole day in
//! 2011), and drops an occurrence whose gap ends on another day.
//!
//! - A **fixed** expression has no `*` among its seconds, minutes and hours. It is due once for each reading it names:
//!   one that the clocks skip is due at the first instant after the gap, one that they show twice at the first of the two.
//! - A **wildcard** expression is due whenever the clocks show a reading it names: twice if they show it twice, never if
//!   they skip it.

use crate::job::{InvalidEnvelope, Timestamp};
use chrono::{DateTime, FixedOffset, LocalResult, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _};
use chrono_tz::{GapInfo, TZ_VARIANTS, Tz};
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};

/// The instants of a cron expression in a time zone. The zone database is compiled in: new rules of a country arrive with
/// a new release, and count from then on, because the next instant is computed anew each time.
#[derive(Clone, Debug)]
pub struct CronTimetable {
    cron: Cron,
    zone: Tz,
    fixed: bool,
}

/// The fields, with what each accepts, for the sentence about a bad one.
const FIELDS: [(&str, &str); 6] = [
    ("second", "0-59"),
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of the month", "1-31, `L` (the last), `LW` (the last weekday) and `15W` (the weekday nearest the 15th)"),
    ("month", "1-12 or JAN-DEC"),
    ("weekday", "0-7 or SUN-SAT, `FRI#2` (the second Friday) and `FRIL` (the last)"),
];

impl CronTimetable {
    /// # Errors
    /// When the expression cannot be read or names no day of any year, or the zone is not in the IANA database.
    pub fn new(expression: &str, zone: &str) -> Result<Self, InvalidEnvelope> {
        let zone = parse_zone(zone)?;
        let cron = parse_expression(expression)?;
        // croner's copy has nicknames such as `@hourly` spelled out.
        let fields: Vec<&str> = cron.pattern.as_str().split_whitespace().collect();
        let day_fields = 3;
        let fixed = fields.iter().take(fields.len() - day_fields).all(|field| !field.contains('*'));
        let timetable = Self { cron, zone, fixed };
        if timetable.next_after(Timestamp(0)).is_none() {
            let message = format!("`{expression}` never fires; no month it names has such a day");
            return Err(InvalidEnvelope::new("/cron", "out_of_range", message));
        }
        Ok(timetable)
    }

    /// The first due instant after `instant` and after 1970, before croner's calendar ends in the year 5000.
    #[must_use]
    pub fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        // Due instants lie on whole seconds, so what is after the instant is after its second.
        let second = instant.0.div_euclid(1_000_000).max(-1);
        let instant = DateTime::from_timestamp(second, 0)?.naive_utc();
        let due = if self.fixed { self.next_named(instant) } else { self.next_shown(instant) };
        due.map(|due| Timestamp(due.and_utc().timestamp_micros()))
    }

    /// Fixed expressions. Readings map to instants in ascending order, so the first that maps beyond `instant` is it. While
    /// the clocks show an hour for the second time its readings map to the past, and the loop passes over them.
    fn next_named(&self, instant: NaiveDateTime) -> Option<NaiveDateTime> {
        let mut reading = self.next_reading(self.shown_at(instant), false)?;
        loop {
            let due = match self.zone.from_local_datetime(&reading) {
                LocalResult::Single(once) | LocalResult::Ambiguous(once, _) => Some(once.naive_utc()),
                LocalResult::None => self.end_of_gap(reading),
            };
            match due {
                Some(due) if due > instant => return Some(due),
                _ => reading = self.next_reading(reading, false)?,
            }
        }
    }

    /// Wildcard expressions.
    fn next_shown(&self, instant: NaiveDateTime) -> Option<NaiveDateTime> {
        let first = self.first_shown(self.next_reading(self.shown_at(instant), false)?, instant)?;
        match self.next_setback(instant) {
            // The clocks go back before that: from there on they show earlier readings than now once more.
            Some(setback) if setback <= first => self.first_shown(self.next_reading(self.shown_at(setback), true)?, setback),
            _ => Some(first),
        }
    }

    /// The first instant, not before `from`, at which the clocks show `reading` or a later one that the expression names.
    fn first_shown(&self, mut reading: NaiveDateTime, from: NaiveDateTime) -> Option<NaiveDateTime> {
        loop {
            match self.zone.from_local_datetime(&reading) {
                LocalResult::Single(once) => return Some(once.naive_utc()),
                LocalResult::Ambiguous(first, _) if first.naive_utc() >= from => return Some(first.naive_utc()),
                LocalResult::Ambiguous(_, second) => return Some(second.naive_utc()),
                LocalResult::None => reading = self.next_reading(self.shown_at(self.end_of_gap(reading)?), true)?,
            }
        }
    }

    /// What the clocks of the zone show at `instant`.
    fn shown_at(&self, instant: NaiveDateTime) -> NaiveDateTime {
        instant.checked_add_offset(self.offset_at(instant)).unwrap_or(NaiveDateTime::MAX)
    }

    fn offset_at(&self, instant: NaiveDateTime) -> FixedOffset {
        self.zone.offset_from_utc_datetime(&instant).fix()
    }

    /// The next reading the expression names, `reading` itself included or not.
    fn next_reading(&self, reading: NaiveDateTime, inclusive: bool) -> Option<NaiveDateTime> {
        self.cron.find_next_occurrence(&reading, inclusive).ok()
    }

    fn end_of_gap(&self, skipped: NaiveDateTime) -> Option<NaiveDateTime> {
        GapInfo::new(&skipped, &self.zone)?.end.map(|end| end.naive_utc())
    }

    /// The instant at which the clocks go back, if they will show `instant`'s own reading once more.
    fn next_setback(&self, instant: NaiveDateTime) -> Option<NaiveDateTime> {
        let LocalResult::Ambiguous(_, again) = self.zone.from_local_datetime(&self.shown_at(instant)) else { return None };
        let (mut before, mut after) = (instant, again.naive_utc());
        if before >= after {
            return None;
        }
        while after - before > TimeDelta::seconds(1) {
            let middle = before + TimeDelta::seconds((after - before).num_seconds() / 2);
            if self.offset_at(middle) == self.offset_at(instant) { before = middle } else { after = middle }
        }
        Some(after)
    }
}

fn parse_zone(name: &str) -> Result<Tz, InvalidEnvelope> {
    name.parse().map_err(|_| {
        let likeness = |zone: &&Tz| strsim::jaro_winkler(&zone.name().to_lowercase(), &name.to_lowercase());
        let nearest = TZ_VARIANTS.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let hint = match nearest {
            Some(zone) if likeness(&zone) > 0.75 => format!("did you mean `{}`?", zone.name()),
            _ => "use an IANA name such as `Europe/Berlin` or `UTC`".into(),
        };
        InvalidEnvelope::new("/tz", "out_of_range", format!("unknown time zone `{name}`; {hint}"))
    })
}

fn parse_expression(expression: &str) -> Result<Cron, InvalidEnvelope> {
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    parser.parse(expression).map_err(|_| InvalidEnvelope::new("/cron", "out_of_range", complaint(&parser, expression)))
}

/// What is wrong with `expression`, in words that name the field; croner's own do not.
fn complaint(parser: &CronParser, expression: &str) -> String {
    if expression.trim_start().starts_with('@') {
        return format!("`{expression}` is unknown; use @hourly, @daily, @weekly, @monthly, @yearly or five fields");
    }
    let fields: Vec<&str> = expression.split_whitespace().collect();
    if !(5..=6).contains(&fields.len()) {
        let plural = if fields.len() == 1 { "" } else { "s" };
        let rule = "a cron expression has five (minute, hour, day, month, weekday), or six with seconds first";
        return format!("`{expression}` has {} field{plural}; {rule}", fields.len());
    }
    let names = &FIELDS[FIELDS.len() - fields.len()..];
    for (position, (field, (name, accepted))) in fields.iter().zip(names).enumerate() {
        let mut alone = vec!["*"; fields.len()];
        alone[position] = field;
        if parser.parse(&alone.join(" ")).is_err() {
            return format!(
                "the {name} `{field}` is not understood; use {accepted}, with `,` for lists, `-` for ranges and `*/n` for steps"
            );
        }
    }
    format!("`{expression}` is no cron expression; write five fields such as `30 9 * * MON-FRI`")
}
