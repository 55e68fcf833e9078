//! `windlass audit`: who did what, and whether nobody changed that afterwards.

use super::{
    Place,
    door::{self, Door, MOST_ROWS},
    exit::Exit,
    output::{Format, Rows},
};
use crate::job::{AuditFilter, Audited, Head, Verified, Verifier};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List acts, newest first
    List {
        /// Only those of this actor, such as token:4f1d0c2ba9e83377
        #[arg(long)]
        actor: Option<String>,
        /// Only acts of this sort, such as pause
        #[arg(long)]
        action: Option<String>,
        /// Only acts on this: a job's id, a queue, a schedule, a token's id
        #[arg(long)]
        object: Option<String>,
        /// Rows to show, the newest
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        format: Format,
    },
    /// Walk the whole audit and check that each row is bound to the one before it, and that the newest are there
    Verify {
        #[command(flatten)]
        format: Format,
    },
}

pub fn run(place: &Place, command: Command) -> anyhow::Result<()> {
    match command {
        Command::List { actor, action, object, limit, format } => door::with(place, async |door| {
            let filter = AuditFilter { actor, action, object };
            let rows = newest(door, &filter, limit).await?;
            let nothing = if filter == AuditFilter::default() { "nothing was done yet that leaves a row" } else { "no row is of these" };
            Ok(format.show(&rows, |rows| table(rows, nothing))?)
        }),
        Command::Verify { format } => door::with(place, async |door| {
            let verdict = verified(door).await?;
            format.show(&verdict, said)?;
            match (verdict.breaks_at, verdict.cut_at) {
                (None, None) => Ok(()),
                (None, Some(head)) => Err(Exit::Data.because(format!(
                    "the audit's newest rows are not those that the store counted: row {} must be there with the hash {}; it was taken out or written anew",
                    numbered(&head.chain, head.seq), head.hash
                ))),
                (Some(row), _) => Err(Exit::Data.because(format!(
                    "the audit's chain breaks at row {} ({} by {} at {}): that row or the one before it was changed, or rows between them were taken out",
                    numbered(&row.chain, row.seq), row.action, row.actor, row.at
                ))),
            }
        }),
    }
}

async fn newest(door: &Door, filter: &AuditFilter, limit: usize) -> anyhow::Result<Vec<Audited>> {
    let (mut rows, mut cursor) = (Vec::new(), None);
    while rows.len() < limit {
        let page = door.audit(filter, cursor.as_deref(), (limit - rows.len()).min(MOST_ROWS)).await?;
        rows.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(rows)
}

/// Rows may grow old enough to be pruned while the walk is under way; then it is walked again.
async fn verified(door: &Door) -> anyhow::Result<Verified> {
    let mut heads = door.audit_heads().await?;
    loop {
        let found = walked(door, heads.clone()).await?;
        let now = door.audit_heads().await?;
        if found.cut_at.as_ref().is_none_or(|head| now.contains(head)) {
            return Ok(found);
        }
        heads = now;
    }
}

async fn walked(door: &Door, heads: Vec<Head>) -> anyhow::Result<Verified> {
    let (mut verifier, mut cursor) = (Verifier::against(heads), None);
    loop {
        let page = door.audit(&AuditFilter::default(), cursor.as_deref(), MOST_ROWS).await?;
        page.items.into_iter().for_each(|row| verifier.look_at(row));
        cursor = page.next;
        if cursor.is_none() {
            return Ok(verifier.end());
        }
    }
}

fn numbered(chain: &str, seq: i64) -> String {
    if chain.is_empty() { seq.to_string() } else { format!("{seq} of {chain}") }
}

fn said(verdict: &Verified) -> String {
    let heads = verdict.heads.iter().map(|head| format!("head {} {}\n", numbered(&head.chain, head.seq), head.hash));
    let holds = if verdict.breaks_at.is_none() && verdict.cut_at.is_none() { ", and the chain holds" } else { "" };
    format!("{} rows{holds}\n{}", verdict.rows, heads.collect::<String>())
}

fn table(rows: &[Audited], nothing: &str) -> String {
    let mut shown = Rows::new(&["row", "at", "actor", "action", "object", "detail"]);
    for row in rows {
        let detail = row.detail.clone().unwrap_or_default();
        shown.row([numbered(&row.chain, row.seq), row.at.to_string(), row.actor.clone(), row.action.clone(), row.object.clone(), detail]);
    }
    shown.or(nothing)
}
