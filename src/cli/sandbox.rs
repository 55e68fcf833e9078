//! `windlass sandbox`: the stand-in providers by themselves, so that a daemon can be tried without an account anywhere.

use super::{
    Place,
    output::{Format, print},
    run::signals,
};
use crate::{config, sandbox::Sandbox};
use anyhow::Context as _;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// For everything that speaks HTTP; left out, that of the configuration, or a free one
    #[arg(long, value_name = "PORT")]
    http_port: Option<u16>,
    /// For e-mail
    #[arg(long, value_name = "PORT")]
    smtp_port: Option<u16>,
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize)]
struct Addresses {
    openai_url: String,
    dataforseo_url: String,
    receiver_url: String,
    admin_url: String,
    smtp: String,
}

pub fn run(place: &Place, args: &Args) -> anyhow::Result<()> {
    let mut config = config::load(&place.sources())?.config.sandbox;
    config.http_port = args.http_port.unwrap_or(config.http_port);
    config.smtp_port = args.smtp_port.unwrap_or(config.smtp_port);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = signals()?;
        let sandbox = Sandbox::start(config, CancellationToken::new()).await.context("the stand-ins cannot be started")?;
        if args.format.json {
            super::output::print_json(&addresses(&sandbox))?;
        } else {
            print(&sandbox.describe().join("\n"))?;
            print(&how_to_use(&sandbox))?;
        }
        signals.recv().await;
        Ok(())
    })
}

fn addresses(sandbox: &Sandbox) -> Addresses {
    Addresses {
        openai_url: sandbox.openai_url(),
        dataforseo_url: sandbox.dataforseo_url(),
        receiver_url: sandbox.receiver_url(),
        admin_url: sandbox.admin_url(),
        smtp: sandbox.smtp_addr().to_string(),
    }
}

/// A daemon that uses the stand-ins, as a command to copy.
fn how_to_use(sandbox: &Sandbox) -> String {
    let (url, smtp) = (sandbox.openai_url(), sandbox.smtp_addr());
    [
        "\nA daemon that calls them:".to_owned(),
        format!("  WINDLASS__PROVIDERS__OPENAI__BASE_URL={url}/v1 WINDLASS__PROVIDERS__OPENAI__API_KEY=sandbox \\"),
        format!("  WINDLASS__PROVIDERS__DATAFORSEO__BASE_URL={url} \\"),
        "  WINDLASS__PROVIDERS__DATAFORSEO__LOGIN=sandbox WINDLASS__PROVIDERS__DATAFORSEO__PASSWORD=sandbox \\".to_owned(),
        format!("  WINDLASS__PROVIDERS__SMTP__HOST={} WINDLASS__PROVIDERS__SMTP__PORT={} \\", smtp.ip(), smtp.port()),
        "  WINDLASS__PROVIDERS__SMTP__TLS=none WINDLASS__PROVIDERS__SMTP__FROM=windlass@example.com \\".to_owned(),
        "  WINDLASS__OUTBOUND__ALLOW='[\"127.0.0.0/8\"]' windlass run".to_owned(),
        "Ends with Ctrl-C.".to_owned(),
    ]
    .join("\n")
}
