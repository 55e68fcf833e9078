//! `windlass token`: who else may call the control port, and what for.

use super::{
    Place, door,
    exit::Exit,
    output::{Format, Rows},
};
use crate::{
    control::wire::{TokenAnswer, TokenMade},
    job::{Name, Scope, Timestamp, TokenId, TokenRequest},
};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a token and print it, this once
    Create {
        /// Whose it is, for lists and for the audit
        name: Name,
        /// What it may do: enqueue, read, read.payload, operate, admin, metrics, work
        #[arg(long, required = true, value_delimiter = ',')]
        scopes: Vec<Scope>,
        /// The one tenant whose jobs it reaches; without it, all
        #[arg(long)]
        tenant: Option<Name>,
        /// It ends after so many days; without it, never
        #[arg(long)]
        days: Option<u32>,
        #[command(flatten)]
        format: Format,
    },
    /// List tokens, oldest first, those that ended too
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Make another that may do the same, and end the first a little later
    Rotate {
        id: TokenId,
        /// Hours in which both let their holder in
        #[arg(long, default_value_t = 24)]
        overlap_hours: u32,
        /// The new one ends after so many days; without it, it lasts as long as the old one was to
        #[arg(long)]
        days: Option<u32>,
        #[command(flatten)]
        format: Format,
    },
    /// End a token now
    Revoke { id: TokenId },
}

pub fn run(place: &Place, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create { name, scopes, tenant, days, format } => door::enter(place, door::MayMake::Store, async |door| {
            let expires_at = end(door.now().await?, days);
            let made = door.create_token(TokenRequest { name, scopes: scopes.into_iter().collect(), tenant, expires_at }).await?;
            Ok(format.show(&made, shown_once)?)
        }),
        Command::List { format } => door::with(place, async |door| Ok(format.show(&door.tokens().await?, |tokens| table(tokens))?)),
        Command::Rotate { id, overlap_hours, days, format } => door::with(place, async |door| {
            let found = door.tokens().await?.into_iter().find(|token| token.id == id);
            let old = found.ok_or_else(|| Exit::Data.because(format!("token {id} does not exist; see `windlass token list`")))?;
            if !old.is_live {
                return Err(Exit::Data.because(format!("token {id} has ended; make another with `windlass token create`")));
            }
            let now = door.now().await?;
            let as_long = old.expires_at.map(|end| now.plus(end.since(old.created_at)));
            let request = TokenRequest { name: old.name, scopes: old.scopes, tenant: old.tenant, expires_at: end(now, days).or(as_long) };
            let made = door.create_token(request).await?;
            // It is told before anything else can go wrong: nobody could ask for it again.
            format.show(&made, shown_once)?;
            door.end_token(&id, HOUR * overlap_hours).await?;
            // Not among what a script takes.
            eprintln!("token {id} lets its holder in until {}", now.plus(HOUR * overlap_hours));
            Ok(())
        }),
        Command::Revoke { id } => door::with(place, async |door| {
            door.end_token(&id, Duration::ZERO).await?;
            println!("token {id} lets nobody in any more; daemons that knew it take a second to notice");
            Ok(())
        }),
    }
}

fn end(now: Timestamp, days: Option<u32>) -> Option<Timestamp> {
    days.map(|days| now.plus(DAY * days))
}

/// Nothing but the token, so that a script can take it as it is.
fn shown_once(made: &TokenMade) -> String {
    made.token.clone()
}

fn table(tokens: &[TokenAnswer]) -> String {
    let mut rows = Rows::new(&["id", "name", "scopes", "tenant", "state", "until", "created", "by"]);
    for token in tokens {
        let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
        let tenant = token.tenant.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string);
        let until = token.expires_at.filter(|end| *end > token.created_at).map(|end| end.to_string()).unwrap_or_default();
        rows.row([
            token.id.to_string(),
            token.name.to_string(),
            scopes.join(","),
            tenant,
            if token.is_live { "live" } else { "ended" }.to_owned(),
            until,
            token.created_at.to_string(),
            token.created_by.clone(),
        ]);
    }
    rows.or("no tokens yet; make one with `windlass token create NAME --scopes read`")
}
