//! Who must have what is promised before it is: so many replicas (`WAIT`), or the disks of the server and of so many replicas (`WAITAOF`, from
//! Redis 7.2 on; <https://redis.io/docs/latest/commands/waitaof/>).

use super::{Config, error, error::Effect, reply};
use crate::store::{Error, Result};
use redis::{Cmd, Pipeline, Value};
use std::time::Duration;

#[derive(Clone, Copy)]
pub(super) struct Witnesses {
    pub(super) replicas: u32,
    pub(super) on_disk: bool,
    /// They are waited for so long.
    deadline: Duration,
}

impl Witnesses {
    pub(super) const fn of(config: &Config) -> Self {
        Self { replicas: config.replicas, on_disk: config.on_disk, deadline: Duration::from_millis(config.timeout_ms / 2) }
    }

    pub(super) fn are_asked(self, effect: Effect) -> bool {
        effect == Effect::Promises && (self.replicas > 0 || self.on_disk)
    }

    /// Several calls in one go; the last answer will be theirs.
    pub(super) fn ask_after(self, calls: &[Cmd]) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(calls.len() + 1);
        calls.iter().for_each(|call| _ = pipeline.add_command(call.clone()));
        match self.on_disk {
            true => pipeline.cmd("WAITAOF").arg(1),
            false => pipeline.cmd("WAIT"),
        };
        pipeline.arg(self.replicas).arg(self.deadline.as_millis().to_string());
        pipeline
    }

    /// The answers without theirs, if that is that they have it all.
    pub(super) fn acknowledged(self, mut answers: Vec<Value>) -> Result<Vec<Value>> {
        let (local, replicas) = match answers.pop() {
            Some(Value::Int(replicas)) => (1, replicas),
            Some(both @ Value::Array(_)) => {
                let [local, replicas] = reply::fixed(both)?;
                (reply::number(local)?, reply::number(replicas)?)
            }
            _ => return error::odd("the number of replicas"),
        };
        if local == 0 {
            return Err(Error::Unknown("written, but not on the server's disk yet; looking again until it is".into()));
        } else if replicas < i64::from(self.replicas) {
            return Err(Error::Unknown(format!(
                "written, and acknowledged by {replicas} of {} replicas; looking again until they have it",
                self.replicas
            )));
        }
        Ok(answers)
    }
}
