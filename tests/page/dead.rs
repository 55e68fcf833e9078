//! The workbench of the dead: a group is opened, patched as a trial and for good, put back one first, and purged.

use super::{all_is_well, opened, signed_in, token};
use crate::control::Port;
use serde_json::json;
use windlass::job::{Scope, State};

const PATCH: &str = r#"[{"op": "replace", "path": "/url", "value": "https://new.example"}]"#;

#[tokio::test]
async fn group_is_tried_patched_and_put_back() {
    let port = Port::start().await;
    let dead = port.dead(12, &json!({"kind": "k", "payload": {"url": "https://old.example"}})).await;
    let tab = opened(port.address, "/dead").await;
    tab.sees("12 dead letters were looked at").await;
    tab.click("text:Open").await;
    tab.sees("12 dead letters of k").await;
    tab.click("text:Edit and redrive").await;
    tab.write("dialog textarea", "[{\"op\"").await;
    tab.click("text:Try on ten").await;
    tab.sees("The patch is no JSON").await;
    tab.write("dialog textarea", PATCH).await;
    tab.click("text:Try on ten").await;
    tab.sees("10 jobs of the 10 that were tried would go back").await;
    assert_eq!(port.job(dead[0]).await["state"], "dead", "it was a trial");
    // Twelve are many: without the word nothing happens.
    tab.click("dialog .primary").await;
    tab.until("document.querySelector('dialog :invalid')").await;
    assert_eq!(port.job(dead[0]).await["state"], "dead");
    tab.write("dialog input[name=word]", "redrive").await;
    tab.click("dialog .primary").await;
    tab.sees("12 jobs redriven").await;
    let job = port.job(dead[0]).await;
    assert_eq!((&job["state"], &job["payload"]["url"]), (&json!("queued"), &json!("https://new.example")));
    tab.sees("No job fits").await;
    all_is_well(&tab).await;
}

#[tokio::test]
async fn slow_redrive_is_watched_and_stopped_and_outlasts_who_signs_out() {
    let port = Port::start().await;
    port.dead(3, &json!({"kind": "k", "payload": 1})).await;
    let tab = signed_in(&port, &token(&port, &[Scope::Operate], None).await, "/dead").await;
    tab.click("text:Open").await;
    tab.click("text:Redrive slowly").await;
    tab.click("dialog .primary").await;
    tab.until("document.querySelector('.card .state')?.innerText === 'canary'").await;
    tab.click("text:Sign out").await;
    tab.sees("You are signed out").await;
    let other = signed_in(&port, &token(&port, &[Scope::Operate], None).await, "/redrives").await;
    other.until("document.querySelector('.card .state')?.innerText === 'canary'").await;
    other.click("text:Stop").await;
    other.click("dialog .danger").await;
    other.until("document.querySelector('.card .state')?.innerText === 'stopped'").await;
    let counts = port.store.queues(None).await.expect("queues");
    assert_eq!((counts[0].jobs[&State::Dead], counts[0].jobs[&State::Queued]), (2, 1), "one went first, and the others stayed");
    all_is_well(&other).await;
}

#[tokio::test]
async fn purge_needs_its_word() {
    let port = Port::start().await;
    let dead = port.dead(1, &json!({"kind": "k", "payload": 1})).await[0];
    let tab = opened(port.address, &format!("/jobs/{dead}")).await;
    tab.click("text:Purge").await;
    tab.click("dialog .danger").await;
    tab.until("document.querySelector('dialog :invalid')").await;
    assert_eq!(port.job(dead).await["state"], "dead");
    tab.write("dialog input[name=word]", "purge").await;
    tab.press("Enter").await;
    tab.sees("The dead letter is purged").await;
    assert_eq!(port.get(&format!("/v1/jobs/{dead}")).await.status.as_u16(), 404);
    all_is_well(&tab).await;
}
