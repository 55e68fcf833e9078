//! Which schedules are accepted, and what is said of the others.

use super::schedule;
use proptest::prelude::*;
use serde_json::{Value, json};
use windlass::job::{
    Timestamp,
    schedule::{Fate, Missed, Occurrence, Rule, Schedule, SkipReason, Timetable},
};

fn cron(cron: &str, tz: &str) -> Result<Timetable, String> {
    Timetable::new(&Rule::Cron { cron: cron.into(), tz: tz.into() }).map_err(|error| error.to_string())
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

#[test]
fn expressions_are_due_when_their_words_say() {
    let table = [
        ("30 9 * * MON-FRI", "UTC", "2026-07-03T12:00:00Z", "2026-07-06T09:30:00Z"),
        ("@hourly", "UTC", "2026-07-03T12:00:00Z", "2026-07-03T13:00:00Z"),
        ("@weekly", "UTC", "2026-07-03T12:00:00Z", "2026-07-05T00:00:00Z"),
        ("15 30 9 * * *", "Asia/Kolkata", "2026-07-03T12:00:00Z", "2026-07-04T04:00:15Z"),
        ("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"),
        ("0 0 1 jan ?", "UTC", "2026-07-03T12:00:00Z", "2027-01-01T00:00:00Z"),
        ("0 8 * * FRI#5", "UTC", "2026-07-03T12:00:00Z", "2026-07-31T08:00:00Z"),
        // The days on which clocks are changed.
        ("30 2 * * *", "America/New_York", "2026-03-08T05:00:00Z", "2026-03-08T07:00:00Z"),
        ("30 2,14 * * *", "America/New_York", "2026-03-08T05:00:00Z", "2026-03-08T07:00:00Z"),
        ("*/30 2 * * *", "America/New_York", "2026-03-08T05:00:00Z", "2026-03-09T06:00:00Z"),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T14:00:00Z", "2026-10-03T15:30:00Z"),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T14:46:00Z", "2026-04-05T15:15:00Z"),
        ("45 * * * *", "Australia/Lord_Howe", "2026-04-04T14:46:00Z", "2026-04-04T15:15:00Z"),
        ("0 0 * * *", "America/Santiago", "2026-09-05T12:00:00Z", "2026-09-06T04:00:00Z"),
        ("0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", "2011-12-30T10:00:00Z"),
    ];
    for (expression, tz, after, expected) in table {
        assert_eq!(cron(expression, tz).unwrap().next_after(at(after)), Some(at(expected)), "`{expression}` in {tz}");
    }
}

#[test]
fn a_bad_rule_gets_one_sentence_that_names_the_fault() {
    let five = "a cron expression has five (minute, hour, day, month, weekday), or six with seconds first";
    let table = [
        ("", "UTC", format!("/cron: `` has 0 fields; {five}")),
        ("5", "UTC", format!("/cron: `5` has 1 field; {five}")),
        ("0 0 1 1 * 2 2027", "UTC", format!("/cron: `0 0 1 1 * 2 2027` has 7 fields; {five}")),
        (
            "61 * * * *",
            "UTC",
            "/cron: the minute `61` is not understood; use 0-59, with `,` for lists, `-` for ranges and `*/n` for steps".into(),
        ),
        (
            "0 0 25 * * *",
            "UTC",
            "/cron: the hour `25` is not understood; use 0-23, with `,` for lists, `-` for ranges and `*/n` for steps".into(),
        ),
        ("@reboot", "UTC", "/cron: `@reboot` is unknown; use @hourly, @daily, @weekly, @monthly, @yearly or five fields".into()),
        ("0 0 30 2 *", "UTC", "/cron: `0 0 30 2 *` never fires; no month it names has such a day".into()),
        ("0 0 31 APR,JUN *", "UTC", "/cron: `0 0 31 APR,JUN *` never fires; no month it names has such a day".into()),
        ("0 0 * * *", "Europe/Berln", "/tz: unknown time zone `Europe/Berln`; did you mean `Europe/Berlin`?".into()),
        ("0 0 * * *", "america/new_york", "/tz: unknown time zone `america/new_york`; did you mean `America/New_York`?".into()),
        ("0 0 * * *", "+02:00", "/tz: unknown time zone `+02:00`; use an IANA name such as `Europe/Berlin` or `UTC`".into()),
    ];
    for (expression, tz, expected) in table {
        assert_eq!(cron(expression, tz).err(), Some(expected));
    }
    for (position, field) in
        ["99 * * * * *", "* 1-99 * * * *", "* * x * * *", "* * * 0 * *", "* * * * FOO *", "* * * * * 9"].iter().enumerate()
    {
        let name = ["second", "minute", "hour", "day of the month", "month", "weekday"][position];
        assert!(cron(field, "UTC").unwrap_err().starts_with(&format!("/cron: the {name} `")), "`{field}`");
    }
    for every_ms in [0, 999, u64::MAX] {
        let error = Timetable::new(&Rule::Every { every_ms, anchor: Timestamp(0) }).unwrap_err();
        assert_eq!(error.to_string(), "/every_ms: must be 1000 (one second) to 316224000000 (ten years)");
    }
}

#[test]
fn a_schedule_is_read_and_written_as_one_flat_object() {
    let text = r#"{"name":"n","cron":"0 9 * * *","tz":"Europe/Berlin","missed":{"all":{"n":5}},"job":{"kind":"k","payload":{"big": 1e400, "a":1,"a":2}}}"#;
    let schedule: Schedule = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&schedule).unwrap(), text, "the payload's own text included");
    let sparse: Schedule = serde_json::from_value(json!({"name": "n", "cron": "0 9 * * *", "job": {"kind": "k", "payload": 1}})).unwrap();
    assert_eq!((sparse.rule, sparse.missed), (Rule::Cron { cron: "0 9 * * *".into(), tz: "UTC".into() }, Missed::Once));
    let every: Schedule = serde_json::from_value(json!({"name": "n", "every_ms": 5000, "job": {"kind": "k", "payload": 1}})).unwrap();
    assert_eq!(every.rule, Rule::Every { every_ms: 5000, anchor: Timestamp(0) });
}

#[test]
fn the_history_of_a_schedule_is_read_back_as_it_was_written() {
    let id = windlass::job::JobId::mint();
    let (due, through) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T00:05:00Z"));
    let table = [
        (Fate::Job { id }, json!({"due": due, "job": {"id": id}})),
        (
            Fate::Skipped { reason: SkipReason::Missed, through, count: 6 },
            json!({"due": due, "skipped": {"reason": "missed", "through": through, "count": 6}}),
        ),
    ];
    for (fate, text) in table {
        let occurrence = Occurrence { due, fate };
        assert_eq!(serde_json::to_value(&occurrence).unwrap(), text);
        assert_eq!(serde_json::from_value::<Occurrence>(text).unwrap(), occurrence);
    }
    for reason in SkipReason::ALL {
        assert_eq!((SkipReason::parse(reason.as_str()), serde_json::to_value(reason).unwrap()), (Some(reason), json!(reason.as_str())));
    }
}

#[test]
fn a_schedule_with_two_rules_or_none_is_refused() {
    let either = "a schedule has either `cron` (and `tz`) or `every_ms` (and `anchor`); send one of the two";
    for rule in [
        json!({}),
        json!({"cron": "@daily", "every_ms": 1000}),
        json!({"tz": "UTC", "every_ms": 1000}),
        json!({"anchor": "2026-01-01T00:00:00Z", "cron": "@daily"}),
    ] {
        let mut whole = json!({"name": "n", "job": {"kind": "k", "payload": 1}});
        whole.as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
        let error = serde_json::from_value::<Schedule>(whole).unwrap_err().to_string();
        assert_eq!(error, either);
    }
    assert!(
        serde_json::from_value::<Schedule>(json!({"name": "n", "cron": "@daily", "zone": "UTC", "job": {"kind": "k", "payload": 1}}))
            .is_err()
    );
}

#[test]
fn what_belongs_to_one_occurrence_is_refused_in_the_job_and_its_follow_ups() {
    let moment = json!("2026-12-01T09:00:00Z");
    let members: [(&str, Value); 5] = [
        ("id", json!("01890a5d-ac96-774b-bcce-b302099a8057")),
        ("run_at", moment.clone()),
        ("expires_at", moment.clone()),
        ("event_time", moment),
        ("idempotency_key", json!("once")),
    ];
    for (member, value) in members {
        let mut job = json!({"kind": "k", "payload": 1});
        job[member] = value;
        for (at, job) in [
            (format!("/job/{member}"), job.clone()),
            (format!("/job/on_failure/{member}"), json!({"kind": "k", "payload": 1, "on_failure": job})),
        ] {
            let schedule: Schedule = serde_json::from_value(json!({"name": "n", "cron": "@daily", "job": job})).unwrap();
            let error = schedule.check().unwrap_err();
            assert_eq!((error.pointer.as_str(), error.code), (at.as_str(), "conflict"), "{error}");
            assert!(error.message.ends_with("leave it out") || error.message.contains("; "), "{error}");
        }
    }
}

#[test]
fn the_job_of_a_schedule_keeps_the_rules_of_every_envelope() {
    let job = json!({"kind": "k", "payload": 1, "on_success": {"kind": "k", "payload": 1, "priority": 10}});
    let schedule: Schedule = serde_json::from_value(json!({"name": "n", "cron": "@daily", "job": job})).unwrap();
    assert_eq!(schedule.check().unwrap_err().pointer, "/job/on_success/priority");
    for n in [0, 1001] {
        let schedule = super::schedule("n", &json!({"cron": "@daily"}), Missed::All { n });
        assert_eq!(schedule.check().unwrap_err().to_string(), "/missed/all/n: must be 1 to 1000 jobs; use `once` for the newest only");
    }
}

#[test]
fn an_interval_is_counted_from_its_anchor_and_not_from_the_start_of_the_daemon() {
    let rule = json!({"every_ms": 90_000, "anchor": "2026-01-01T00:00:10Z"});
    let timetable = schedule("n", &rule, Missed::Once).check().unwrap();
    let first = at("2026-01-01T00:00:10Z");
    assert_eq!(timetable.next_after(Timestamp(0)), Some(first), "the anchor is the first instant");
    assert_eq!(timetable.next_after(first), Some(at("2026-01-01T00:01:40Z")));
    assert_eq!(timetable.next_after(at("2026-01-01T00:01:39.999999Z")), Some(at("2026-01-01T00:01:40Z")));
    assert_eq!(timetable.next_after(Timestamp(i64::MIN)), Some(first));
    assert_eq!(timetable.next_after(Timestamp::MAX), None);
    assert_eq!(timetable.next_after(Timestamp(i64::MAX)), None);
    let preview = timetable.preview(at("2026-01-01T12:00:00Z"), 2);
    assert_eq!(preview, [at("2026-01-01T12:00:10Z"), at("2026-01-01T12:01:40Z")]);
}

#[test]
fn the_calendar_has_an_end_and_a_beginning() {
    let daily = cron("0 0 * * *", "Pacific/Apia").unwrap();
    assert_eq!(daily.next_after(Timestamp(i64::MIN)), Some(at("1970-01-01T11:00:00Z")));
    assert_eq!(daily.next_after(Timestamp(i64::MAX)), None);
    assert_eq!(daily.next_after(Timestamp::MAX), None);
    assert_eq!(cron("0 0 * * *", "UTC").unwrap().next_after(Timestamp(-1)), Some(Timestamp(0)), "1970 itself counts");
}

proptest! {
    #[test]
    fn no_expression_makes_the_reader_panic(text in "(@[a-z]{0,8})|(([0-9*/,\\-#LW?+A-Za-z]{0,6} ?){0,8})|\\PC{0,40}", tz in "(UTC|Europe/Berlin|\\PC{0,20})") {
        if let Ok(timetable) = cron(&text, &tz) {
            let preview = timetable.preview(at("2026-03-01T00:00:00Z"), 20);
            prop_assert!(preview.is_sorted_by(|a, b| a < b));
        }
    }

    #[test]
    fn the_next_instant_is_later_and_nothing_lies_between(seconds in 0_i64..4_000_000_000, ahead in 0_i64..100_000, row in 0_usize..6) {
        let (expression, tz) = [
            ("*/20 * * * *", "Europe/Berlin"), ("30 0-3 * * *", "Australia/Lord_Howe"), ("0 0 * * *", "America/Havana"),
            ("7 */10 1-2 * * *", "America/New_York"), ("0 0 L * *", "Pacific/Apia"), ("15 3 15W * FRI", "America/Santiago"),
        ][row];
        let timetable = cron(expression, tz).unwrap();
        let from = Timestamp::from_secs(seconds);
        let next = timetable.next_after(from).unwrap();
        prop_assert!(next > from);
        let between = Timestamp::from_secs(seconds + ahead);
        prop_assert_eq!(timetable.next_after(between) == Some(next), between < next);
    }
}
