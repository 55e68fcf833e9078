//! The instants of timetables, against the oracle.

use super::brute_force::Clocks;
use chrono::{DateTime, Offset as _, TimeDelta, TimeZone as _, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use std::str::FromStr as _;
use windlass::job::{
    Timestamp,
    schedule::{Rule, Timetable},
};

/// The zones the promise names, and those whose clocks do something unusual that year.
pub const YEARS: [(&str, i32); 10] = [
    ("UTC", 2026),
    ("America/New_York", 2026),
    // Half an hour forward and back.
    ("Australia/Lord_Howe", 2026),
    ("Europe/Berlin", 2026),
    // The gap is at midnight.
    ("America/Santiago", 2026),
    // 30 December did not exist.
    ("Pacific/Apia", 2011),
    // The clocks go back for Ramadan.
    ("Africa/Casablanca", 2026),
    ("Africa/Cairo", 2026),
    // Back at midnight, so that one day begins twice.
    ("America/Havana", 2026),
    // Changed its standard time by an hour and a half, without daylight saving.
    ("Asia/Pyongyang", 2015),
];

/// One expression for each thing that an expression can say, most of them at hours when clocks are changed.
pub const EXPRESSIONS: [&str; 40] = [
    "*/5 * * * *",
    "*/15 * * * *",
    "0 * * * *",
    "30 * * * *",
    "17 * * * *",
    "*/7 1-3 * * *",
    "*/30 2 * * *",
    "* 2 * * *",
    "0 */2 * * *",
    "15 */3 * * MON-FRI",
    "5,35 * * * SUN",
    "0 0 * * *",
    "15 0 * * *",
    "59 23 * * *",
    "0 1 * * *",
    "30 1 * * *",
    "45 1 * * *",
    "0 2 * * *",
    "15 2 * * *",
    "30 2 * * *",
    "0 3 * * *",
    "30 2,14 * * *",
    "0,30 2 * * *",
    "10-50/20 0-3 * * *",
    "0 1-4 * * *",
    "30 0,1,2,3,23 * * *",
    "0 9 * * MON-FRI",
    "0 0 * * 7",
    "0 9 1 * *",
    "0 9 31 * *",
    "0 0 L * *",
    "30 2 LW * *",
    "0 12 15W * *",
    "0 12 1W * *",
    "0 2 * * SUN#2",
    "30 1 * * SUN#1",
    "0 3 * * SUNL",
    "0 2 8-14 MAR SUN",
    "0 0 29 FEB *",
    "0 6 1,15 */3 FRI",
];

pub fn zone(name: &str) -> Tz {
    Tz::from_str(name).unwrap()
}

fn timetable(cron: &str, tz: &str) -> Timetable {
    Timetable::new(&Rule::Cron { cron: cron.into(), tz: tz.into() }).unwrap()
}

pub fn year_of(year: i32) -> (DateTime<Utc>, DateTime<Utc>) {
    (Utc.with_ymd_and_hms(year, 1, 1, 0, 0, 0).unwrap(), Utc.with_ymd_and_hms(year + 1, 1, 1, 0, 0, 0).unwrap())
}

/// Compares both in (`after`, `through`], in a row and asked from odd instants in between.
fn compare(clocks: &Clocks, cron: &str, tz: Tz, (after, through): (DateTime<Utc>, DateTime<Utc>)) -> usize {
    let expected: Vec<_> = clocks.due(cron).into_iter().map(Timestamp::from_utc).collect();
    let timetable = timetable(cron, tz.name());
    let found: Vec<_> = timetable.due(Timestamp::from_utc(after), Timestamp::from_utc(through)).collect();
    if expected != found {
        let missed: Vec<_> = expected.iter().filter(|instant| !found.contains(instant)).take(3).collect();
        let wrong: Vec<_> = found.iter().filter(|instant| !expected.contains(instant)).take(3).collect();
        panic!("`{cron}` in {tz}: {} instants expected, {} found; missed {missed:?}, wrong {wrong:?}", expected.len(), found.len());
    }
    let odd_steps = (through - after).num_seconds() / 41 * 1000 + 337;
    for step in 0..41 {
        let asked = Timestamp::from_utc(after).plus_ms(step * odd_steps.unsigned_abs());
        let next = expected.get(expected.partition_point(|instant| *instant <= asked));
        let found = timetable.next_after(asked).filter(|instant| *instant <= Timestamp::from_utc(through));
        assert_eq!(next.copied(), found, "`{cron}` in {tz}, asked at {asked}");
    }
    found.len()
}

#[test]
fn a_year_of_every_expression_in_ten_zones_is_what_the_oracle_finds() {
    for (tz, year) in YEARS {
        let (tz, window) = (zone(tz), year_of(year));
        let clocks = Clocks::between(tz, window.0, window.1, 60);
        for cron in EXPRESSIONS {
            compare(&clocks, cron, tz, window);
        }
    }
}

/// The instants around which a zone's clocks were or will be changed, found by comparing one day with the next.
fn changes_of_clocks(tz: Tz, (from, to): (DateTime<Utc>, DateTime<Utc>)) -> impl Iterator<Item = DateTime<Utc>> {
    let offset = move |day: &DateTime<Utc>| tz.offset_from_utc_datetime(&day.naive_utc()).fix();
    let days = std::iter::successors(Some(from), |day| Some(*day + TimeDelta::days(1)));
    days.take_while(move |day| *day < to).filter(move |day| offset(day) != offset(&(*day + TimeDelta::days(1))))
}

#[test]
fn ten_years_of_clock_changes_in_every_zone_are_what_the_oracle_finds() {
    let years = (year_of(2020).0, year_of(2030).0);
    let fixed_every_half_hour = "0,30 0-23 * * *";
    let mut compared = 0;
    for tz in TZ_VARIANTS {
        for day in changes_of_clocks(tz, years) {
            let window = (day - TimeDelta::hours(3), day + TimeDelta::hours(27));
            let clocks = Clocks::between(tz, window.0, window.1, 60);
            for cron in [fixed_every_half_hour, "20 * * * *", "15 0-3 * * *", "*/20 1,2 * * *"] {
                compared += compare(&clocks, cron, tz, window);
            }
        }
    }
    assert!(compared > 100_000, "only {compared} instants were compared");
}

#[test]
fn every_second_around_a_change_of_clocks_is_what_the_oracle_finds() {
    let changes = [
        ("America/New_York", 2026),
        ("Australia/Lord_Howe", 2026),
        ("America/Santiago", 2026),
        ("Pacific/Apia", 2011),
        // Put forward by 44 minutes and 30 seconds.
        ("Africa/Monrovia", 1972),
    ];
    for (tz, year) in changes {
        let tz = zone(tz);
        for day in changes_of_clocks(tz, year_of(year)) {
            let window = (day - TimeDelta::hours(1), day + TimeDelta::hours(26));
            let clocks = Clocks::between(tz, window.0, window.1, 1);
            for cron in ["* * * * * *", "*/7 * 1-2 * * *", "30 */10 * * * *", "15,45 59 0-23 * * *", "0 0,30 0-23 * * *", "59 59 23 * * *"]
            {
                compare(&clocks, cron, tz, window);
            }
        }
    }
}
