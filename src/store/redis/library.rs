//! The library of functions on the server: what it consists of, and whether the server has it.

use super::{connection::Server, error::Effect};
use crate::store::{Error, Result};

/// Also the name of the library and the beginning of its functions' names, so that two releases stand side by side.
pub(super) const RELEASE: &str = "windlass_v1";

const ROUTINES: [&str; 14] = [
    include_str!("routines/01_words.lua"),
    include_str!("routines/02_shard.lua"),
    include_str!("routines/03_job.lua"),
    include_str!("routines/04_line.lua"),
    include_str!("routines/05_gate.lua"),
    include_str!("routines/06_place.lua"),
    include_str!("routines/07_enqueue.lua"),
    include_str!("routines/08_lease.lua"),
    include_str!("routines/09_settle.lua"),
    include_str!("routines/10_upkeep.lua"),
    include_str!("routines/11_admin.lua"),
    include_str!("routines/12_read.lua"),
    include_str!("routines/13_schedules.lua"),
    include_str!("routines/14_functions.lua"),
];

/// The library's text. `one`: a call may touch the keys of every queue, as on a server that is no cluster.
fn text(one: bool) -> String {
    format!("#!lua name={RELEASE}\n{}", ROUTINES.concat()).replace("{one}", &one.to_string()).replace("{v}", RELEASE)
}

/// Loads the library, in place of one of the same release.
pub(super) async fn load(server: &Server) -> Result<()> {
    server.ask::<String>(Effect::Reads, redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(text(true))).await.map(drop)
}

/// Whether the server has this very text.
pub(super) async fn is_loaded(server: &Server) -> Result<bool> {
    let call = redis::cmd("FUNCTION").arg("LIST").arg("LIBRARYNAME").arg(RELEASE).arg("WITHCODE").clone();
    let list: redis::Value = server.ask(Effect::Reads, &call).await?;
    let text = text(true);
    fn holds(value: &redis::Value, text: &[u8]) -> bool {
        match value {
            redis::Value::Array(values) => values.iter().any(|value| holds(value, text)),
            redis::Value::Map(pairs) => pairs.iter().any(|(_, value)| holds(value, text)),
            redis::Value::BulkString(bytes) => bytes == text,
            _ => false,
        }
    }
    Ok(holds(&list, text.as_bytes()))
}

/// A server that lacks this release's functions was not migrated yet, or has left this release behind.
pub(super) async fn check(server: &Server) -> Result<()> {
    let list: Vec<redis::Value> = server.ask(Effect::Reads, redis::cmd("FUNCTION").arg("LIST").arg("LIBRARYNAME").arg(RELEASE)).await?;
    if list.is_empty() {
        return Err(Error::Refused(format!(
            "the server has no functions of this release ({RELEASE}); run this version's `windlass migrate` on it"
        )));
    }
    Ok(())
}
