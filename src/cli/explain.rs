//! `windlass explain`: what holds a job back, gate by gate.

use super::{
    Place, door,
    exit::Exit,
    output::{Format, Rows},
};
use crate::job::{
    JobId, State,
    explain::{Explanation, Gate},
};

/// Jobs that a gate is held by, as far as they are named.
const HOLDERS: usize = 5;

#[derive(Debug, clap::Args)]
pub struct Args {
    id: JobId,
    #[command(flatten)]
    format: Format,
}

pub fn run(place: &Place, args: &Args) -> anyhow::Result<()> {
    let id = args.id;
    door::with(place, async |door| {
        let explained = door.explain(id).await?;
        let explained = explained
            .ok_or_else(|| Exit::Data.because(format!("job {id} does not exist; it may have been removed after its retention time")))?;
        Ok(args.format.show(&explained, told)?)
    })
}

fn told(explained: &Explanation) -> String {
    let mut rows = Rows::new(&["gate", "", "opens", "why"]);
    for gate in &explained.gates {
        let holders: Vec<String> = gate.jobs.iter().map(ToString::to_string).filter(|id| !gate.says.contains(id)).take(HOLDERS).collect();
        let says = if holders.is_empty() || gate.open { gate.says.clone() } else { format!("{} ({})", gate.says, holders.join(", ")) };
        let opens_at = gate.opens_at.filter(|at| *at > explained.at).map(|at| at.to_string()).unwrap_or_default();
        rows.row([word(gate), if gate.open { "open" } else { "closed" }.into(), opens_at, says]);
    }
    format!("job {} is {}: {}\n\n{rows}{}", explained.id, explained.state, explained.says, starts(explained))
}

fn word(gate: &Gate) -> String {
    let word = serde_json::to_value(gate.gate).ok();
    word.as_ref().and_then(|word| word.as_str()).unwrap_or_default().replace('_', " ")
}

fn starts(explained: &Explanation) -> String {
    if explained.state.is_final() || explained.state == State::Running {
        return String::new();
    }
    match &explained.starts {
        None => "\nnobody can know when it starts\n".into(),
        Some(starts) => match starts.to {
            Some(to) => format!("\nstarts between {} and {to}, at the pace of the last minute\n", starts.from),
            None => format!("\nstarts not before {}, at the pace of the last minute\n", starts.from),
        },
    }
}
