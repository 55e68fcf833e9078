//! The page without a mouse, and as a screen reader has it.

use super::{all_is_well, opened};
use crate::control::Port;
use serde_json::{Value, json};

#[tokio::test]
async fn every_entry_of_the_navigation_is_reached_and_opened_by_keys_alone() {
    let port = Port::start().await;
    let tab = opened(port.address, "/").await;
    let entries = tab.value("[...document.querySelectorAll('#nav a')].map((it) => it.getAttribute('href'))").await;
    for entry in entries.as_array().expect("a list") {
        tab.value("document.activeElement.blur()").await;
        let mut steps = 0;
        loop {
            tab.press("Tab").await;
            let at = tab.value("document.activeElement.closest('#nav') && document.activeElement.getAttribute('href')").await;
            let seen = tab
                .value("document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle !== 'none'")
                .await;
            assert_eq!(seen, json!(true), "the focus is seen at step {steps} to {entry}");
            if at == *entry {
                break;
            }
            steps += 1;
            assert!(steps < 60, "{entry} is not reached");
        }
        tab.press("Enter").await;
        tab.until(&format!("location.hash === {entry} && document.querySelector('#nav [aria-current]')?.getAttribute('href') === {entry}"))
            .await;
        tab.until("document.querySelector('#main h1')").await;
    }
    all_is_well(&tab).await;
}

#[tokio::test]
async fn question_takes_the_focus_and_gives_it_back() {
    let port = Port::start().await;
    port.enqueue(1, &json!({"kind": "k", "payload": 1})).await;
    let tab = opened(port.address, "/queues").await;
    tab.until("document.querySelector('td.act button')").await;
    tab.value("document.querySelector('td.act button').focus()").await;
    tab.press("Enter").await;
    tab.until("document.activeElement.name === 'reason'").await;
    for _ in 0..8 {
        tab.press("Tab").await;
        let inside = tab.value("document.activeElement === document.body || Boolean(document.activeElement.closest('dialog'))").await;
        assert_eq!(inside, json!(true), "the rest of the page is out of reach");
    }
    tab.press("Escape").await;
    tab.until("!document.querySelector('dialog') && document.activeElement.innerText === 'Pause'").await;
    // The table is told anew each second, and the focus stays where it is.
    port.enqueue(1, &json!({"kind": "k", "payload": 1})).await;
    tab.until("document.querySelector('td.n a')?.innerText === '2'").await;
    assert_eq!(tab.value("document.activeElement.innerText").await, "Pause");
    tab.value("document.activeElement.blur()").await;
    tab.press("/").await;
    tab.until("document.activeElement.name === 'id'").await;
}

/// Controls without a name, pictures without a text, more or fewer than one heading.
const UNNAMED: &str = "[...document.querySelectorAll('button, a, input, select, textarea, [role=img], [role=region], dialog, nav')].filter((it) => \
    !(it.getAttribute('aria-label') || it.getAttribute('aria-labelledby') || it.innerText?.trim() || it.labels?.length)).map((it) => it.outerHTML.slice(0, 200)) \
    .concat(document.querySelectorAll('h1').length === 1 ? [] : [`${document.querySelectorAll('h1').length} main headings`])";

#[tokio::test]
async fn everything_has_a_name_for_who_does_not_see_it() {
    let port = Port::start().await;
    let dead = port.dead(1, &json!({"kind": "k", "payload": 1})).await[0];
    port.enqueue(1, &json!({"kind": "k", "payload": 1})).await;
    let tab = opened(port.address, "/").await;
    for view in ["/", "/queues", "/jobs", &format!("/jobs/{dead}"), "/dead", "/redrives", "/schedules", "/daemons", "/doctor", "/enqueue"] {
        tab.value(&format!("location.hash = '#{view}'")).await;
        tab.until("document.querySelector('#main h1') && !document.querySelector('#main').innerText.includes('Loading…')").await;
        assert_eq!(tab.value(UNNAMED).await, Value::Array(Vec::new()), "{view}");
    }
    assert_eq!(tab.value("document.documentElement.lang").await, "en");
    assert_eq!(tab.value("document.querySelector('#notices').getAttribute('aria-live')").await, "polite");
}
