//! The libraries of functions on the server: what they consist of, and whether the server has them. One is the daemon's, and its
//! name carries the release, so that two releases stand side by side. The other is the producers' door, of the newest release.

use super::connection::Server;
use crate::store::{Error, Result};

/// Also the name of the library and the beginning of its functions' names.
pub(super) const RELEASE: &str = "windlass_v1";
const DOOR: &str = "windlass";

/// What both begin with. Beside its words, each of the files is a block of its own.
const WORDS: &str = include_str!("routines/01_words.lua");
const SHARED: [&str; 19] = [
    include_str!("routines/02_shard.lua"),
    include_str!("routines/03_job.lua"),
    include_str!("routines/04_line.lua"),
    include_str!("routines/05_gate.lua"),
    include_str!("routines/06_place.lua"),
    include_str!("routines/07_enqueue.lua"),
    include_str!("routines/08_parents.lua"),
    include_str!("routines/09_outbox.lua"),
    include_str!("routines/10_partition.lua"),
    include_str!("routines/11_effects.lua"),
    include_str!("routines/12_claim.lua"),
    include_str!("routines/13_lease.lua"),
    include_str!("routines/14_settle.lua"),
    include_str!("routines/15_audit.lua"),
    include_str!("routines/15_upkeep.lua"),
    include_str!("routines/16_admin.lua"),
    include_str!("routines/17_read.lua"),
    include_str!("routines/18_standing.lua"),
    include_str!("routines/19_schedules.lua"),
];
const FUNCTIONS: &str = include_str!("routines/20_functions.lua");
const ENVELOPE: [&str; 2] = [include_str!("routines/21_json.lua"), include_str!("routines/22_envelope.lua")];
const ENQUEUE: &str = include_str!("routines/23_door.lua");

struct Library {
    name: &'static str,
    text: String,
}

/// `one`: a call may touch the keys of every queue, as on a server that is no cluster.
fn libraries(one: bool) -> [Library; 2] {
    let assemble = |name, blocks: &[&str], end: &str| {
        let blocks: String = blocks.iter().map(|block| format!("do\n{block}end\n")).collect();
        let text = format!("#!lua name={name}\n{WORDS}{blocks}{end}");
        Library { name, text: text.replace("{one}", &one.to_string()).replace("{v}", RELEASE) }
    };
    [assemble(RELEASE, &SHARED, FUNCTIONS), assemble(DOOR, &[&SHARED[..], &ENVELOPE].concat(), ENQUEUE)]
}

/// Loads the libraries into every master, in place of those of the same names; but not the door where a newer release has brought its own.
pub(super) async fn load(server: &Server) -> Result<()> {
    let newer = newer_release(server).await?;
    for library in libraries(!server.is_cluster()) {
        match &newer {
            Some(newer) if library.name == DOOR => tracing::info!("the functions that producers call stay those of {newer}"),
            _ => _ = server.ask_masters(redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(library.text)).await?,
        }
    }
    Ok(())
}

/// Whether every master has these very texts.
pub(super) async fn is_loaded(server: &Server) -> Result<bool> {
    let is_left_behind = newer_release(server).await?.is_some();
    for library in libraries(!server.is_cluster()) {
        let is_newer_s = library.name == DOOR && is_left_behind;
        let texts = texts_about(server, library.name, true).await?;
        if !is_newer_s && !texts.iter().all(|texts| texts.contains(&library.text)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A server that lacks this release's functions was not migrated yet, or has left this release behind.
pub(super) async fn check(server: &Server) -> Result<()> {
    if is_there(server).await? { Ok(()) } else { Err(Error::Refused(missing())) }
}

/// Whether every master has functions of this release, whatever their texts.
pub(super) async fn is_there(server: &Server) -> Result<bool> {
    let texts = texts_about(server, RELEASE, false).await?;
    Ok(texts.iter().all(|texts| texts.iter().any(|text| text == RELEASE)))
}

fn missing() -> String {
    format!("{}; {MIGRATE}", lack())
}

pub(super) fn lack() -> String {
    format!("a server has no functions of this release ({RELEASE})")
}

pub(super) const MIGRATE: &str = "run this version's `windlass migrate`";

/// They were there once, so they may be there again.
pub(super) fn missing_later() -> Error {
    Error::Unavailable(missing())
}

/// Asks for this release's functions: an empty list where there are none.
pub(super) fn list_ours() -> redis::Cmd {
    redis::cmd("FUNCTION").arg("LIST").arg("LIBRARYNAME").arg(RELEASE).clone()
}

/// The newest release on any master, if that is newer than ours.
async fn newer_release(server: &Server) -> Result<Option<String>> {
    let number = |name: &str| name.strip_prefix("windlass_v").and_then(|n| n.parse::<u32>().ok());
    let texts = texts_about(server, "windlass_v*", false).await?;
    let newest = texts.into_iter().flatten().max_by_key(|name| number(name));
    Ok(newest.filter(|name| number(name) > number(RELEASE)))
}

/// All texts that each master has to say of the libraries whose names match: their names, those of their functions, their code.
async fn texts_about(server: &Server, pattern: &str, with_code: bool) -> Result<Vec<Vec<String>>> {
    let mut call = redis::cmd("FUNCTION");
    call.arg("LIST").arg("LIBRARYNAME").arg(pattern);
    if with_code {
        call.arg("WITHCODE");
    }
    let lists = server.ask_masters(&call).await?;
    Ok(lists
        .into_iter()
        .map(|list| {
            let mut texts = Vec::new();
            gather(list, &mut texts);
            texts
        })
        .collect())
}

fn gather(value: redis::Value, texts: &mut Vec<String>) {
    match value {
        redis::Value::Array(values) => values.into_iter().for_each(|value| gather(value, texts)),
        redis::Value::Map(pairs) => pairs.into_iter().for_each(|(_, value)| gather(value, texts)),
        redis::Value::BulkString(bytes) => texts.push(String::from_utf8_lossy(&bytes).into_owned()),
        redis::Value::SimpleString(text) => texts.push(text),
        _ => {}
    }
}
