//! What must fit together across rooms. A single value's own rule is checked by its room.

use super::{
    Config, Problem,
    tree::{self, Origin, Table},
};

/// Adds a problem for each pair of settings that contradict each other.
pub fn fits(config: &Config, tree: &Table, problems: &mut Vec<Problem>) {
    let mut report = |path: &[&str], message: String| {
        let origin = tree::get(tree, path).map_or(Origin::Default, |node| node.origin.clone());
        problems.push(Problem::new(origin, message));
    };
    for (name, queue) in &config.queues {
        if queue.tenant_concurrency.is_some() && !queue.fair {
            let message =
                format!("`queues.{name}.tenant_concurrency` needs `fair = true`, because an unfair queue does not tell tenants apart");
            report(&["queues", name, "tenant_concurrency"], message);
        }
        for (key, rate) in [("rate", queue.rate), ("key_rate", queue.key_rate)] {
            if rate.is_some_and(|rate| !(rate.per_second > 0.0 && rate.per_second.is_finite() && rate.burst > 0)) {
                let message =
                    format!("`queues.{name}.{key}` must have `per_second` above 0 and `burst` of 1 or more; to stop a queue, pause it");
                report(&["queues", name, key], message);
            }
        }
        for (key, limit) in [("concurrency", queue.concurrency), ("key_concurrency", Some(queue.key_concurrency))] {
            if limit == Some(0) {
                report(&["queues", name, key], format!("`queues.{name}.{key}` is 0, so no job could start; to stop a queue, pause it"));
            }
        }
    }
}
