//! What keys and answers do to the state.

use super::*;
use crate::job::State;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::collections::BTreeMap;

fn at(second: i64) -> Timestamp {
    Timestamp::from_secs(1_000_000 + second)
}

fn queue(name: &str, waiting: u64, running: u64) -> QueueStatus {
    let jobs = BTreeMap::from([(State::Queued, waiting), (State::Running, running)]);
    QueueStatus { name: name.into(), jobs, ..QueueStatus::default() }
}

fn round(queues: Vec<QueueStatus>) -> Round {
    Round { at: at(1), from: "127.0.0.1:7717".into(), queues: Some(Ok(queues)), daemons: Some(Ok(Vec::new())), ..Round::default() }
}

fn top() -> Top {
    let mut top = Top::new(at(0));
    top.hear(Told::Round(Box::new(round(vec![queue("mail", 5, 1), queue("serp", 9, 0), queue("web", 0, 3)]))));
    top
}

fn press(top: &mut Top, keys: &[KeyCode]) -> Step {
    keys.iter().map(|key| top.key((*key).into())).last().expect("a key")
}

fn write(top: &mut Top, text: &str) {
    for c in text.chars() {
        top.key(KeyCode::Char(c).into());
    }
}

fn caller(scopes: &[Scope], tenant: Option<&str>) -> Option<SessionAnswer> {
    let tenant = tenant.map(|tenant| crate::job::Name::new(tenant).expect("a name"));
    Some(SessionAnswer { name: "token:x".into(), scopes: scopes.to_vec(), tenant, expires_at: None, shown: "token".into() })
}

#[test]
fn each_way_out_is_one() {
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(top().key(control_c), Step::Quit);
    assert_eq!((press(&mut top(), &[KeyCode::Char('q')]), press(&mut top(), &[KeyCode::Esc])), (Step::Quit, Step::Quit));
    for over in [KeyCode::Char('?'), KeyCode::Char('/'), KeyCode::Char('p')] {
        let mut top = top();
        assert_eq!(press(&mut top, &[over, KeyCode::Esc]), Step::Stay, "{over:?} is closed first");
        assert_eq!(top.over, None);
        assert_eq!(press(&mut top, &[KeyCode::Esc]), Step::Quit);
        press(&mut top, &[over]);
        assert_eq!(top.key(control_c), Step::Quit, "wherever somebody is");
    }
}

#[test]
fn views_are_turned_over_both_ways_and_named_by_digits() {
    let mut top = top();
    for view in [View::Queues, View::Jobs, View::Dead, View::Daemons, View::Overview] {
        press(&mut top, &[KeyCode::Tab]);
        assert_eq!(top.view, view);
    }
    press(&mut top, &[KeyCode::BackTab]);
    assert_eq!((top.view, top.interest().groups), (View::Daemons, false));
    press(&mut top, &[KeyCode::Char('4')]);
    assert_eq!((top.view, top.interest().groups), (View::Dead, true));
}

#[test]
fn chosen_queue_stays_chosen_while_the_order_changes() {
    let mut top = top();
    press(&mut top, &[KeyCode::Char('2'), KeyCode::Down]);
    assert_eq!(top.keys()[top.chosen().expect("a row")], "serp");
    press(&mut top, &[KeyCode::Char('s')]);
    assert_eq!((top.order.by, top.keys()), (By::Waiting, vec!["serp".into(), "mail".into(), "web".into()]));
    assert_eq!(top.chosen(), Some(0));
    press(&mut top, &[KeyCode::Char('r')]);
    assert_eq!((top.keys(), top.chosen()), (vec!["web".into(), "mail".into(), "serp".into()], Some(2)));
    top.hear(Told::Round(Box::new(round(vec![queue("serp", 0, 0), queue("zoo", 1, 0)]))));
    assert_eq!(top.keys()[top.chosen().expect("a row")], "serp");
}

#[test]
fn lists_are_narrowed_down_as_somebody_writes() {
    let mut top = top();
    press(&mut top, &[KeyCode::Char('/')]);
    write(&mut top, "Quit");
    assert_eq!((top.keys().len(), top.list().filter.as_str()), (0, "Quit"));
    press(&mut top, &[KeyCode::Backspace, KeyCode::Backspace, KeyCode::Backspace, KeyCode::Backspace, KeyCode::Char('E'), KeyCode::Enter]);
    assert_eq!((top.keys(), &top.over), (vec!["serp".into(), "web".into()], &None));
    assert_eq!(press(&mut top, &[KeyCode::Esc]), Step::Stay, "all are shown again first");
    assert_eq!((top.keys().len(), press(&mut top, &[KeyCode::Esc])), (3, Step::Quit));
}

#[test]
fn pausing_asks_why_before_it_is_done() {
    let mut top = top();
    press(&mut top, &[KeyCode::Char('p')]);
    assert_eq!(press(&mut top, &[KeyCode::Enter]), Step::Stay, "no reason yet");
    assert!(matches!(&top.over, Some(Over::Hold(hold)) if hold.wants.is_some()), "{:?}", top.over);
    write(&mut top, "quiet, pleasse");
    press(&mut top, &[KeyCode::Backspace, KeyCode::Backspace, KeyCode::Char('e')]);
    // Another queue comes before it meanwhile; the question is still about the first.
    top.hear(Told::Round(Box::new(round(vec![queue("aaa", 0, 0), queue("mail", 5, 1)]))));
    let act = Act::Pause { queue: crate::job::Name::new("mail").expect("a name"), reason: "quiet, please".into() };
    assert_eq!(press(&mut top, &[KeyCode::Enter]), Step::Do(act));
    assert_eq!(top.over, None);
}

#[test]
fn a_paused_queue_is_let_go_and_leaving_the_question_does_nothing() {
    let mut top = top();
    let mut paused = queue("mail", 5, 1);
    paused.paused = Some(crate::job::Pause { at: at(0), by: "cli:x".into(), reason: "why".into(), until: None });
    top.hear(Told::Round(Box::new(round(vec![paused]))));
    assert_eq!((press(&mut top, &[KeyCode::Char('p'), KeyCode::Esc]), &top.over), (Step::Stay, &None));
    let act = Act::Resume { queue: crate::job::Name::new("mail").expect("a name") };
    assert_eq!(press(&mut top, &[KeyCode::Char('p'), KeyCode::Enter]), Step::Do(act));
}

#[test]
fn whoever_may_not_operate_is_not_asked() {
    for (caller, says) in [(caller(&[Scope::Read], None), "`operate`"), (caller(&[Scope::Read, Scope::Operate], Some("acme")), "tenant")] {
        let mut top = top();
        top.hear(Told::Round(Box::new(Round { caller, ..round(vec![queue("mail", 1, 1)]) })));
        press(&mut top, &[KeyCode::Char('p')]);
        let why = top.note.as_ref().and_then(|note| note.says.as_ref().err()).expect("a refusal");
        assert!(top.over.is_none() && why.contains(says), "{why}");
    }
    let mut top = top();
    top.hear(Told::Round(Box::new(Round { caller: caller(&[Scope::Read, Scope::Operate], None), ..round(vec![queue("mail", 1, 1)]) })));
    press(&mut top, &[KeyCode::Char('p')]);
    assert!(matches!(top.over, Some(Over::Hold(_))));
}

#[test]
fn what_became_of_an_act_is_said_for_a_while() {
    let mut top = top();
    top.hear(Told::Acted(Err("this token has not the scope `operate`".into())));
    top.tick(at(10));
    assert!(top.note.is_some());
    top.tick(at(30));
    assert_eq!(top.note, None);
}

#[test]
fn enter_leads_to_the_jobs_of_a_queue_and_escape_back() {
    let mut top = top();
    press(&mut top, &[KeyCode::Down, KeyCode::Enter]);
    let of = JobsOf { queue: Some("serp".into()), state: None };
    assert_eq!((top.view, top.interest().jobs), (View::Jobs, Some(of.clone())));
    let page = JobPage { items: Vec::new(), next: None, looked: 0, until: None };
    let stale = Round { jobs: Some((JobsOf::default(), Ok(page.clone()))), ..round(Vec::new()) };
    top.hear(Told::Round(Box::new(stale)));
    assert!(top.jobs.is_none(), "an answer to what was asked for before");
    top.hear(Told::Round(Box::new(Round { jobs: Some((of, Ok(page))), ..round(Vec::new()) })));
    assert!(top.jobs.is_some());
    press(&mut top, &[KeyCode::Char('s')]);
    assert_eq!((top.jobs_of.state, top.jobs.is_none()), (Some(State::Queued), true));
    assert_eq!((press(&mut top, &[KeyCode::Esc]), top.view), (Step::Stay, View::Queues));
    assert_eq!(press(&mut top, &[KeyCode::Esc]), Step::Quit);
}

#[test]
fn a_lost_connection_keeps_what_was_seen_and_mends_itself() {
    let mut top = top();
    top.hear(Told::Lost("no daemon answers".into()));
    top.tick(at(20));
    top.hear(Told::Lost("no daemon answers yet".into()));
    assert_eq!(top.link, Link::Lost { since: at(1), says: "no daemon answers yet".into() });
    assert_eq!(top.keys().len(), 3);
    top.hear(Told::Round(Box::new(round(vec![queue("mail", 0, 0)]))));
    assert!(matches!(top.link, Link::Answers { .. }));
}

#[test]
fn no_key_does_harm_where_there_is_nothing() {
    let keys = "qjkgGshlrp/?1234507!".chars().map(KeyCode::Char);
    let others =
        [KeyCode::Enter, KeyCode::Esc, KeyCode::Backspace, KeyCode::Home, KeyCode::End, KeyCode::PageDown, KeyCode::F(1), KeyCode::Delete];
    let keys: Vec<KeyCode> = keys.chain(others).collect();
    for first in &keys {
        for second in &keys {
            for view in View::ALL {
                let mut top = Top { view, ..Top::new(at(0)) };
                press(&mut top, &[*first, *second, KeyCode::Enter]);
            }
        }
    }
}
