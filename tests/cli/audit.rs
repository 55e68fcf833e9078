//! `windlass audit`: what was done on this store, and whether anybody changed that.

use super::program::Place;
use serde_json::Value;

fn said(place: &Place, args: &[&str]) -> String {
    let done = place.run(args);
    assert_eq!(done.code, 0, "{args:?}: {}", done.err);
    done.out
}

#[test]
fn acts_are_listed_and_a_row_that_was_changed_is_named() {
    let place = Place::new();
    said(&place, &["enqueue", "work", "1"]);
    for reason in ["first", "second", "third"] {
        said(&place, &["queues", "pause", "default", "--reason", reason]);
    }
    let rows: Vec<Value> = serde_json::from_str(&said(&place, &["audit", "list", "--json", "--limit", "2"])).expect("JSON");
    assert_eq!(rows.iter().map(|row| row["detail"].as_str().unwrap_or_default()).collect::<Vec<_>>(), ["third", "second"]);
    assert!(rows[0]["actor"].as_str().is_some_and(|actor| actor.starts_with("cli:")), "{rows:?}");
    let table = said(&place, &["audit", "list", "--action", "pause", "--object", "default"]);
    assert!(table.lines().count() == 4 && table.contains("first"), "{table}");
    let hash = rows[0]["hash"].as_str().expect("a hash");
    let verdict = said(&place, &["audit", "verify"]);
    assert!(verdict.contains("3 rows, and the chain holds") && verdict.contains(&format!("head 3 {hash}")), "{verdict}");
    let file = rusqlite::Connection::open(place.path("windlass.db")).expect("it opens");
    assert!(file.execute("UPDATE audit SET actor = 'cli:nobody' WHERE seq = 2", []).is_err(), "not even by hand");
    file.execute_batch("DROP TRIGGER audit_stays; UPDATE audit SET actor = 'cli:nobody' WHERE seq = 2").expect("it is forced");
    place.run(&["audit", "verify"]).assert_refused(65, &["breaks at row 2", "cli:nobody"]);
    let told: Value = serde_json::from_str(&place.run(&["audit", "verify", "--json"]).out).expect("JSON");
    assert_eq!((&told["rows"], &told["breaks_at"]["seq"]), (&Value::from(3), &Value::from(2)));
    file.execute_batch("DELETE FROM audit WHERE seq >= 2").expect("the newest are taken out");
    place.run(&["audit", "verify"]).assert_refused(65, &["row 3 must be there", hash]);
}
