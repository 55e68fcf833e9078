//! What is shown to whom, and when somebody must sign in again.

use super::{all_is_well, opened, signed_in, token};
use crate::control::Port;
use serde_json::{Value, json};
use windlass::{
    job::{Scope, Timestamp},
    store::Actor,
};

async fn buttons(tab: &crate::support::Tab) -> Vec<Value> {
    let texts = "[...document.querySelectorAll('#main button')].map((it) => it.innerText)";
    tab.value(texts).await.as_array().expect("a list").clone()
}

async fn entries(tab: &crate::support::Tab) -> Value {
    tab.value("[...document.querySelectorAll('#nav a')].map((it) => it.getAttribute('href'))").await
}

#[tokio::test]
async fn where_nobody_has_a_token_the_page_is_open_to_this_machine() {
    let port = Port::start().await;
    let tab = opened(port.address, "/").await;
    tab.sees("No daemon is alive").await;
    tab.until("document.querySelector('#standing')?.innerText === 'Live'").await;
    assert_eq!(entries(&tab).await.as_array().map(Vec::len), Some(8));
    all_is_well(&tab).await;
}

#[tokio::test]
async fn who_may_only_read_sees_no_payload_and_nothing_to_press() {
    let port = Port::start().await;
    let envelope = json!({"kind": "k", "payload": {"secret": "tell-nobody"}, "meta": {"secret": "tell-nobody"}});
    let failing =
        json!({"kind": "k", "payload": 1, "on_failure": {"kind": "next", "queue": "other", "payload": {"secret": "tell-nobody"}}});
    let parent = port.dead(1, &failing).await[0];
    let child = port.job(parent).await["children"][0].clone();
    let dead = port.dead(1, &envelope).await[0];
    let waiting = port.enqueue(1, &json!({"kind": "other", "payload": {"secret": "tell-nobody"}})).await[0];
    let (blind, seeing) = (token(&port, &[Scope::Read], None).await, token(&port, &[Scope::ReadPayload], None).await);
    let tab = signed_in(&port, &blind, &format!("/jobs/{waiting}")).await;
    tab.sees("read.payload").await;
    tab.sees("No daemon").await;
    for (view, says) in [
        (format!("/jobs/{waiting}"), "Facts"),
        (format!("/jobs/{dead}"), "http_400"),
        ("/queues".into(), "default"),
        ("/dead".into(), "http_400"),
    ] {
        tab.value(&format!("location.hash = '#{view}'")).await;
        tab.sees(says).await;
        let pressable = buttons(&tab).await;
        let harmless = ["Refresh", "Show", "Clear", "Show more"];
        assert!(pressable.iter().all(|one| harmless.contains(&one.as_str().expect("a text"))), "{view}: {pressable:?}");
        let whole = tab.value("document.documentElement.textContent").await;
        assert!(!whole.as_str().expect("a text").contains("tell-nobody"), "{view}");
    }
    assert!(!entries(&tab).await.to_string().contains("enqueue"));
    for (view, other, says) in [(json!(parent), &child, "queued"), (child.clone(), &json!(parent), "dead")] {
        tab.value(&format!("location.hash = '#/jobs/' + {view}")).await;
        tab.until(&format!("document.querySelector(`a[href='#/jobs/${{{other}}}']`)?.parentElement.innerText.includes('{says}')")).await;
    }
    let told =
        reqwest::Client::new().get(port.url(&format!("/v1/jobs/{dead}/events"))).bearer_auth(&blind).send().await.expect("an answer");
    assert!(!told.text().await.expect("it ends with the job").contains("tell-nobody"));
    let other = signed_in(&port, &seeing, &format!("/jobs/{waiting}")).await;
    other.sees("tell-nobody").await;
    all_is_well(&tab).await;
}

#[tokio::test]
async fn one_tenant_sees_what_is_its_own() {
    let port = Port::start().await;
    let job = |tenant: &str| json!({"kind": "k", "payload": {"of": tenant}, "tenant": tenant, "queue": format!("of-{tenant}")});
    let own = port.enqueue(1, &job("acme")).await[0];
    let foreign = port.enqueue(1, &job("umbrella")).await[0];
    let shown = token(&port, &[Scope::ReadPayload, Scope::Operate, Scope::Enqueue], Some("acme")).await;
    let tab = signed_in(&port, &shown, "/jobs").await;
    tab.sees("of-acme").await;
    assert_eq!(entries(&tab).await, json!(["#/", "#/jobs", "#/dead", "#/enqueue"]));
    assert!(!tab.value("document.body.innerText").await.as_str().expect("a text").contains("umbrella"));
    tab.value(&format!("location.hash = '#/jobs/{foreign}'")).await;
    tab.sees("does not exist").await;
    tab.value(&format!("location.hash = '#/jobs/{own}'")).await;
    tab.click("text:Cancel").await;
    tab.click("dialog .danger").await;
    tab.sees("The job is cancelled").await;
    tab.value("location.hash = '#/queues'").await;
    tab.sees("bound to acme").await;
    all_is_well(&tab).await;
}

#[tokio::test]
async fn wrong_token_is_refused_in_words_and_a_revoked_one_leads_back_to_the_door() {
    let port = Port::start().await;
    let shown = token(&port, &[Scope::Read], None).await;
    let tab = opened(port.address, "/jobs").await;
    tab.write("input[name=token]", "windlass_wrong").await;
    tab.click("text:Sign in").await;
    tab.sees("This token is unknown here").await;
    tab.write("input[name=token]", &shown).await;
    tab.click("text:Sign in").await;
    tab.sees("No job fits").await;
    let kept = tab.value("JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])").await;
    assert!(!kept.as_str().expect("a text").contains("windlass_"), "no script can read it: {kept}");
    let id = shown.split('_').nth(1).expect("an id").parse().expect("an id");
    port.store.end_token(&id, Timestamp(0), &Actor::new("test")).await.expect("it ends");
    // The stream notices within a second or two; nobody has to press anything.
    tab.sees("Your session has ended").await;
    tab.write("input[name=token]", &token(&port, &[Scope::Read], None).await).await;
    tab.click("text:Sign in").await;
    tab.sees("No job fits").await;
    tab.click("text:Sign out").await;
    tab.sees("You are signed out").await;
    all_is_well(&tab).await;
}
