//! The oracle: walks through real time step by step, looks at the clocks of the zone, and asks of each reading whether the
//! expression names it. It shares nothing with the code it judges: expressions are read by its own few lines, and of the
//! time zone database it uses only the direction that has one answer, from an instant to what the clocks show.

use chrono::{DateTime, Datelike as _, Days, NaiveDate, Offset as _, TimeZone as _, Utc};
use chrono_tz::Tz;

/// What the clocks of a zone show at one instant after the other, in steps of a minute or a second.
pub struct Clocks {
    first: i64,
    step: i64,
    /// Seconds from 1970 to each reading, as if readings were UTC. The first is that of the instant before the first look.
    readings: Vec<i64>,
}

impl Clocks {
    pub fn between(zone: Tz, after: DateTime<Utc>, through: DateTime<Utc>, step_secs: usize) -> Self {
        let shown = |instant: i64| {
            let utc = DateTime::from_timestamp(instant, 0).unwrap().naive_utc();
            instant + i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc())
        };
        let first = after.timestamp();
        Self { first, step: step_secs as i64, readings: (first..=through.timestamp()).step_by(step_secs).map(shown).collect() }
    }

    /// Every due instant of `expression`, the instant before the first look excluded.
    pub fn due(&self, expression: &str) -> Vec<DateTime<Utc>> {
        let days = self.readings.iter().min().unwrap() / DAY..=self.readings.iter().max().unwrap() / DAY;
        let expression = Expression::read(expression, days);
        // The latest reading shown so far; readings up to it are history even when they are shown again.
        let mut reached = self.readings[0];
        let mut due = Vec::new();
        for (looks, &reading) in self.readings.iter().enumerate().skip(1) {
            let is_due = if expression.fixed {
                // Readings that were passed since the last look: one on most days, a gap's worth when the clocks are put
                // forward, none while they repeat themselves. If one of them is named, it is due now, once.
                (reached + self.step..=reading).step_by(self.step as usize).any(|passed| expression.names(passed))
            } else {
                expression.names(reading)
            };
            if is_due {
                due.push(DateTime::from_timestamp(self.first + looks as i64 * self.step, 0).unwrap());
            }
            reached = reached.max(reading);
        }
        due
    }
}

const DAY: i64 = 86_400;

struct Expression {
    fixed: bool,
    seconds: Vec<bool>,
    minutes: Vec<bool>,
    hours: Vec<bool>,
    first_day: i64,
    days: Vec<bool>,
}

impl Expression {
    fn read(text: &str, days: std::ops::RangeInclusive<i64>) -> Self {
        let mut fields: Vec<&str> = text.split(' ').collect();
        if fields.len() == 5 {
            fields.insert(0, "0");
        }
        let date = |day: i64| DateTime::from_timestamp(day * DAY, 0).unwrap().date_naive();
        Self {
            fixed: fields[..3].iter().all(|field| !field.contains('*')),
            seconds: numbers(fields[0], 0, 59),
            minutes: numbers(fields[1], 0, 59),
            hours: numbers(fields[2], 0, 23),
            first_day: *days.start(),
            days: days.map(|day| names_day(fields[3], fields[4], fields[5], date(day))).collect(),
        }
    }

    fn names(&self, reading: i64) -> bool {
        self.minutes[(reading / 60 % 60) as usize]
            && self.hours[(reading / 3600 % 24) as usize]
            && self.seconds[(reading % 60) as usize]
            && self.days[(reading / DAY - self.first_day) as usize]
    }
}

/// Day of the month and weekday restrict by *or*, unless one of them is a bare `*`.
fn names_day(days: &str, months: &str, weekdays: &str, date: NaiveDate) -> bool {
    let months = numbers(&plain(months, &MONTHS, 1), 1, 12);
    let weekdays = plain(weekdays, &WEEKDAYS, 0);
    let by_day = days.split(',').any(|part| names_day_of_month(part, date));
    let by_weekday = weekdays.split(',').any(|part| names_weekday(part, date));
    months[date.month() as usize]
        && match (days == "*", weekdays == "*") {
            (true, _) => by_weekday,
            (_, true) => by_day,
            (false, false) => by_day || by_weekday,
        }
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

fn plain(field: &str, names: &[&str], first: usize) -> String {
    names.iter().enumerate().fold(field.to_owned(), |text, (index, name)| text.replace(name, &(index + first).to_string()))
}

/// Lists, ranges and steps of plain numbers.
fn numbers(field: &str, min: usize, max: usize) -> Vec<bool> {
    let mut named = vec![false; max + 1];
    for part in field.split(',') {
        let (range, step) = part.split_once('/').map_or((part, 1), |(range, step)| (range, step.parse().unwrap()));
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (from.parse().unwrap(), to.parse().unwrap()),
            None if range == "*" => (min, max),
            None => (range.parse().unwrap(), range.parse().unwrap()),
        };
        (from..=to).step_by(step).for_each(|number| named[number] = true);
    }
    named
}

fn last_of_month(date: NaiveDate) -> NaiveDate {
    let mut last = date;
    while last.succ_opt().unwrap().month() == date.month() {
        last = last.succ_opt().unwrap();
    }
    last
}

fn is_weekend(date: NaiveDate) -> bool {
    date.weekday().num_days_from_monday() >= 5
}

fn names_day_of_month(part: &str, date: NaiveDate) -> bool {
    if part == "L" {
        return date == last_of_month(date);
    }
    if part == "LW" {
        let mut last = last_of_month(date);
        while is_weekend(last) {
            last = last.pred_opt().unwrap();
        }
        return date == last;
    }
    if let Some(day) = part.strip_suffix('W') {
        // The nearest weekday in the same month, among the days around it.
        let Some(named) = date.with_day(day.parse().unwrap()) else { return false };
        let around = [0_i64, -1, 1, -2, 2];
        let nearest = around.into_iter().map(|by| if by < 0 { named - Days::new(by.unsigned_abs()) } else { named + Days::new(by as u64) });
        return nearest.into_iter().find(|day| !is_weekend(*day) && day.month() == date.month()) == Some(date);
    }
    numbers(part, 1, 31)[date.day() as usize]
}

fn names_weekday(part: &str, date: NaiveDate) -> bool {
    let weekday = date.weekday().num_days_from_sunday();
    let is = |number: &str| number.parse::<u32>().unwrap() % 7 == weekday;
    if let Some(number) = part.strip_suffix('L') {
        return is(number) && (date + Days::new(7)).month() != date.month();
    }
    if let Some((number, nth)) = part.split_once('#') {
        return is(number) && (date.day() - 1) / 7 + 1 == nth.parse::<u32>().unwrap();
    }
    let named = numbers(part, 0, 7);
    named[weekday as usize] || weekday == 0 && named[7]
}
