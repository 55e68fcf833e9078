//! The page before a daemon that works: what is done in it happens, and what happens is seen in it.

use super::{all_is_well, opened};
use crate::cli::program::Place;
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::mpsc,
};

const LOOPBACK: &str = "[outbound]\nallow = [\"127.0.0.0/8\"]\n";

/// A server that answers each call when it is told how, and tells what it was asked.
fn answering() -> (String, mpsc::Sender<&'static str>, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let (say, says) = mpsc::channel::<&'static str>();
    let (tell, called) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a call");
            let mut asked = [0; 4096];
            let read = stream.read(&mut asked).unwrap_or(0);
            let first = String::from_utf8_lossy(&asked[..read]).lines().next().unwrap_or_default().to_owned();
            let _ = tell.send(first);
            let Ok(status) = says.recv() else { return };
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
        }
    });
    (url, say, called)
}

async fn next(called: mpsc::Receiver<String>) -> (String, mpsc::Receiver<String>) {
    tokio::task::spawn_blocking(move || (called.recv().expect("it is called"), called)).await.expect("no panic")
}

#[tokio::test]
async fn job_is_enqueued_watched_fails_is_edited_and_redriven_and_ends_well() {
    let place = Place::new();
    place.write("windlass.toml", LOOPBACK);
    let daemon = place.daemon(&["--config", "windlass.toml"]);
    let (url, say, called) = answering();
    let tab = opened(daemon.address, "/enqueue").await;
    tab.write("input[name=kind]", "http.call").await;
    tab.write("textarea[name=payload]", "{\"url\": ").await;
    tab.click("form .primary").await;
    tab.sees("The payload is no JSON").await;
    tab.write(
        "textarea[name=payload]",
        &format!("{{\"url\": \"{url}\", \"body\": {{\"exact\": 12345678901234567890}}, \"method\": \"POST\"}}"),
    )
    .await;
    tab.click("form .primary").await;
    tab.click("[role=status] a.id").await;
    let (asked, called) = next(called).await;
    assert_eq!(asked, "POST / HTTP/1.1");
    tab.until("document.querySelector('.heading .state')?.innerText === 'running'").await;
    tab.sees("12345678901234567890").await;
    say.send("400 Bad Request").expect("it waits");
    tab.until("document.querySelector('.heading .state')?.innerText === 'dead'").await;
    tab.sees("Attempt 1 dead").await;
    tab.click("text:Edit").await;
    tab.until("document.querySelector('dialog textarea')?.value.includes('12345678901234567890')").await;
    tab.write("dialog textarea", &format!("{{\"url\": \"{url}mended\", \"method\": \"PUT\"}}")).await;
    tab.click("dialog .primary").await;
    tab.until("document.querySelector('pre[aria-label=Payload]')?.innerText.includes('mended')").await;
    tab.click("text:Redrive").await;
    tab.click("dialog .primary").await;
    let (asked, _called) = next(called).await;
    assert_eq!(asked, "PUT /mended HTTP/1.1");
    tab.until("document.querySelector('.heading .state')?.innerText === 'running'").await;
    say.send("200 OK").expect("it waits");
    tab.until("document.querySelector('.heading .state')?.innerText === 'completed'").await;
    tab.value("location.hash = '#/'").await;
    tab.sees("1 daemon").await;
    tab.value("location.hash = '#/daemons'").await;
    tab.sees("alive").await;
    all_is_well(&tab).await;
}

#[tokio::test]
async fn paused_queue_holds_its_jobs_and_says_so() {
    let place = Place::new();
    let daemon = place.daemon(&[]);
    place.json(&["enqueue", "bench.noop", "{}", "--json"]);
    let tab = opened(daemon.address, "/queues").await;
    tab.click("text:Pause").await;
    tab.write("dialog input[name=reason]", "the provider is down").await;
    tab.click("dialog .primary").await;
    tab.sees("the provider is down").await;
    let id = place.json(&["enqueue", "bench.noop", "{}", "--json"])["id"].as_str().expect("an id").to_owned();
    tab.value(&format!("location.hash = '#/jobs/{id}'")).await;
    tab.until("document.querySelector('.closed')?.innerText.includes('Held by pause')").await;
    tab.until("document.querySelector('.closed').innerText.includes('the provider is down')").await;
    tab.value("location.hash = '#/'").await;
    tab.until("document.querySelector('.advice')?.innerText.includes('the provider is down')").await;
    tab.value("location.hash = '#/queues'").await;
    tab.click("text:Resume").await;
    tab.click("dialog .primary").await;
    tab.sees("open again").await;
    tab.value(&format!("location.hash = '#/jobs/{id}'")).await;
    tab.until("document.querySelector('.heading .state')?.innerText === 'completed'").await;
    all_is_well(&tab).await;
}

#[tokio::test]
async fn limits_of_a_queue_are_changed_and_lifted() {
    let place = Place::new();
    let daemon = place.daemon(&[]);
    let id = place.json(&["enqueue", "bench.noop", "{}", "--json"])["id"].as_str().expect("an id").to_owned();
    let tab = opened(daemon.address, &format!("/jobs/{id}")).await;
    tab.until("document.querySelector('.heading .state')?.innerText === 'completed'").await;
    tab.value("location.hash = '#/queues'").await;
    tab.click("text:Limits").await;
    tab.write("dialog input[name=rate]", "ten a second").await;
    tab.write("dialog input[name=reason]", "the provider melts").await;
    tab.write("dialog input[name=concurrency]", "3").await;
    tab.click("dialog .primary").await;
    tab.sees("is no rate").await;
    tab.write("dialog input[name=rate]", "30/m").await;
    tab.write("dialog input[name=tenant_weights]", "acme").await;
    tab.click("dialog .primary").await;
    tab.sees("gives no weights").await;
    tab.write("dialog input[name=tenant_weights]", "acme=3, beta=2").await;
    tab.click("dialog .primary").await;
    tab.sees("concurrency 3, rate 30/m:1, tenant_weights acme=3,beta=2: the provider melts").await;
    let queues = place.json(&["queues", "list", "--json"]);
    let limits = &queues[0]["limits"];
    assert_eq!((&limits["in_force"]["concurrency"], &limits["in_force"]["rate"]["per_second"]), (&3.into(), &0.5.into()), "{queues}");
    assert_eq!(limits["in_force"]["tenant_weights"], serde_json::json!({"acme": 3, "beta": 2}), "{queues}");
    assert_eq!(limits["changed"]["limits"].as_object().map(serde_json::Map::len), Some(3), "what was left alone is not changed: {queues}");
    tab.click("text:Unset").await;
    tab.write("dialog input[name=reason]", "it is well").await;
    tab.click("dialog .primary").await;
    tab.until("!document.querySelector('main').innerText.includes('the provider melts')").await;
    all_is_well(&tab).await;
}

#[tokio::test]
async fn daemon_that_goes_and_comes_is_found_again() {
    let place = Place::new();
    let mut daemon = place.daemon(&[]);
    let address = daemon.address;
    let tab = opened(address, "/").await;
    tab.until("document.querySelector('#standing')?.innerText === 'Live'").await;
    daemon.signal(libc::SIGTERM);
    assert!(daemon.wait().success(), "an open page holds up nobody");
    tab.until("document.querySelector('#standing')?.innerText === 'Connecting…'").await;
    let _again = place.daemon(&["--listen", &address.to_string()]);
    tab.until("document.querySelector('#standing')?.innerText === 'Live'").await;
}
