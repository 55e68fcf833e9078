//! How the page looks: pictures of every view at a desk and in a hand, by day and by night, in `page-shots` beside what is built. What can be
//! measured of good looks is: nothing sticks out, and every text can be read.

use super::{all_is_well, opened};
use crate::{
    control::{Port, name},
    support::Tab,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{path::Path, time::Duration};
use windlass::{
    job::{Daemon, ErrorClass, HolderId, JobError, QueueWork, Settlement, Timestamp, Transition},
    store::Actor,
};

async fn announce(port: &Port, node: &str, queues: &[(&str, usize, usize, u64)], draining: bool) {
    let queues = queues.iter().map(|(queue, slots, running, ended_in_minute)| {
        (name(queue), QueueWork { slots: *slots, running: *running, ended_in_minute: *ended_in_minute })
    });
    let kinds = ["ai.extract", "serp.refresh", "reminder.send", "http.call"].map(name).into();
    let started_at = port.store.now().await.expect("the clock").minus(Duration::from_secs(93_784));
    let daemon = Daemon {
        holder: HolderId::mint(),
        node: node.into(),
        pid: 4711,
        version: "0.1.0".into(),
        started_at,
        draining,
        remote: false,
        token: None,
        queues: queues.collect(),
        kinds,
    };
    port.store.announce(&daemon, Duration::from_secs(3600), None).await.expect("it is heard");
}

/// A night with some trouble in it. The dead letter to look at, and a job that waits.
async fn night(port: &Port) -> [String; 2] {
    announce(port, "worker-1.eu", &[("serp", 16, 14, 1180), ("extract", 8, 3, 96)], false).await;
    announce(port, "worker-2.eu", &[("serp", 16, 16, 1214), ("mail", 4, 0, 12)], true).await;
    for (kind, queue, n) in
        [("serp.refresh", "serp", 60), ("ai.extract", "extract", 7), ("reminder.send", "mail", 2), ("http.call", "hooks", 3)]
    {
        port.enqueue(
            n,
            &json!({"kind": kind, "queue": queue, "payload": {"keyword": "rust queue", "locale": "en-GB"}, "tenant": "org_42"}),
        )
        .await;
    }
    port.enqueue(9, &json!({"kind": "reminder.send", "queue": "mail", "payload": {}, "delay_ms": 3_600_000})).await;
    for leased in port.lease("serp", "serp.refresh", 40).await.into_iter().skip(11) {
        port.store.settle(vec![Settlement::new(leased.lease, Transition::Complete, leased.lease.granted_at)], None).await.expect("done");
    }
    let envelope = json!({"kind": "ai.extract", "queue": "extract", "tenant": "org_42", "tags": ["nightly", "syllabus"], "max_attempts": 3,
        "payload": {"model": "small", "text": "Cell Biology, BIO 210, four credits", "schema": {"type": "object", "properties": {"credits": {"type": "integer"}}}}});
    let dead = port.enqueue(1, &envelope).await[0];
    for leased in port.lease("extract", "ai.extract", 20).await.into_iter().filter(|leased| leased.job.id == dead) {
        let error = JobError::new(ErrorClass::Retry, "http_503", "the provider is overloaded, ask again later");
        let again = Transition::Retry { at: Timestamp(0), error };
        port.store.settle(vec![Settlement::new(leased.lease, again, leased.lease.granted_at)], None).await.expect("again");
    }
    for (kind, code, says) in [
        ("ai.extract", "invalid_answer", "credits: \"four\" is not of type integer"),
        ("http.call", "http_410", "the receiver says that it is gone for good"),
    ] {
        let queue = if kind == "ai.extract" { "extract" } else { "hooks" };
        for leased in port.lease(queue, kind, 3).await {
            let ends = Transition::Dead { reason: "rejected", error: JobError::new(ErrorClass::Permanent, code, says) };
            port.store.settle(vec![Settlement::new(leased.lease, ends, leased.lease.granted_at)], None).await.expect("dead");
        }
    }
    port.post("/v1/queues/mail/pause", &json!({"reason": "the mail provider changes its address", "for_ms": 5_400_000})).await;
    let limits = json!({"concurrency": 12, "rate": {"per_second": 0.5, "burst": 1}, "reason": "the provider melts"});
    let changed = port.send(Method::PATCH, "/v1/queues/serp/limits", "application/json", limits.to_string()).await;
    assert!(changed.status.is_success(), "{changed:?}");
    let waiting =
        port.enqueue(1, &json!({"kind": "reminder.send", "queue": "mail", "payload": {"to": "a@example.org"}, "tenant": "org_7"})).await[0];
    for (schedule, cron) in [("nightly-serp", "30 2 * * *"), ("hourly-mail", "0 * * * *")] {
        let schedule = json!({"name": schedule, "cron": cron, "tz": "Europe/Berlin", "job": {"kind": "serp.refresh", "queue": "serp", "payload": {"keyword": "rust"}}});
        port.store
            .put_schedule(&serde_json::from_str(&schedule.to_string()).expect("a schedule"), &Actor::new("test"), None)
            .await
            .expect("kept");
    }
    [dead.to_string(), waiting.to_string()]
}

/// Elements that are wider than the window, unless they scroll by themselves.
const STICKS_OUT: &str = "document.documentElement.scrollWidth > innerWidth ? [...document.querySelectorAll('#main *')] \
    .filter((it) => it.getBoundingClientRect().right > innerWidth + 1 && !it.closest('.scroll, pre')).map((it) => it.outerHTML.slice(0, 120)).slice(0, 5) : []";

/// Texts whose contrast is below what WCAG's AA asks for.
const PALE: &str = r"(() => {
  const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return text.startsWith('color(srgb') ? [r * 255, g * 255, b * 255, a] : [r, g, b, a]; };
  const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
  const ground = (it) => { let layers = []; for (; it; it = it.parentElement) layers.push(parse(getComputedStyle(it).backgroundColor)); return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]); };
  const bright = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, part, at) => { const v = c[at] / 255; return sum + part * (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); }, 0);
  return [...document.querySelectorAll('body *')].filter((it) => it.checkVisibility() && !it.disabled && [...it.childNodes].some((n) => n.nodeType === 3 && n.data.trim())).map((it) => {
    const style = getComputedStyle(it), back = ground(it), [a, b] = [bright(over(parse(style.color), back)), bright(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05), large = parseFloat(style.fontSize) >= 24;
    return ratio < (large ? 3 : 4.5) ? `${ratio.toFixed(2)}: ${it.innerText.slice(0, 60)} (${it.className})` : null;
  }).filter(Boolean);
})()";

async fn taken(tab: &Tab, view: &str, file: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("what is built has a folder").join("page-shots");
    for (device, wide, high) in [("desk", 1280, 800), ("hand", 360, 740)] {
        for (time, dark) in [("day", false), ("night", true)] {
            tab.sized(wide, high, dark).await;
            tab.until("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))").await;
            assert_eq!(tab.value(STICKS_OUT).await, Value::Array(Vec::new()), "{view} {device}");
            assert_eq!(tab.value(PALE).await, Value::Array(Vec::new()), "{view} by {time}");
            tab.shot(&folder.join(format!("{file}-{device}-{time}.png"))).await;
        }
    }
}

#[tokio::test]
async fn page_can_be_read_at_a_desk_and_in_a_hand_by_day_and_by_night() {
    let port = Port::start().await;
    let [dead, waiting] = night(&port).await;
    let tab = opened(port.address, "/").await;
    tab.until("document.querySelectorAll('.spark polyline').length > 4").await;
    for (view, file, says) in [
        ("/".to_owned(), "overview", "worker"),
        ("/queues".into(), "queues", "mail provider"),
        ("/jobs".into(), "jobs", "serp.refresh"),
        (format!("/jobs/{dead}"), "job-dead", "four"),
        (format!("/jobs/{waiting}"), "job-held", "Held by"),
        ("/dead".into(), "dead", "http_410"),
        ("/schedules".into(), "schedules", "nightly-serp"),
        ("/schedules/nightly-serp".into(), "schedule", "Europe/Berlin"),
        ("/daemons".into(), "daemons", "worker-2.eu"),
        ("/doctor".into(), "doctor", "octor"),
        ("/enqueue".into(), "enqueue", "Payload"),
    ] {
        let says = if file == "overview" { "of 44 slots" } else { says };
        tab.value(&format!("location.hash = '#{view}'")).await;
        tab.sees(says).await;
        tab.until("!document.querySelector('#main').innerText.includes('Loading…')").await;
        taken(&tab, &view, file).await;
    }
    tab.sized(1280, 800, false).await;
    tab.value("location.hash = '#/queues'").await;
    tab.click("text:Pause").await;
    tab.until("document.querySelector('dialog[open]')").await;
    taken(&tab, "pause", "pause").await;
    tab.press("Escape").await;
    tab.click("text:Limits").await;
    taken(&tab, "limits", "limits").await;
    tab.press("Escape").await;
    tab.sized(1280, 800, false).await;
    all_is_well(&tab).await;
    let _ = super::token(&port, &[windlass::job::Scope::Read], None).await;
    let stranger = opened(port.address, "/").await;
    stranger.until("document.querySelector('.login')").await;
    taken(&stranger, "login", "login").await;
}
