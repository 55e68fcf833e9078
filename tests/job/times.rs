//! Instants: exact to the microsecond, in text and in arithmetic, at every edge.

use proptest::prelude::*;
use std::time::Duration;
use windlass::job::Timestamp;

#[test]
fn an_instant_is_written_as_short_as_it_is_exact() {
    let table = [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000001Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (1_000, "1970-01-01T00:00:00.001Z"),
        (1_796_115_600_000_000, "2026-12-01T09:00:00Z"),
        (Timestamp::MAX.0, "9999-12-31T23:59:59.999999Z"),
    ];
    for (micros, text) in table {
        assert_eq!(Timestamp(micros).to_string(), text);
        assert_eq!(Timestamp::parse(text), Ok(Timestamp(micros)));
    }
}

#[test]
fn an_offset_is_needed_and_counted() {
    assert_eq!(Timestamp::parse("2026-12-01T10:00:00+01:00"), Timestamp::parse("2026-12-01T09:00:00Z"));
    assert_eq!(Timestamp::parse("2026-12-01T09:00:00.1234567Z"), Timestamp::parse("2026-12-01T09:00:00.123456Z"), "cut to microseconds");
    for bad in ["", "2026-12-01", "2026-12-01T09:00:00", "2026-13-01T09:00:00Z", "1796115600", "2026-02-29T00:00:00Z", "now"] {
        let error = Timestamp::parse(bad).unwrap_err().to_string();
        assert_eq!(error, format!("`{bad}` is not an RFC 3339 time with an offset, such as 2026-12-01T09:00:00Z"));
    }
}

#[test]
fn what_could_not_be_written_back_is_not_read() {
    assert!(Timestamp::parse("9999-12-31T23:59:59-01:00").is_err());
    assert!(Timestamp::parse("0000-01-01T00:00:00+01:00").is_err());
    let first = Timestamp::parse("0000-01-01T00:00:00Z").unwrap();
    assert_eq!(Timestamp::parse(&first.to_string()), Ok(first));
}

#[test]
fn arithmetic_ends_at_the_last_instant_and_never_turns_round() {
    let start = Timestamp::from_secs(1_800_000_000);
    assert_eq!(start.plus_ms(1500).since(start), Duration::from_millis(1500));
    assert_eq!(start.plus(Duration::from_micros(7)).minus(Duration::from_micros(7)), start);
    for end in
        [start.plus_ms(u64::MAX), start.plus(Duration::MAX), Timestamp(i64::MAX).plus_ms(1), Timestamp::MAX.plus(Duration::from_micros(1))]
    {
        assert_eq!(end, Timestamp::MAX);
    }
    assert_eq!(start.since(start.plus_ms(1)), Duration::ZERO, "clocks step back");
    assert_eq!(Timestamp(i64::MIN).since(Timestamp(i64::MAX)), Duration::ZERO);
    assert_eq!(Timestamp::from_millis(i64::MAX).0, i64::MAX);
    assert_eq!(Timestamp::from_millis(-1).millis(), -1);
    assert_eq!(Timestamp(-1).millis(), -1, "the millisecond that the instant lies in");
    // Never a panic, whatever the number.
    for micros in [i64::MIN, i64::MAX, i64::MIN + 1] {
        assert!(!Timestamp(micros).to_string().is_empty());
        assert!(Timestamp(micros).minus(Duration::MAX) <= Timestamp(micros));
    }
}

proptest! {
    #[test]
    fn every_instant_is_read_back_as_it_was_written(micros in -62_167_219_200_000_000_i64..=253_402_300_799_999_999) {
        let instant = Timestamp(micros);
        prop_assert_eq!(Timestamp::parse(&instant.to_string()), Ok(instant));
        prop_assert_eq!(serde_json::from_str::<Timestamp>(&serde_json::to_string(&instant).unwrap()).unwrap(), instant);
        prop_assert_eq!(Timestamp::from_utc(instant.to_utc()), instant);
    }
}
