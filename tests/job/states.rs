//! The states, the moves between them, and what an end of an attempt does.

use State::{Cancelled, Completed, Dead, Parked, Queued, Running, Scheduled};
use windlass::job::{AttemptOutcome, Effect, ErrorClass, JobError, Json, Name, State, Timestamp, Transition};

#[test]
fn jobs_move_along_the_arrows_of_the_picture_and_no_others() {
    // Rows: from; columns in the order of `State::ALL`.
    let arrows = [
        (Scheduled, "-Q---CD"),
        (Queued, "S-RP-CD"),
        (Running, "SQ-PxCD"),
        (Parked, "SQ---CD"),
        (Completed, "-------"),
        (Cancelled, "-------"),
        (Dead, "-Q-----"),
    ];
    for (from, row) in arrows {
        for (to, arrow) in State::ALL.into_iter().zip(row.chars()) {
            assert_eq!(from.may_become(to), arrow != '-', "{from} to {to}");
        }
    }
}

#[test]
fn only_a_dead_letter_leaves_a_final_state() {
    for state in State::ALL {
        let leaves = State::ALL.into_iter().any(|next| state.may_become(next));
        assert_eq!(leaves, !state.is_final() || state == Dead, "{state}");
        assert!(!state.may_become(state), "{state} to itself");
    }
}

#[test]
fn states_are_called_the_same_everywhere() {
    let names = ["scheduled", "queued", "running", "parked", "completed", "cancelled", "dead"];
    for (state, name) in State::ALL.into_iter().zip(names) {
        assert_eq!((state.as_str(), state.to_string().as_str()), (name, name));
        assert_eq!(State::parse(name), Some(state));
        assert_eq!(serde_json::to_value(state).unwrap(), name);
    }
    assert_eq!(State::parse("Queued"), None);
    assert_eq!(format!("{Dead:>6}"), "  dead");
}

#[test]
fn each_end_of_an_attempt_has_its_state_its_record_and_its_price() {
    let error = || JobError::new(ErrorClass::Retry, "http_503", "try later");
    let at = Timestamp::from_secs(1);
    let park = Transition::Park { reason: "breaker".into(), until: at, token: None, error: None };
    let table = [
        (Transition::Complete, Completed, AttemptOutcome::Completed, true),
        (Transition::Retry { at, error: error() }, Scheduled, AttemptOutcome::Retried, true),
        (Transition::Dead { reason: "rejected", error: error() }, Dead, AttemptOutcome::Dead, true),
        (Transition::Snooze { until: at }, Scheduled, AttemptOutcome::Snoozed, false),
        (park, Parked, AttemptOutcome::Parked, false),
        (Transition::Cancel { reason: "asked".into() }, Cancelled, AttemptOutcome::Cancelled, false),
        (Transition::Release, Queued, AttemptOutcome::Released, false),
    ];
    for (transition, state, outcome, charged) in table {
        assert_eq!(
            (transition.to_state(), transition.outcome(), transition.charges_attempt()),
            (state, outcome, charged),
            "{transition:?}"
        );
        assert!(Running.may_become(state));
        assert_eq!(transition.error().is_some(), matches!(transition, Transition::Retry { .. } | Transition::Dead { .. }));
    }
}

#[test]
fn effects_are_read_back_as_they_were_written() {
    let raw = || Json::parse(r#"{"a":1,"a":1e400}"#).unwrap();
    let effects = [
        Effect::PutRecord { collection: Name::literal("ranks"), key: "kw".into(), value: raw(), event_time: Some(Timestamp::from_secs(1)) },
        Effect::RecordSend { channel: Name::literal("smtp"), key: "k".into(), provider_id: None },
        Effect::PutCache { key: "c".into(), value: raw(), ttl_ms: 1 },
    ];
    let text = serde_json::to_string(&effects).unwrap();
    assert!(text.starts_with(r#"[{"put_record":{"collection":"ranks","key":"kw","value":{"a":1,"a":1e400},"#), "{text}");
    assert_eq!(serde_json::from_str::<Vec<Effect>>(&text).unwrap(), effects);
}

#[test]
fn a_recorded_message_is_cut_between_characters() {
    let short = JobError::new(ErrorClass::Timeout, "timeout", "x".repeat(JobError::MAX_MESSAGE));
    assert_eq!(short.message.len(), JobError::MAX_MESSAGE);
    let long = JobError::new(ErrorClass::Timeout, "timeout", "€".repeat(JobError::MAX_MESSAGE));
    assert!(long.message.ends_with("€…") && long.message.len() <= JobError::MAX_MESSAGE);
    for class in [
        ErrorClass::Retry,
        ErrorClass::Permanent,
        ErrorClass::Auth,
        ErrorClass::Quota,
        ErrorClass::Timeout,
        ErrorClass::Panic,
        ErrorClass::Cancelled,
    ] {
        assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
    }
}
