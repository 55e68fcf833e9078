//! The routines that the daemon calls, in a schema of their own release (`windlass_v1`), so that an older daemon beside a
//! newer one keeps its own. Their texts are made of the files in `routines/`.

use super::migrate::{Change, Work};

/// Grows whenever a routine changes what it takes, answers or means after a release.
pub(super) const RELEASE: &str = "windlass_v1";

/// Roles and the schema, made by whoever migrates before it acts for the owner.
pub(super) const ROLES: &str = include_str!("roles.sql");

/// What lasts: the tables, and what other programs call. Changes in order; one that is released is never changed.
pub(super) const CHANGES: [Change; 11] = [
    Change { number: 1, name: "jobs", work: Work::Expand(include_str!("../../../migrations/postgres/0001_jobs.sql")) },
    Change { number: 2, name: "tenants", work: Work::Expand(include_str!("../../../migrations/postgres/0002_tenants.sql")) },
    Change { number: 3, name: "places", work: Work::Expand(include_str!("../../../migrations/postgres/0003_places.sql")) },
    Change { number: 4, name: "doors", work: Work::Expand(include_str!("../../../migrations/postgres/0004_doors.sql")) },
    Change { number: 5, name: "installation", work: Work::Contract(include_str!("../../../migrations/postgres/0005_installation.sql")) },
    Change { number: 6, name: "vacuum", work: Work::Expand(include_str!("../../../migrations/postgres/0006_vacuum.sql")) },
    Change { number: 7, name: "line", work: Work::Expand(include_str!("../../../migrations/postgres/0007_line.sql")) },
    Change { number: 8, name: "tokens", work: Work::Expand(include_str!("../../../migrations/postgres/0008_tokens.sql")) },
    Change { number: 9, name: "operate", work: Work::Expand(include_str!("../../../migrations/postgres/0009_operate.sql")) },
    Change { number: 10, name: "audit", work: Work::Expand(include_str!("../../../migrations/postgres/0010_audit.sql")) },
    Change {
        number: 11,
        name: "search",
        work: Work::Index("waiting_parked_id", include_str!("../../../migrations/postgres/0011_search.sql")),
    },
];

const ROUTINES: [&str; 15] = [
    include_str!("routines/01_words.sql"),
    include_str!("routines/02_queue.sql"),
    include_str!("routines/03_line.sql"),
    include_str!("routines/04_gate.sql"),
    include_str!("routines/05_place.sql"),
    include_str!("routines/06_enqueue.sql"),
    include_str!("routines/07_lease.sql"),
    include_str!("routines/08_settle.sql"),
    include_str!("routines/09_upkeep.sql"),
    include_str!("routines/10_admin.sql"),
    include_str!("routines/11_envelope.sql"),
    include_str!("routines/12_door.sql"),
    include_str!("routines/13_daemons.sql"),
    include_str!("routines/14_standing.sql"),
    include_str!("routines/15_rights.sql"),
];

/// The columns of `windlass.jobs` as these routines know them: a column that a later migration adds does not disturb them.
const COLUMNS: [&str; 27] = [
    "seq",
    "line",
    "pos",
    "created_at",
    "run_at",
    "expires_at",
    "timeout_ms",
    "attempt",
    "max_attempts",
    "priority",
    "deaths",
    "special",
    "ordered",
    "id",
    "kind",
    "queue",
    "tenant",
    "concurrency_key",
    "unique_key",
    "unique_for",
    "fingerprint",
    "settled_epoch",
    "settled_nonce",
    "payload",
    "extra",
    "checkpoint",
    "attempts",
];

/// In a statement of a routine, a name that is both a variable's and a table's is the table's.
const COLUMNS_FIRST: (&str, &str) = ("AS $$\nDECLARE", "AS $$\n#variable_conflict use_column\nDECLARE");

/// The routines as one script: `{v}` is the release, `{job}` the job's columns, `{job x a=b}` those of `x` with `b` for `a`;
/// `{past}` the same without those that only tell where it stood.
pub(super) fn routines() -> String {
    let mut script = "SET LOCAL check_function_bodies = off;\n".to_owned();
    for text in ROUTINES {
        script.push_str(&expand(text));
    }
    script
}

fn expand(text: &str) -> String {
    let text = text.replace("{v}", RELEASE).replace(COLUMNS_FIRST.0, COLUMNS_FIRST.1);
    fill(&fill(&text, "{job", &[]), "{past", &PLACES)
}

/// Puts the columns in the place of every `{word …}`.
fn fill(text: &str, word: &str, without: &[&str]) -> String {
    let mut parts = text.split(word);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (inside, rest) = part.split_once('}').unwrap_or((part, ""));
        out.push_str(&columns(inside, without));
        out.push_str(rest);
    }
    out
}

/// The columns of a job that tell where it stands.
const PLACES: [&str; 5] = ["seq", "line", "pos", "special", "unique_for"];

fn columns(inside: &str, without: &[&str]) -> String {
    let mut words = inside.split_whitespace();
    let from = words.next().map(|name| format!("{name}.")).unwrap_or_default();
    let instead: Vec<(&str, &str)> = words.filter_map(|word| word.split_once('=')).collect();
    let each =
        COLUMNS.iter().filter(|column| !without.contains(column)).map(|column| match instead.iter().find(|(name, _)| name == column) {
            Some((_, value)) => (*value).to_owned(),
            None => format!("{from}{column}"),
        });
    each.collect::<Vec<String>>().join(", ")
}

/// Whether the tables are there, and the routines of this release.
pub(super) const FIND: &str = include_str!("queries/installed.sql");

/// What a database lacks of which [`FIND`] answered so, and what to do about it.
pub(super) fn lack(has_tables: bool, has_routines: bool) -> Option<(String, &'static str)> {
    match (has_tables, has_routines) {
        (true, true) => None,
        (false, _) => Some(("the database has no Windlass tables yet".to_owned(), "run `windlass migrate` on it")),
        (true, false) => {
            let lack = format!("the database has no routines of this release ({RELEASE})");
            Some((lack, "run this version's `windlass migrate`, or a newer daemon"))
        }
    }
}
