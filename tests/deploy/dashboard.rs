//! The dashboards as files, held against an exposition: the unit below gives one with every family in it, a test with a
//! running daemon gives the daemon's.

use super::promql;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use windlass::telemetry::Metrics;

/// Every dashboard that is shipped: its file name and content.
pub fn shipped() -> Vec<(String, Value)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let files = std::fs::read_dir(folder).expect("dashboards/ can be read").map(|entry| entry.expect("an entry").path());
    let json = files.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).expect("text");
        (path.file_name().expect("a name").to_string_lossy().into_owned(), serde_json::from_str(&text).expect("a dashboard is JSON"))
    };
    json.map(read).collect()
}

/// Every expression of a dashboard.
pub fn expressions(dashboard: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(dashboard, &mut |member, value| {
        if member == "expr" {
            found.extend(value.as_str().map(str::to_owned));
        }
    });
    found
}

/// What `dashboard` asks for that `exposition` (text format 0.0.4) does not have: unknown metrics, labels that a metric
/// does not carry, expressions that cannot be read. Empty when all is well. Labels are judged only of families with samples.
pub fn complaints(dashboard: &Value, exposition: &str) -> Vec<String> {
    let families = families(exposition);
    let mut complaints = Vec::new();
    for expression in expressions(dashboard) {
        match promql::read(&expression) {
            Err(error) => complaints.push(format!("{error}: {expression}")),
            Ok(asked) => complaints.extend(missing(&asked, &families).into_iter().map(|what| format!("{what}: {expression}"))),
        }
    }
    complaints
}

/// The families of an exposition by name, with the labels that their samples carry; none for a family without samples.
pub fn families(exposition: &str) -> BTreeMap<String, Option<BTreeSet<String>>> {
    let mut families: BTreeMap<String, Option<BTreeSet<String>>> = BTreeMap::new();
    for line in exposition.lines() {
        if let Some(name) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split(' ').next()) {
            families.insert(name.to_owned(), None);
        } else if !line.starts_with('#') && !line.is_empty() {
            let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap_or(line.len()));
            let labels = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(labels, _)| labels);
            let labels = labels.split("\",").filter_map(|pair| pair.split_once('=')).map(|(label, _)| label.to_owned());
            if let Some(known) = family_of(name, &mut families) {
                known.get_or_insert_default().extend(labels);
            }
        }
    }
    families
}

/// `x_bucket`, `x_sum` and `x_count` belong to the histogram `x`.
fn family_of<'f, T>(metric: &str, families: &'f mut BTreeMap<String, T>) -> Option<&'f mut T> {
    let histogram =
        ["_bucket", "_sum", "_count"].into_iter().find_map(|part| metric.strip_suffix(part)).filter(|name| families.contains_key(*name));
    families.get_mut(histogram.unwrap_or(metric))
}

fn missing(asked: &promql::Asked, families: &BTreeMap<String, Option<BTreeSet<String>>>) -> Vec<String> {
    let mut families = families.clone();
    let mut missing = Vec::new();
    let mut carried = BTreeSet::new();
    let mut all_known = true;
    for (metric, labels) in &asked.selectors {
        match family_of(metric, &mut families) {
            None => missing.push(format!("no metric is called `{metric}`")),
            Some(None) => all_known = false,
            Some(Some(known)) => {
                missing.extend(labels.difference(known).map(|label| format!("`{metric}` has no label `{label}`")));
                carried.extend(known.iter().cloned());
            }
        }
    }
    if all_known && missing.is_empty() {
        missing.extend(asked.grouped.difference(&carried).map(|label| format!("nothing here has the label `{label}`")));
    }
    missing
}

fn walk(value: &Value, visit: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        Value::Object(members) => members.iter().for_each(|(member, value)| {
            visit(member, value);
            walk(value, visit);
        }),
        _ => {}
    }
}

/// An exposition with one sample of every family.
fn every_family() -> String {
    let m = Metrics::new();
    let counters = [
        (&m.jobs_enqueued, 3),
        (&m.job_attempts, 3),
        (&m.jobs_reaped, 1),
        (&m.leases_lost, 1),
        (&m.schedule_occurrences, 1),
        (&m.provider_requests, 3),
        (&m.ai_tokens, 3),
        (&m.ai_cost_micros, 2),
        (&m.inbox_taken, 1),
        (&m.store_rewinds, 0),
        (&m.apalis_taken, 2),
        (&m.webhooks_received, 2),
        (&m.webhook_rejections, 2),
        (&m.deliveries, 1),
        (&m.reminders, 2),
        (&m.http_requests, 3),
        (&m.control_refused, 1),
    ];
    let gauges = [
        (&m.build_info, 2),
        (&m.inbox_entries, 0),
        (&m.apalis_open, 1),
        (&m.queue_jobs, 2),
        (&m.queue_paused, 1),
        (&m.jobs_quarantined, 0),
        (&m.workers, 1),
        (&m.workers_busy, 1),
        (&m.store_up, 0),
    ];
    let histograms = [
        (&m.job_duration, 2),
        (&m.job_wait, 1),
        (&m.store_operations, 2),
        (&m.provider_request_duration, 1),
        (&m.delivery_duration, 1),
        (&m.http_request_duration, 1),
    ];
    let values = ["x"; 3];
    counters.iter().for_each(|(family, labels)| family.with_label_values(&values[..*labels]).inc());
    gauges.iter().for_each(|(family, labels)| family.with_label_values(&values[..*labels]).set(1));
    histograms.iter().for_each(|(family, labels)| family.with_label_values(&values[..*labels]).observe(1.0));
    m.queue_oldest_ready_age.with_label_values(&["x"]).set(1.0);
    m.scheduler_last_tick.with_label_values::<&str>(&[]).set(1.0);
    m.render()
}

#[test]
fn every_expression_is_sound_and_names_metrics_and_labels_that_exist() {
    let exposition = every_family();
    for (file, dashboard) in shipped() {
        let complaints = complaints(&dashboard, &exposition);
        assert!(complaints.is_empty(), "{file}:\n{}", complaints.join("\n"));
        assert!(!expressions(&dashboard).is_empty(), "{file} shows nothing");
    }
}

#[test]
fn every_metric_is_shown_somewhere() {
    let mut families = families(&every_family());
    let sources = include_str!("../../src/telemetry/metrics.rs");
    let named = sources.matches("\"windlass_").count();
    assert_eq!(families.len(), named, "a family of metrics.rs is not in this test's exposition; add it to `every_family`");
    for (_, dashboard) in shipped() {
        for (metric, _) in expressions(&dashboard).iter().flat_map(|expression| promql::read(expression).expect("sound").selectors) {
            let shown = ["_bucket", "_sum", "_count"].into_iter().find_map(|part| metric.strip_suffix(part)).unwrap_or(&metric).to_owned();
            families.remove(&shown);
            families.remove(&metric);
        }
    }
    assert!(families.is_empty(), "no panel shows {:?}", families.keys());
}

#[test]
fn what_a_dashboard_asks_in_vain_is_complained_of() {
    let exposition = every_family();
    let ask = |expression: &str| complaints(&serde_json::json!({"panels": [{"targets": [{"expr": expression}]}]}), &exposition).len();
    assert_eq!(ask("sum by (queue) (windlass_queue_jobs{state=\"dead\"})"), 0);
    assert_eq!(ask("sum(windlass_queue_job)"), 1);
    assert_eq!(ask("sum(windlass_queue_jobs{sate=\"dead\"})"), 1);
    assert_eq!(ask("sum by (qeue) (windlass_queue_jobs)"), 1);
    assert_eq!(ask("rate(windlass_job_wait_seconds_bucket[5m])"), 0);
    assert_eq!(ask("sum(windlass_queue_jobs"), 1);
}

#[test]
fn dashboards_have_unique_ids_and_no_datasource_of_their_own() {
    let mut uids = BTreeSet::new();
    for (file, dashboard) in shipped() {
        let uid = dashboard["uid"].as_str().expect("a uid").to_owned();
        assert!((1..=40).contains(&uid.len()) && uids.insert(uid), "{file}: the uid must be unique and at most 40 characters");
        assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 39), "{file}");
        let panels = dashboard["panels"].as_array().expect("panels");
        let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
        assert_eq!(ids.len(), panels.len(), "{file}: panel ids repeat");
        assert_eq!(dashboard["templating"]["list"][0]["type"], "datasource", "{file}: the first variable chooses the datasource");
        walk(&dashboard, &mut |member, value| {
            let fixed = member == "datasource" && (value["type"] != "prometheus" || value["uid"] != "${datasource}");
            assert!(!fixed, "{file}: a datasource must be the variable, not {value}");
        });
        assert!(
            panels.iter().all(|panel| panel["type"] == "row" || panel["description"].is_string()),
            "{file}: a panel says how to read it"
        );
    }
}

#[test]
fn panels_lie_side_by_side_and_not_on_each_other() {
    for (file, dashboard) in shipped() {
        let mut taken = BTreeSet::new();
        for panel in dashboard["panels"].as_array().expect("panels") {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a number"));
            assert!(x + w <= 24, "{file}: {} is too wide", panel["title"]);
            let cells = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
            assert!(cells.into_iter().all(|cell| taken.insert(cell)), "{file}: {} lies on another panel", panel["title"]);
        }
    }
}
