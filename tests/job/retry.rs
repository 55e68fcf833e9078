//! Retry curves: their shape, their bounds, their lots.

use proptest::prelude::*;
use std::time::Duration;
use windlass::job::{Curve, Jitter, JobId, RetryPolicy, jitter_seed};

fn waits(curve: Curve, attempts: &[u32]) -> Vec<u64> {
    let policy = RetryPolicy { curve, jitter: Jitter::None, ..RetryPolicy::default() };
    attempts.iter().map(|attempt| policy.delay(*attempt, None, 0).as_millis() as u64).collect()
}

#[test]
fn curves_rise_as_their_names_say_and_stop_at_their_caps() {
    assert_eq!(waits(Curve::Fixed { delay_ms: 250 }, &[1, 2, 1000]), [250, 250, 250]);
    assert_eq!(waits(Curve::Linear { base_ms: 100, cap_ms: 350 }, &[0, 1, 2, 3, 4, u32::MAX]), [100, 100, 200, 300, 350, 350]);
    let exponential = Curve::Exponential { base_ms: 1000, factor: 2.0, cap_ms: 600_000 };
    assert_eq!(waits(exponential, &[0, 1, 2, 3, 10, 11, 5000, u32::MAX]), [1000, 1000, 2000, 4000, 512_000, 600_000, 600_000, 600_000]);
    assert_eq!(waits(Curve::List { delays_ms: vec![5, 50, 500] }, &[0, 1, 2, 3, 4, u32::MAX]), [5, 5, 50, 500, 500, 500]);
    assert_eq!(waits(Curve::Linear { base_ms: u64::MAX, cap_ms: u64::MAX }, &[2]), [u64::MAX]);
    assert_eq!(waits(Curve::Exponential { base_ms: u64::MAX, factor: 1e300, cap_ms: u64::MAX }, &[3]), [u64::MAX]);
}

#[test]
fn the_default_waits_half_a_second_to_ten_minutes() {
    let policy = RetryPolicy::default();
    for seed in 0..200 {
        assert!((Duration::from_millis(500)..=Duration::from_secs(1)).contains(&policy.delay(1, None, seed)));
        assert!((Duration::from_secs(300)..=Duration::from_secs(600)).contains(&policy.delay(100, None, seed)));
    }
}

#[test]
fn what_the_provider_asks_for_wins_and_is_clamped_to_a_day() {
    let policy = RetryPolicy::default();
    for (asked_secs, wait_secs) in [(0, 0), (7, 7), (86_400, 86_400), (86_401, 86_400), (u64::MAX, 86_400)] {
        assert_eq!(policy.delay(3, Some(Duration::from_secs(asked_secs)), 1), Duration::from_secs(wait_secs));
    }
}

#[test]
fn lots_are_spread_over_the_whole_width() {
    let policy = RetryPolicy { curve: Curve::Fixed { delay_ms: 1000 }, jitter: Jitter::Full, ..RetryPolicy::default() };
    let mut tenths = [0; 11];
    for attempt in 1..=1000 {
        let seed = jitter_seed(JobId(uuid::Uuid::from_u128(0x0189_0a5d_ac96_774b_bcce_b302_099a_8057)), attempt);
        tenths[policy.delay(attempt, None, seed).as_millis() as usize / 100] += 1;
    }
    assert!(tenths[..10].iter().all(|count| (60..140).contains(count)), "{tenths:?}");
}

#[test]
fn jobs_that_fail_together_part_ways_and_one_job_always_goes_the_same() {
    let ids: Vec<_> = (0..100).map(|_| JobId::mint()).collect();
    let waits: std::collections::HashSet<_> = ids.iter().map(|id| RetryPolicy::default().delay(8, None, jitter_seed(*id, 8))).collect();
    assert!(waits.len() > 95, "{} different waits of 100 jobs", waits.len());
    assert_eq!(jitter_seed(ids[0], 3), jitter_seed(ids[0], 3));
    assert_ne!(jitter_seed(ids[0], 3), jitter_seed(ids[0], 4));
}

#[test]
fn a_policy_is_read_from_as_much_as_is_given_and_refuses_what_it_does_not_know() {
    let read = |text: &str| serde_json::from_str::<RetryPolicy>(text);
    assert_eq!(read("{}").unwrap(), RetryPolicy::default());
    let fixed = read(r#"{"curve":{"curve":"fixed","delay_ms":5},"jitter":"none"}"#).unwrap();
    assert_eq!(fixed, RetryPolicy { curve: Curve::Fixed { delay_ms: 5 }, jitter: Jitter::None, ..RetryPolicy::default() });
    for bad in [r#"{"jiter":"none"}"#, r#"{"curve":{"curve":"fixed","delay_ms":5,"cap_ms":1}}"#, r#"{"curve":{"curve":"fibonacci"}}"#] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

fn curves() -> impl Strategy<Value = Curve> {
    prop_oneof![
        any::<u64>().prop_map(|delay_ms| Curve::Fixed { delay_ms }),
        any::<(u64, u64)>().prop_map(|(base_ms, cap_ms)| Curve::Linear { base_ms, cap_ms }),
        (any::<u64>(), 1.0..10.0_f64, any::<u64>()).prop_map(|(base_ms, factor, cap_ms)| Curve::Exponential { base_ms, factor, cap_ms }),
        prop::collection::vec(any::<u64>(), 0..5).prop_map(|delays_ms| Curve::List { delays_ms }),
    ]
}

proptest! {
    #[test]
    fn jitter_stays_within_its_bounds_and_the_same_seed_gives_the_same_wait(curve in curves(), attempt in any::<u32>(), seed in any::<u64>()) {
        let delay = |jitter| RetryPolicy { curve: curve.clone(), jitter, ..RetryPolicy::default() }.delay(attempt, None, seed);
        let (none, full, equal) = (delay(Jitter::None), delay(Jitter::Full), delay(Jitter::Equal));
        prop_assert!(full <= none);
        prop_assert!(equal <= none && equal >= Duration::from_millis(none.as_millis() as u64 / 2));
        prop_assert_eq!((full, equal), (delay(Jitter::Full), delay(Jitter::Equal)));
    }

    #[test]
    fn a_later_attempt_never_waits_less(base_ms in 0..1_000_000_u64, factor in 1.0..5.0_f64, cap_ms in 0..u64::MAX, attempt in 0..2000_u32) {
        for curve in [Curve::Linear { base_ms, cap_ms }, Curve::Exponential { base_ms, factor, cap_ms }] {
            let pair = waits(curve, &[attempt, attempt + 1]);
            prop_assert!(pair[0] <= pair[1] && pair[1] <= cap_ms);
        }
    }
}
