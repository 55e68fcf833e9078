//! The door on Redis and the library read every envelope alike: the same ones are good and become the same jobs, the same ones are
//! bad, with the same place, code and sentence.

use super::{Producer, door, refusal};
use crate::{
    store::envelopes::{corpus, envelope, fresh, shape, values},
    support::TestStore,
};
use fastrand::Rng;
use redis::{Pipeline, Value as Reply};
use serde_json::Value;
use windlass::{
    clock::Clock,
    job::{Limits, Name, NewJob},
};

/// Texts that are no JSON, or no envelope by their form.
const RAW: &[&str] = &[
    "",
    " ",
    "{",
    "}",
    "[]",
    "null",
    "{}",
    "{\"kind\":\"k\",\"payload\":1}x",
    "{\"kind\":\"k\",\"payload\":1,}",
    "{\"kind\":\"k\" \"payload\":1}",
    "{\"kind\":\"k\",\"payload\"}",
    "{\"kind\":\"k\",\"payload\":}",
    "{kind:\"k\",\"payload\":1}",
    "{\"kind\":'k',\"payload\":1}",
    "{\"kind\":\"k\",\"payload\":01}",
    "{\"kind\":\"k\",\"payload\":+1}",
    "{\"kind\":\"k\",\"payload\":.5}",
    "{\"kind\":\"k\",\"payload\":5.}",
    "{\"kind\":\"k\",\"payload\":5e}",
    "{\"kind\":\"k\",\"payload\":-}",
    "{\"kind\":\"k\",\"payload\":0x10}",
    "{\"kind\":\"k\",\"payload\":NaN}",
    "{\"kind\":\"k\",\"payload\":Infinity}",
    "{\"kind\":\"k\",\"payload\":tru}",
    "{\"kind\":\"k\",\"payload\":nulll}",
    "{\"kind\":\"k\",\"payload\":[1,]}",
    "{\"kind\":\"k\",\"payload\":[,1]}",
    "{\"kind\":\"k\",\"payload\":[1 2]}",
    "{\"kind\":\"k\",\"payload\":[1}",
    "{\"kind\":\"k\",\"payload\":{\"a\":1]}",
    "{\"kind\":\"k\",\"payload\":\"\t\"}",
    "{\"kind\":\"k\",\"payload\":\"\\x\"}",
    "{\"kind\":\"k\",\"payload\":\"\\u12g4\"}",
    "{\"kind\":\"k\",\"payload\":\"\\u12\"}",
    "{\"kind\":\"k\",\"payload\":\"open}",
    "{\"kind\":\"k\",\"payload\":\"open\\\"}",
    "\u{feff}{\"kind\":\"k\",\"payload\":1}",
    "{\"kind\":\"k\",\"payload\":1}{\"kind\":\"k\",\"payload\":1}",
    "{\"kind\":\"k\",\"payload\":1,\"tags\":[\"a\" \"b\"]}",
    "{\"kind\":\"a\",\"payload\":1,\"kind\":\"b\"}",
    "{\"kind\":\"a\",\"payload\":1,\"payload\":2}",
    "{\"kind\":\"a\",\"payload\":1,\"zzz\":2,\"zzz\":2}",
    "{\"kind\":\"a\",\"payload\":1,\"on_success\":{\"kind\":\"a\",\"payload\":1,\"kind\":\"b\"}}",
    "{\"kind\":\"a\",\"payload\":1,\"\\u006bind\":\"b\"}",
    "{\"kind\":\"a\",\"payload\":1,\"queue\":\"\\ud800\"}",
    "{\"kind\":\"a\",\"payload\":1,\"priority\":-0}",
    "{\"kind\":\"a\",\"payload\":1,\"priority\":1e0}",
    "{\"kind\":\"a\",\"payload\":1,\"priority\":99999999999999999999}",
    "{\"kind\":\"a\",\"payload\":1,\"delay_ms\":18446744073709551616}",
    "{\"kind\":\"a\",\"payload\":1,\"delay_ms\":-9223372036854775809}",
    // And good ones.
    " \r\n\t{ \"kind\" : \"k\" ,\n\"payload\" : [ ] } \n",
    "{\"\\u006bind\":\"\\u006b\",\"payload\":{\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\":[-0,0.10,1E+5,-1.5e-3,true,false,null,{}]}}",
    "{\"kind\":\"k\",\"payload\":\"\\ud800\"}",
    "{\"kind\":\"k\",\"payload\":\"\u{7f}é\u{2028}🦀\"}",
    "{\"kind\":\"k\",\"payload\":1e999}",
    "{\"payload\":{\"a\":1,\"a\":2},\"kind\":\"k\",\"meta\":{\"b\" : 1 ,\"a\":[ 1 ],\"b\":2}}",
];

/// Pointer, code and sentence of what the library finds wrong.
fn by_rust(text: &str) -> Option<(String, String)> {
    NewJob::check(text.as_bytes(), Limits::default()).err().map(|e| (e.code.to_owned(), format!("{}: {}", e.pointer, e.message)))
}

/// Of the queue that the envelope names, if it names one.
fn queue_of(text: &str) -> String {
    let envelope: Value = serde_json::from_str(text).unwrap_or_default();
    envelope["queue"].as_str().filter(|name| Name::is_valid(name)).unwrap_or("default").to_owned()
}

/// What the door finds wrong with each.
async fn by_lua(producer: &Producer, texts: &[String]) -> Vec<Option<(String, String)>> {
    let mut calls = Pipeline::new();
    calls.ignore_errors();
    for text in texts {
        calls.add_command(producer.call(&queue_of(text), &[text]));
    }
    let replies: Vec<Reply> = calls.query_async(&mut producer.connection.clone()).await.expect("the server answers");
    let fault = |reply: &Reply| match reply {
        Reply::ServerError(error) => {
            let (code, story) = refusal(&error.clone().into());
            // Jobs of this corpus are there more than once.
            let is_good = story.starts_with("the unique key is held") || story.starts_with("job ");
            (!is_good).then_some((code, story))
        }
        _ => None,
    };
    replies.iter().map(fault).collect()
}

#[tokio::test]
async fn both_find_the_same_faults() {
    let Some((_store, producer)) = door().await else { return };
    let (mut good, mut bad) = (0, 0);
    let texts: Vec<String> = RAW.iter().map(|raw| (*raw).to_owned()).chain(corpus().iter().map(ToString::to_string)).collect();
    for texts in texts.chunks(1000) {
        for (text, found) in texts.iter().zip(by_lua(&producer, texts).await) {
            let ours = by_rust(text);
            // What is no JSON is told where by each in its own words.
            let cut = |fault: Option<(String, String)>| {
                fault.map(|(code, story)| if code == "not_json" { (code, String::new()) } else { (code, story) })
            };
            if ours.is_some() {
                bad += 1
            } else {
                good += 1
            }
            assert_eq!(cut(found), cut(ours), "the door (left) and the library (right) differ over {}", &text[..text.len().min(2000)]);
        }
    }
    assert!(good > 1000 && bad > 1000, "{good} good, {bad} bad");
}

#[tokio::test]
async fn both_make_the_same_jobs() {
    let Some((by_door, producer)) = door().await else { return };
    let by_rust = TestStore::open("redis").await;
    let mut random = Rng::with_seed(18);
    let values = values();
    let many = (0..4000).map(|n| fresh(envelope(&mut random, &values, 6), n).to_string());
    let good: Vec<String> = many.filter(|text| NewJob::check(text.as_bytes(), Limits::default()).is_ok()).collect();
    assert!(good.len() > 800, "{} are good", good.len());
    for text in &good {
        let ours = by_rust.put(vec![NewJob::check(text.as_bytes(), Limits::default()).unwrap()], Some(Clock::System.now())).await;
        let theirs = producer.enqueue(&queue_of(text), &[text]).await;
        let (ours, theirs) = (shape(&by_rust, ours[0], text).await, shape(&by_door, theirs[0], text).await);
        assert_eq!(theirs, ours, "the door (left) and the library (right) made different jobs of {text}");
    }
    by_door.assert_sound().await;
}
