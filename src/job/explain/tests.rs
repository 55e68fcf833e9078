//! The pure part: positions, estimates, and what one tenant is told. Each gate is tried on every store, in `tests/store/explain.rs`.

use super::*;
use crate::job::{Before, Daemon, HolderId, Json, Place, QueueUse, QueueWork, Share};
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_000_000_000);

fn job(state: State) -> Job {
    let text = serde_json::json!({
        "id": Uuid::from_u128(7), "kind": "extract", "queue": "ai", "priority": 5, "state": state, "attempt": 0, "max_attempts": 5,
        "created_at": Timestamp(0), "run_at": Timestamp(0), "ordered": false, "deaths": 0, "payload": Json::trusted("1"), "attempts": [],
    });
    serde_json::from_value(text).expect("it is a job")
}

fn daemon(ended_in_minute: u64, slots: usize) -> SeenDaemon {
    let queues = [(Name::literal("ai"), QueueWork { slots, running: 0, ended_in_minute })].into();
    let (version, kinds) = ("1".to_owned(), [Name::literal("extract")].into());
    let daemon = Daemon {
        holder: HolderId(Uuid::nil()),
        node: "box-3".into(),
        pid: 1,
        version,
        started_at: NOW,
        draining: false,
        queues,
        kinds,
        remote: false,
        token: None,
    };
    SeenDaemon { daemon, seen_at: NOW, until: NOW.plus_ms(1) }
}

fn in_line(line: u64) -> Standing {
    let own = Share { waiting: line + 1, vtime: 0, step: 1 };
    Standing { now: NOW, place: Place::Line, before: Before { line, own, ..Before::default() }, ..Standing::default() }
}

fn seconds(from: u64, to: Option<u64>) -> Estimate {
    Estimate { from: NOW.plus_ms(from * 1000), to: to.map(|to| NOW.plus_ms(to * 1000)) }
}

#[test]
fn estimate_is_a_range_around_the_pace_of_the_last_minute() {
    let (job, standing) = (job(State::Queued), in_line(10));
    let explained = explain(Facts { job: &job, standing: &standing, daemons: &[daemon(60, 8)], changed: None });
    assert_eq!(explained.held_by, Some(GateName::Line));
    assert_eq!(explained.says, "10 jobs are before it: 10 in its line");
    assert_eq!(explained.starts, Some(seconds(5, Some(22))));
}

#[test]
fn nothing_is_estimated_while_nothing_ends_or_what_opens_the_gate_is_not_known() {
    let (job, standing) = (job(State::Queued), in_line(10));
    assert_eq!(explain(Facts { job: &job, standing: &standing, daemons: &[daemon(0, 8)], changed: None }).starts, None);
    assert_eq!(explain(Facts { job: &job, standing: &standing, daemons: &[], changed: None }).starts, None);
}

#[test]
fn position_is_exact_to_a_thousand_and_then_more_than_that() {
    let job = job(State::Queued);
    for (line, exact, before) in [(1000, true, 1000), (1001, false, 1000)] {
        let explained = explain(Facts { job: &job, standing: &in_line(line), daemons: &[daemon(60_000, 8)], changed: None });
        let position = explained.position.expect("it stands in a line");
        assert_eq!((position.exact, position.before), (exact, before));
        assert_eq!(explained.starts.expect("it ends").to.is_some(), exact);
        assert!(exact || explained.says.starts_with("more than 1,000 jobs are before it"), "{}", explained.says);
    }
}

#[test]
fn job_that_nothing_holds_starts_at_once() {
    let job = job(State::Queued);
    let explained = explain(Facts { job: &job, standing: &in_line(0), daemons: &[daemon(0, 8)], changed: None });
    assert_eq!((explained.held_by, explained.starts), (None, Some(seconds(0, Some(1)))));
}

#[test]
fn slots_that_are_taken_are_named_before_those_who_stand_in_line() {
    let job = job(State::Queued);
    let standing = Standing { queue: QueueUse { running: 8, ..QueueUse::default() }, ..in_line(3) };
    let explained = explain(Facts { job: &job, standing: &standing, daemons: &[daemon(60, 8)], changed: None });
    assert_eq!(explained.held_by, Some(GateName::DaemonSlots));
    assert_eq!(explained.says, "all 8 slots of the daemons are taken");
}

#[test]
fn one_tenant_learns_of_no_machine_and_no_person() {
    let pause = crate::job::Pause { at: NOW, by: "cli:ann".into(), reason: "acme owes us".into(), until: None };
    for state in [State::Queued, State::Running] {
        let mut job = job(state);
        job.holder = Some(HolderId(Uuid::nil()));
        for standing in [in_line(0), Standing { pause: Some(pause.clone()), ..in_line(0) }] {
            let explained = explain(Facts { job: &job, standing: &standing, daemons: &[daemon(60, 8)], changed: None });
            let whole = serde_json::to_string(&explained).expect("it is JSON");
            assert!(state == State::Queued || whole.contains("box-3"), "{whole}");
            let shown = serde_json::to_string(&explained.for_tenant()).expect("it is JSON");
            assert!(!["box-3", "ann", "owes"].iter().any(|secret| shown.contains(secret)), "{shown}");
        }
    }
}
