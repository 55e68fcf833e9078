//! Limits that are changed live: what is in force, what is configured, and what becomes of either.

use crate::support::name;
use serde_json::json;
use windlass::job::{LiveLimits, QueueLimits, QueueSettings, Rate, Settings, Timestamp, Turn};

fn live(value: serde_json::Value) -> LiveLimits {
    serde_json::from_value(value).expect("it is a change")
}

fn turn(limits: Option<&LiveLimits>) -> Turn<'_> {
    Turn { limits, at: Timestamp(7), by: "cli:ops", reason: "the provider melts" }
}

fn settings(queue: QueueSettings) -> Settings {
    Settings { queues: [(name("serp"), queue)].into(), ..Settings::default() }
}

fn changed(settings: &Settings, value: serde_json::Value) -> Settings {
    settings.turned(&name("serp"), turn(Some(&live(value)))).expect("it can be changed").0
}

#[test]
fn change_leaves_alone_what_it_does_not_name_and_null_lifts_a_limit() {
    let rate = Rate { per_second: 10.0, burst: 20 };
    let file = settings(QueueSettings { concurrency: Some(8), key_concurrency: 3, rate: Some(rate), ..QueueSettings::default() });
    let first = changed(&file, json!({"concurrency": 2, "rate": null}));
    let now = first.queue("serp");
    assert_eq!((now.concurrency, now.rate, now.key_concurrency), (Some(2), None, 3));
    let second = changed(&first, json!({"key_concurrency": 1}));
    let now = second.queue("serp");
    assert_eq!((now.concurrency, now.rate, now.key_concurrency), (Some(2), None, 1), "changes add up");
    let shown = second.limits("serp");
    assert_eq!((shown.in_force.concurrency, shown.configured.concurrency), (Some(2), Some(8)));
    let last = shown.changed.expect("it was changed");
    assert_eq!((last.by.as_str(), last.reason.as_str(), last.at), ("cli:ops", "the provider melts", Timestamp(7)));
    assert_eq!(last.limits, live(json!({"concurrency": 2, "rate": null, "key_concurrency": 1})));
}

#[test]
fn configuration_changes_what_lies_below_a_live_change_and_never_the_change() {
    let stored = changed(&settings(QueueSettings { concurrency: Some(8), ..QueueSettings::default() }), json!({"concurrency": 2}));
    let file = settings(QueueSettings { concurrency: Some(5), key_concurrency: 4, ..QueueSettings::default() });
    let after = file.clone().under_live(&stored);
    let now = after.queue("serp");
    assert_eq!((now.concurrency, now.key_concurrency), (Some(2), 4));
    assert_eq!(after.as_configured(), file);
    let (lifted, words) = after.turned(&name("serp"), turn(None)).expect("it can be lifted");
    assert_eq!(lifted, file, "it goes back to the new file's value");
    assert_eq!(words, "concurrency: 2 -> 5; because the provider melts");
    let nothing = Settings::default().under_live(&stored);
    assert_eq!(nothing.queue("serp").concurrency, Some(2), "also where a file does not name the queue any more");
    assert_eq!(nothing.turned(&name("serp"), turn(None)).expect("it can be lifted").0, Settings::default());
}

#[test]
fn change_that_cannot_hold_names_its_setting() {
    let queue = QueueSettings { partitions: 4, fair: false, ..QueueSettings::default() };
    let file = settings(queue);
    for (value, pointer) in [
        (json!({"concurrency": 0}), "/concurrency"),
        (json!({"concurrency": 3}), "/concurrency"),
        (json!({"rate": {"per_second": 1.0, "burst": 3}}), "/rate"),
        (json!({"concurrency": u32::MAX}), "/concurrency"),
        (json!({"key_concurrency": 0}), "/key_concurrency"),
        (json!({"tenant_concurrency": 9}), "/tenant_concurrency"),
        (json!({"rate": {"per_second": 0.0, "burst": 1}}), "/rate"),
        (json!({"key_rate": {"per_second": 1.0, "burst": 0}}), "/key_rate"),
        (json!({"rate": {"per_second": 1e-300, "burst": 2}}), "/rate"),
        (json!({}), ""),
    ] {
        let error = file.turned(&name("serp"), turn(Some(&live(value.clone())))).expect_err("it cannot hold");
        assert_eq!(error.pointer, pointer, "{value}: {error:?}");
    }
}

#[test]
fn fault_that_another_made_is_in_nobodys_way() {
    let fair = settings(QueueSettings::default());
    let stored = changed(&fair, json!({"tenant_concurrency": 2}));
    let unfair = settings(QueueSettings { fair: false, ..QueueSettings::default() }).under_live(&stored);
    assert_eq!(unfair.queue("serp").tenant_concurrency, None, "without lines of tenants it cannot hold");
    assert_eq!(changed(&unfair, json!({"concurrency": 3})).queue("serp").concurrency, Some(3));
    assert_eq!(fair.under_live(&unfair).queue("serp").tenant_concurrency, Some(2), "it is kept for when it can");
}

#[test]
fn member_that_may_not_be_null_or_is_unknown_is_refused() {
    for value in [json!({"key_concurrency": null}), json!({"tenant_weights": null}), json!({"fair": false}), json!({"rate": "10/s"})] {
        assert!(serde_json::from_value::<LiveLimits>(value.clone()).is_err(), "{value}");
    }
    assert_eq!(serde_json::to_value(live(json!({"rate": null}))).expect("JSON"), json!({"rate": null}), "null is kept apart from nothing");
}

#[test]
fn member_at_fault_is_named() {
    for (value, pointer, code) in [
        (json!({"concurrency": 1, "rate": {"per_second": "x", "burst": 1}}), "/rate", "wrong_type"),
        (json!({"concurrency": -1}), "/concurrency", "wrong_type"),
        (json!({"key_concurrency": null}), "/key_concurrency", "wrong_type"),
        (json!({"tenant_weights": {"a": 1, "not a name": 2}}), "/tenant_weights", "wrong_type"),
        (json!({"a/b": 1}), "/a~1b", "unknown_member"),
    ] {
        let error = LiveLimits::read(value.as_object().expect("an object").clone()).expect_err("it is wrong");
        assert_eq!((error.pointer.as_str(), error.code), (pointer, code), "{error:?}");
    }
    let many: serde_json::Map<_, _> = (0..1001).map(|n| (format!("t{n}"), json!(1))).collect();
    let error = Settings::default().turned(&name("serp"), turn(Some(&live(json!({"tenant_weights": many}))))).expect_err("too many");
    assert_eq!(error.pointer, "/tenant_weights");
}

#[test]
fn so_many_queues_are_changed_and_no_more() {
    let limits = live(json!({"concurrency": 1}));
    let mut settings = Settings::default();
    for n in 0..1000 {
        let one = live(json!({"concurrency": 1 + n}));
        settings.live.insert(name(&format!("q{n}")), settings_of(&one));
    }
    assert_eq!(settings.turned(&name("more"), turn(Some(&limits))).expect_err("it is full").code, "too_many");
    assert!(settings.turned(&name("q7"), turn(Some(&limits))).is_ok() && settings.turned(&name("q7"), turn(None)).is_ok());
}

fn settings_of(limits: &LiveLimits) -> windlass::job::Live {
    let (after, _) = Settings::default().turned(&name("one"), turn(Some(limits))).expect("it can be changed");
    after.live.into_values().next().expect("it is changed")
}

#[test]
fn settings_without_live_changes_are_written_as_ever() {
    let text = serde_json::to_string(&Settings::default()).expect("JSON");
    assert!(!text.contains("live"), "{text}");
    let stored = changed(&Settings::default(), json!({"concurrency": 1, "rate": null}));
    let text = serde_json::to_string(&stored).expect("JSON");
    assert_eq!(serde_json::from_str::<Settings>(&text).expect("they are read"), stored);
}

#[test]
fn rate_is_read_as_it_is_written() {
    for (text, per_second, burst) in
        [("10/s:20", 10.0, 20), ("0.123/s:1", 0.123, 1), ("30/m:1", 0.5, 1), ("1/h:3", 1.0 / 3600.0, 3), ("90/m:2", 1.5, 2)]
    {
        let rate: Rate = text.parse().expect(text);
        assert!((rate.per_second - per_second).abs() < 1e-12 && rate.burst == burst, "{text}: {rate:?}");
        assert_eq!(rate.to_string(), text);
    }
    assert_eq!("10/s".parse(), Ok(Rate { per_second: 10.0, burst: 1 }));
    for text in ["", "10", "10/d", "x/s", "10/s:", "10/s:-1", "/s"] {
        assert!(text.parse::<Rate>().is_err(), "{text}");
    }
}

#[test]
fn weights_are_replaced_as_a_whole_and_said_in_words() {
    let file = settings(QueueSettings { tenant_weights: [(name("a"), 3), (name("b"), 2)].into(), ..QueueSettings::default() });
    let weights = live(json!({"tenant_weights": {"a": 1}}));
    let (after, words) = file.turned(&name("serp"), turn(Some(&weights))).expect("it can be changed");
    assert_eq!(QueueLimits::from(&after.queue("serp")).tenant_weights, [(name("a"), 1)].into());
    assert_eq!(words, "tenant_weights: a=3,b=2 -> a=1; because the provider melts");
}
