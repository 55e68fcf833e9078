//! Whole screens as they are drawn.

use super::{
    super::{
        heard::{JobsOf, Round, Told},
        state::Hold,
    },
    *,
};
use crate::{
    control::wire::{DaemonAnswer, JobPage},
    job::{JobId, Name, Pause, State, Timestamp, explain::Explanation},
    store::{QueueStatus, dead::Groups},
};
use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Buffer,
    crossterm::event::KeyCode,
    style::{Color, Modifier},
};
use serde_json::json;
use std::time::Duration;

const ID: &str = "0192d4e0-7b1a-7000-8000-0123456789ab";

fn at(second: i64) -> Timestamp {
    Timestamp::from_secs(1_767_225_600 + second)
}

fn queue(name: &str, [queued, running, scheduled, parked, completed, dead]: [u64; 6], oldest: Option<u64>) -> QueueStatus {
    let states = [State::Queued, State::Running, State::Scheduled, State::Parked, State::Completed, State::Dead];
    let jobs = states.into_iter().zip([queued, running, scheduled, parked, completed, dead]).collect();
    QueueStatus { name: name.into(), jobs, paused: None, oldest_queued_ms: oldest, limits: None }
}

fn daemon(node: &str, live: bool, draining: bool) -> DaemonAnswer {
    let queues =
        json!({"mail": {"slots": 4, "running": 1, "ended_in_minute": 240}, "serp": {"slots": 12, "running": 11, "ended_in_minute": 600}});
    let said = json!({
        "holder": ID, "node": node, "pid": 4711, "version": "0.1.0", "started_at": at(-7200), "draining": draining, "queues": queues, "kinds": [],
        "seen_at": at(-3), "until": at(12), "live": live,
    });
    serde_json::from_value(said).expect("a daemon")
}

fn page(reason: &str, message: &str) -> JobPage {
    let job = json!({
        "id": ID, "kind": "serp.refresh", "queue": "serp", "tenant": "acme", "priority": 5, "state": "scheduled", "reason": reason, "attempt": 2,
        "max_attempts": 5, "created_at": at(-90), "run_at": at(30), "error": {"code": "http_503", "message": message, "class": "retry"},
    });
    serde_json::from_value(json!({"items": [job], "next": null, "looked": 1})).expect("a page")
}

fn groups(message: &str) -> Groups {
    let group = json!({
        "fingerprint": "0011223344556677", "kind": "serp.refresh", "queue": "serp", "reason": "attempts_spent", "code": "http_503", "message": message,
        "jobs": 57, "oldest_at": at(-86_400), "newest_at": at(-12), "sample": [ID],
    });
    serde_json::from_value(json!({"groups": [group], "looked": 57, "next": null})).expect("groups")
}

fn explanation(says: &str) -> Explanation {
    let gates =
        json!([{"gate": "due", "open": true, "says": "it is due"}, {"gate": "pause", "open": false, "says": says, "opens_at": at(600)}]);
    let explained =
        json!({"id": ID, "kind": "serp.refresh", "queue": "serp", "state": "queued", "at": at(0), "says": says, "gates": gates});
    serde_json::from_value(explained).expect("an explanation")
}

fn round(second: i64, queues: Vec<QueueStatus>) -> Round {
    Round {
        at: at(second),
        from: "127.0.0.1:7717".into(),
        took: Duration::from_millis(3),
        queues: Some(Ok(queues)),
        daemons: Some(Ok(vec![daemon("worker-1", true, false)])),
        ..Round::default()
    }
}

fn hear(top: &mut Top, round: Round) {
    top.hear(Told::Round(Box::new(round)));
}

/// A minute of a store at work, the last second at `at(0)`.
fn busy(reason: &str) -> Top {
    let mut top = Top::new(at(-60));
    for second in -60_i64..=0 {
        let gone = (second + 60).cast_unsigned();
        let completed: u64 = (0..gone).map(|second| 8 + second % 12).sum();
        let paused = Pause { at: at(-600), by: "cli:root".into(), reason: reason.into(), until: Some(at(900)) };
        let serp = QueueStatus { paused: Some(paused), ..queue("serp", [1234, 11, 40, 0, completed, gone / 20], Some(125_000)) };
        hear(
            &mut top,
            round(second, vec![queue("mail", [0, 1, 3, 2, 5 * gone, 0], None), serp, queue("web", [4, 0, 0, 0, 0, 54], Some(850))]),
        );
    }
    top
}

fn drawn(top: &Top, wide: u16, high: u16, look: Look) -> Buffer {
    let Ok(mut paper) = Terminal::new(TestBackend::new(wide, high));
    let Ok(_) = paper.draw(|frame| {
        draw(frame, top, look);
    });
    paper.backend().buffer().clone()
}

/// As a terminal shows it: what is covered by a wide character is no column of its own.
fn screen(top: &Top, wide: u16, high: u16) -> Vec<String> {
    let paper = drawn(top, wide, high, Look::PLAIN);
    let row = |y: u16| {
        let (mut text, mut x) = (String::new(), 0);
        while x < wide {
            let symbol = paper[(x, y)].symbol();
            text.push_str(symbol);
            x += u16::try_from(width(symbol)).expect("few columns").max(1);
        }
        text.trim_end().to_owned()
    };
    (0..high).map(row).collect()
}

#[track_caller]
fn assert_golden(seen: &[String], name: &str) {
    let path = format!("{}/src/cli/top/view/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let seen = format!("{}\n", seen.join("\n"));
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert!(seen == golden, "the screen of {name} is\n{seen}");
}

#[test]
fn overview_at_80_by_24() {
    assert_golden(&screen(&busy("provider is down"), 80, 24), "overview-80x24");
}

#[test]
fn overview_at_60_by_20() {
    assert_golden(&screen(&busy("provider is down"), 60, 20), "overview-60x20");
}

#[test]
fn queues_at_80_by_24_and_wider() {
    let mut top = busy("provider is down");
    for key in [KeyCode::Char('2'), KeyCode::Char('s'), KeyCode::Home] {
        top.key(key.into());
    }
    assert_golden(&screen(&top, 80, 10), "queues-80x10");
    assert_golden(&screen(&top, 140, 10), "queues-140x10");
}

#[test]
fn a_job_is_explained_over_its_list() {
    let mut top = busy("provider is down");
    top.key(KeyCode::Char('3').into());
    hear(&mut top, Round { jobs: Some((JobsOf::default(), Ok(page("retry", "the provider says 503")))), ..round(1, Vec::new()) });
    assert_golden(&screen(&top, 80, 8), "jobs-80x8");
    top.key(KeyCode::Enter.into());
    let id: JobId = ID.parse().expect("an id");
    let says = "queue serp is paused by cli:root: provider is down";
    hear(&mut top, Round { explanation: Some((id, Ok(Some(explanation(says))))), ..round(2, Vec::new()) });
    assert_golden(&screen(&top, 80, 16), "job-80x16");
}

#[test]
fn dead_letters_and_daemons_have_a_row_each() {
    let mut top = busy("provider is down");
    top.key(KeyCode::Char('4').into());
    hear(&mut top, Round { groups: Some(Ok(groups("the provider says 503"))), ..round(1, Vec::new()) });
    assert_golden(&screen(&top, 80, 8), "dead-80x8");
    top.key(KeyCode::Char('5').into());
    let daemons = vec![daemon("worker-1", true, false), daemon("worker-2", true, true), daemon("worker-3", false, false)];
    hear(&mut top, Round { daemons: Some(Ok(daemons)), ..round(1, Vec::new()) });
    assert_golden(&screen(&top, 80, 9), "daemons-80x9");
}

#[test]
fn an_empty_store_says_what_makes_it_full() {
    let mut top = Top::new(at(0));
    assert!(screen(&top, 80, 24).join("\n").contains("asking…"));
    let nothing = Round { daemons: Some(Ok(Vec::new())), ..round(0, Vec::new()) };
    hear(&mut top, nothing);
    let seen = screen(&top, 80, 24).join("\n");
    assert!(seen.contains("no queues yet") && seen.contains("start `windlass run`"), "{seen}");
    top.key(KeyCode::Char('5').into());
    assert!(screen(&top, 80, 24).join("\n").contains("no daemon was seen"));
}

#[test]
fn a_lost_connection_is_said_beside_what_was_seen_last() {
    let mut top = busy("provider is down");
    top.hear(Told::Lost("no daemon answers at http://127.0.0.1:7717/".into()));
    top.tick(at(12));
    let seen = screen(&top, 100, 24);
    assert!(seen[23].starts_with("! lost 12 s ago; what is shown is from 12 s ago; trying again: no daemon answers at"), "{}", seen[23]);
    assert!(seen.iter().any(|line| line.contains("1,234")), "{seen:#?}");
}

#[test]
fn a_view_that_is_refused_says_so_and_the_others_go_on() {
    let mut top = Top::new(at(0));
    let refused = || Some(Err("this is not one tenant's affair, and this token is bound to one".to_owned()));
    let jobs = Some((JobsOf::default(), Ok(page("retry", "503"))));
    hear(&mut top, Round { queues: refused(), daemons: None, jobs, ..round(0, Vec::new()) });
    let seen = screen(&top, 80, 24).join("\n");
    assert!(seen.contains("! this is not one tenant's affair") && seen.contains("Jobs and Dead letters"), "{seen}");
    top.key(KeyCode::Char('3').into());
    assert!(screen(&top, 80, 24).join("\n").contains("serp.refresh"));
}

/// All that producers and operators write, as bad as it gets, in every view and over it.
fn hostile(text: &str) -> Vec<Top> {
    let id: JobId = ID.parse().expect("an id");
    let mut all = Vec::new();
    for view in View::ALL {
        for over in [
            None,
            Some(Over::Help),
            Some(Over::Job { id, scroll: 1 }),
            Some(Over::Group { fingerprint: groups("").groups[0].fingerprint.clone(), scroll: 0 }),
        ] {
            let mut top = busy(text);
            (top.view, top.over) = (view, over);
            let heard = Round {
                daemons: Some(Ok(vec![daemon(text, true, false)])),
                jobs: Some((JobsOf::default(), Ok(page(text, text)))),
                groups: Some(Ok(groups(text))),
                explanation: Some((id, Ok(Some(explanation(text))))),
                from: text.into(),
                ..round(1, vec![QueueStatus { name: text.into(), ..queue("x", [1, 1, 1, 1, 1, 1], None) }])
            };
            hear(&mut top, Round { queues: None, ..heard.clone() });
            all.push(top.clone());
            hear(&mut top, heard);
            top.hear(Told::Acted(Err(text.into())));
            all.push(top.clone());
            top.hear(Told::Lost(text.into()));
            all.push(top);
        }
    }
    let hold = Hold {
        queue: Name::new("serp").expect("a name"),
        resume: false,
        reason: text.into(),
        wants: Some("say why"),
        running: 1,
        waiting: 2,
    };
    let mut top = busy(text);
    top.over = Some(Over::Hold(hold));
    all.push(top);
    all
}

#[test]
fn no_text_reaches_the_terminal_as_a_command() {
    let text = "evil\u{1b}[2J\u{1b}]0;title\u{7}\r\n\u{9b}31m\u{202e}txet\u{2066}\u{200f} \u{0} 日本語の列 e\u{301}\u{301} 👩‍👩‍👧 end";
    for top in hostile(text) {
        for (wide, high) in [(80, 24), (60, 20), (200, 60)] {
            let paper = drawn(&top, wide, high, Look::COLOURED);
            for cell in paper.content() {
                let is_bad = |c: char| {
                    c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c) || c == '\u{200f}'
                };
                assert!(!cell.symbol().contains(is_bad), "{:?} in {:?}", cell.symbol(), top.view);
            }
        }
        assert!(!super::text(&top, 80).contains(|c: char| c.is_control() && c != '\n'));
    }
}

#[test]
fn every_size_of_a_terminal_is_drawn() {
    for top in hostile("a long text that fits nowhere, 日本語の列, and goes on and on") {
        for (wide, high) in [(1, 1), (1, 40), (2, 3), (7, 5), (13, 9), (39, 6), (59, 19), (300, 2), (300, 100)] {
            drawn(&top, wide, high, Look::COLOURED);
        }
    }
}

#[test]
fn nothing_is_said_by_colour_alone() {
    for top in hostile("text") {
        let (plain, coloured) = (drawn(&top, 100, 30, Look::PLAIN), drawn(&top, 100, 30, Look::COLOURED));
        assert!(plain.content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
        for (one, other) in plain.content().iter().zip(coloured.content()) {
            assert_eq!((one.symbol(), one.modifier), (other.symbol(), other.modifier));
        }
    }
    let coloured = drawn(&busy("x"), 100, 30, Look::COLOURED);
    assert!(coloured.content().iter().any(|cell| cell.fg == Color::Red), "there are colours where they are welcome");
    assert!(coloured.content().iter().any(|cell| cell.modifier.contains(Modifier::REVERSED)));
}

#[test]
fn plain_text_has_all_queues_and_marks_none() {
    let mut top = Top::new(at(0));
    let many = |n: u64| (0..200).map(|i| queue(&format!("queue-{i:03}"), [i, 0, 0, 0, n, 0], None)).collect();
    hear(&mut top, round(0, many(0)));
    hear(&mut top, round(1, many(1)));
    let text = text(&top, 80);
    assert!(text.contains("queue-000") && text.contains("queue-199") && text.contains("200 a second"), "{text}");
    assert!(text.ends_with("127.0.0.1:7717 answers in 3 ms\n") && !text.contains('▸'), "{text}");
}
