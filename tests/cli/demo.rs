//! The README's first command.

use super::program::Place;
use crate::deploy::dashboard;
use serde_json::json;

/// Of what the demo does without: an inbox, bridges.
const WHERE_CONFIGURED: [&str; 2] = ["`windlass_inbox_", "`windlass_apalis_"];

#[test]
fn the_demo_ends_well_and_says_what_every_job_produced() {
    let place = Place::new();
    let answer = place.json(&["demo", "--json", "--keep", "tour"]);
    assert_eq!(answer["ok"], true, "{answer:#}");
    let jobs = answer["jobs"].as_array().unwrap();
    assert!(jobs.len() >= 15, "{answer:#}");
    for job in jobs {
        assert_eq!(job["state"], "completed", "{job:#}");
        assert!(job["result"].is_object(), "{job:#}");
        assert!(job["produced"].as_str().is_some_and(|produced| produced.len() > 10), "{job:#}");
    }
    let attempts_of = |part: &str| jobs.iter().find(|job| job["job"].as_str().unwrap().contains(part)).unwrap()["attempts"].clone();
    assert_eq!(attempts_of("flaky"), 3);
    assert_eq!(attempts_of("is down"), 3, "two before it died and one after it was redriven");
    let biology = jobs.iter().find(|job| job["job"] == "syllabus Cell Biology").unwrap();
    assert_eq!(biology["result"]["data"]["credits"], 4, "{biology:#}");
    assert_eq!(biology["result"]["data"]["course_code"], "BIO 210", "{biology:#}");
    let store = ["--store", "sqlite:tour/demo.db", "--json"];
    let completed = place.json(&[&["jobs", "list", "--state", "completed", "--limit", "100"][..], &store].concat());
    assert_eq!(completed["items"].as_array().unwrap().len(), jobs.len(), "the kept store has them all");
    let metrics = std::fs::read_to_string(place.path("tour/metrics.txt")).unwrap();
    for (file, dashboard) in dashboard::shipped() {
        let mut complaints = dashboard::complaints(&dashboard, &metrics);
        complaints.retain(|complaint| !WHERE_CONFIGURED.iter().any(|metrics| complaint.contains(metrics)));
        assert_eq!(complaints, [""; 0], "{file} asks for what a daemon at work does not have");
    }
    let again = place.run(&["demo", "--keep", "tour"]);
    again.assert_refused(69, &["is there already"]);
    assert_eq!(completed["next"], json!(null));
}
