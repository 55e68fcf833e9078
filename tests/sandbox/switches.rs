//! Faults that are the same for every HTTP stand-in, and how the sandbox starts and stops.

use super::{LONG, client, sandbox, sandbox_with};
use std::{io, time::Duration, time::Instant};
use tokio_util::sync::CancellationToken;
use windlass::sandbox::{Config, Fault, Provider, Sandbox};

fn url(sandbox: &Sandbox) -> String {
    format!("{}/count/x", sandbox.receiver_url())
}

#[tokio::test]
async fn a_delayed_answer_comes_no_sooner() {
    let sandbox = sandbox().await;
    sandbox.switches().delay(Provider::Receiver, Duration::from_millis(150));
    let asked = Instant::now();
    assert!(client().get(url(&sandbox)).send().await.unwrap().status().is_success());
    assert!(asked.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn calls_beyond_the_rate_get_429_with_retry_after() {
    let sandbox = sandbox().await;
    sandbox.switches().limit(Provider::Receiver, Some(2));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let response = client().get(url(&sandbox)).send().await.unwrap();
        statuses.push((response.status().as_u16(), response.headers().get("retry-after").is_some()));
    }
    assert_eq!(statuses, [(200, false), (200, false), (429, true)]);
}

#[tokio::test]
async fn a_hanging_call_never_gets_an_answer_and_does_not_hold_up_others() {
    let sandbox = sandbox().await;
    sandbox.switches().fail_next(Provider::Receiver, 1, Fault::Hang { kept: false });
    let impatient = client().get(url(&sandbox)).timeout(Duration::from_millis(200));
    assert!(impatient.send().await.unwrap_err().is_timeout());
    assert!(client().get(url(&sandbox)).send().await.unwrap().status().is_success());
    let calls = sandbox.calls().list().wait_for(2, LONG).await.unwrap();
    assert_eq!((calls[0].status, calls[0].fault, calls[1].status), (0, Some("hang"), 200));
}

#[tokio::test]
async fn a_reset_call_gets_no_byte_and_a_cut_one_only_some() {
    let sandbox = sandbox().await;
    sandbox.switches().fail_next(Provider::Receiver, 1, Fault::Reset);
    let reset = client().get(url(&sandbox)).send().await.unwrap_err();
    assert!(reset.is_request() && !reset.is_timeout(), "{reset:?}");
    sandbox.switches().fail_next(Provider::Receiver, 1, Fault::CutBody);
    let cut = client().get(url(&sandbox)).send().await.unwrap();
    assert!(cut.status().is_success() && cut.content_length().unwrap() > 0);
    assert!(cut.bytes().await.is_err());
    assert!(client().get(url(&sandbox)).send().await.unwrap().bytes().await.is_ok());
}

#[tokio::test]
async fn a_taken_port_is_an_error_and_a_stopped_sandbox_frees_it() {
    let first = sandbox().await;
    let http_port = first.receiver_url().rsplit(':').next().unwrap().parse().unwrap();
    let config = Config { http_port, ..Config::default() };
    let taken = Sandbox::start(config.clone(), CancellationToken::new()).await.unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    drop(first);
    let free = tokio::time::timeout(LONG, async {
        while Sandbox::start(config.clone(), CancellationToken::new()).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    free.await.expect("the port is free once the sandbox is gone");
}

#[tokio::test]
async fn what_is_printed_tells_every_address_and_no_password() {
    let sandbox = sandbox_with(Config { dataforseo_password: "hush".into(), ..Config::default() }).await;
    let lines = sandbox.describe().join("\n");
    for address in [sandbox.openai_url(), sandbox.smtp_addr().to_string(), sandbox.admin_url()] {
        assert!(lines.contains(&address), "{lines}");
    }
    assert!(!lines.contains("hush"));
}
