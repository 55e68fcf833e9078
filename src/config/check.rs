//! What must fit together across rooms. A single value's own rule is checked by its room.

use super::{
    Config, Problem,
    tree::{self, Origin, Table},
};
use crate::{
    job::{Name, QueueSettings},
    telemetry::logs,
};

/// Adds a problem for whatever no daemon could start with, and for settings that contradict each other.
pub fn fits(config: &Config, tree: &Table, problems: &mut Vec<Problem>) {
    let rooms = [config.control.check(), config.control.goes_with(&config.webhooks), config.engine.check()];
    let bridges = config.apalis.iter().map(|(name, bridge)| bridge.check(name));
    problems
        .extend(rooms.into_iter().chain(bridges).filter_map(Result::err).map(|sentence| Problem::new(place_of(&sentence, tree), sentence)));
    for schedule in &config.schedules {
        if let Err(error) = schedule.check() {
            let name = &schedule.name;
            let origin = tree::get(tree, &["schedules", name]).map_or(Origin::Default, |node| node.origin.clone());
            problems.push(Problem::new(origin, format!("schedule `{name}`: {error}")));
        }
    }
    queues(config, tree, problems);
    if let Err(sentence) = logs::check_level(&config.log.level) {
        let origin = tree::get(tree, &["log", "level"]).map_or(Origin::Default, |node| node.origin.clone());
        problems.push(Problem::new(origin, format!("`log.level`: {sentence}")));
    }
}

/// A room names its setting by its whole path; that says where it was written.
fn place_of(sentence: &str, tree: &Table) -> String {
    let mut place = None;
    tree::leaves(tree, &mut Vec::new(), &mut |path, node| {
        if node.origin != Origin::Default && place.is_none() && sentence.contains(&path.join(".")) {
            place = Some(node.origin.to_string());
        }
    });
    place.unwrap_or_else(|| "the configuration".to_owned())
}

fn queues(config: &Config, tree: &Table, problems: &mut Vec<Problem>) {
    let mut report = |path: &[&str], message: String| {
        let origin = tree::get(tree, path).map_or(Origin::Default, |node| node.origin.clone());
        problems.push(Problem::new(origin, message));
    };
    for (name, queue) in &config.queues {
        for fault in queue.faults() {
            report(&["queues", name, fault.setting], format!("`queues.{name}.{}` {}", fault.setting, fault.says));
        }
        if let Some(message) = partitions(config, name, queue) {
            report(&["queues", name, "partitions"], message);
        }
    }
}

/// What is wrong with the partitions of a queue.
fn partitions(config: &Config, name: &Name, queue: &QueueSettings) -> Option<String> {
    let partitions = queue.partitions;
    let setting = format!("`queues.{name}.partitions`");
    // A partition has a name of its own, which a queue must leave free.
    let is_partition = |other: &&Name| {
        let number = other.as_str().strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix(':'));
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()))
    };
    let mut others = config.queues.keys().chain(config.kinds.values().map(|kind| &kind.queue));
    match partitions {
        1 => None,
        0 | 257.. => Some(format!("{setting} is {partitions}, and must be 1 to 256")),
        _ if !config.store.url.contains("+cluster://") => {
            Some(format!("{setting} needs a Redis Cluster (`store.url = \"redis+cluster://…\"`); take it out"))
        }
        _ if name.as_str().len() > 124 => {
            Some(format!("{setting}: the queue's name has no room for a number of three digits; shorten it to 124 bytes"))
        }
        _ => others
            .find(is_partition)
            .map(|other| format!("{setting}: `{other}` is the name of a partition; name that queue otherwise"))
            .or_else(|| {
                let limit = match queue.unshareable().first()?.setting {
                    "rate" => "rate.burst",
                    limit => limit,
                };
                Some(format!(
                    "{setting} is more than `queues.{name}.{limit}`, which they share; at least one job must be able to start in each"
                ))
            }),
    }
}
