//! `windlass demo`: everything at work in one command. A store in a temporary folder, stand-in providers, a daemon in this
//! process, and jobs that real people would have: syllabi and study plans to read, rankings to refresh, reminders to send,
//! webhooks to verify and pass on, one call that needs three attempts, one that dies and is redriven.
//!
//! What is enqueued is in `jobs.rs`, who sends the webhooks in `senders.rs`, how it looks meanwhile in `view.rs`, and what is
//! said in the end in `summary.rs`.

mod jobs;
mod senders;
mod summary;
mod view;

use super::{
    exit::Exit,
    output::{Format, print, print_json},
};
use crate::{
    client::Client,
    clients::http::Http,
    clock::Clock,
    config::{self, Config, Sources},
    daemon::Daemon,
    job::{Job, JobId, State},
    sandbox::{Fault, Provider, Rule, Sandbox},
    signatures::{Scheme, SecretFormat, SourceConfig},
    store::Filter,
};
use anyhow::Context as _;
use jobs::{Story, Task};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};
use summary::Summary;
use tokio_util::sync::CancellationToken;
use view::View;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep the store and the last /metrics in this folder, to look at afterwards; else they are gone at the end
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

/// The whole tour is over by then, whatever happens.
const PATIENCE: Duration = Duration::from_secs(18);
/// Between two looks at the jobs; below what an eye notices.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub fn run(args: &Args) -> anyhow::Result<()> {
    let began = Instant::now();
    let temporary = tempfile::TempDir::with_prefix("windlass-demo-").context("a temporary folder cannot be made")?;
    let folder = args.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let summary = runtime.block_on(tour(&folder.join("demo.db"), args.keep.is_some(), began))?;
    runtime.shutdown_background();
    if args.format.json {
        print_json(&summary)?
    } else {
        print(&summary.to_string())?
    }
    if summary.ok { Ok(()) } else { Err(Exit::Software.because("not everything ended as it should; see above what did not")) }
}

async fn tour(database: &std::path::Path, is_kept: bool, began: Instant) -> anyhow::Result<Summary> {
    if database.exists() {
        return Err(Exit::Unavailable.because(format!("{} is there already; name another folder with --keep", database.display())));
    }
    let sandbox = Sandbox::start(crate::sandbox::Config::default(), CancellationToken::new())
        .await
        .context("the stand-in providers cannot be started")?;
    let secrets = Secrets::default();
    sandbox.expect_signatures("events", &secrets.forward).map_err(anyhow::Error::msg)?;
    sandbox.expect_signatures("nudge", &secrets.forward).map_err(anyhow::Error::msg)?;
    break_the_partner(&sandbox);
    let config = configuration(&sandbox, database, &secrets)?;
    let daemon = Daemon::start(&config).await?;
    let mut tour = Tour {
        client: Client::new(&format!("http://{}", daemon.address()), config.control.token.as_ref())?,
        http: Http::new(&config.outbound, Clock::System)?,
        daemon,
        sandbox,
        secrets,
        view: View::new(),
        tasks: Vec::new(),
        redriven: None,
    };
    let told = tokio::time::timeout(PATIENCE.saturating_sub(began.elapsed()), tour.tell()).await;
    tour.end(told, database, is_kept, began).await
}

/// Made up on the spot: they protect nothing but this tour.
struct Secrets {
    control: String,
    stripe: String,
    github: String,
    standard: String,
    forward: String,
}

impl Default for Secrets {
    fn default() -> Self {
        let fresh = || uuid::Uuid::now_v7().simple().to_string();
        let whsec = || format!("whsec_{}", senders::base64(fresh().as_bytes()));
        // Two, because half of such an id is the time.
        let control = format!("{}{}", fresh(), fresh());
        Self { control, stripe: format!("whsec_{}", fresh()), github: fresh(), standard: whsec(), forward: whsec() }
    }
}

/// The name under `/receive/`.
const PARTNER: &str = "partner";

/// Its endpoint is down until somebody repairs it.
fn break_the_partner(sandbox: &Sandbox) {
    let fault = Fault::Status { status: 503, code: None, retry_after_secs: None };
    sandbox.switches().add(Provider::Receiver, Rule { times: None, matching: Some(PARTNER.into()), fault });
}

/// The production defaults, pointed at the stand-ins. Nobody's file or environment gets into it.
fn configuration(sandbox: &Sandbox, database: &std::path::Path, secrets: &Secrets) -> anyhow::Result<Config> {
    let mut config = config::load(&Sources::default())?.config;
    config.store.url = format!("sqlite:{}", database.display());
    config.control.listen.set_port(0);
    config.control.token = Some(secrets.control.clone().into());
    config.outbound.allow = vec!["127.0.0.0/8".parse()?];
    config.providers.openai.base_url = sandbox.openai_url().parse()?;
    config.providers.openai.api_key = Some("sandbox".into());
    config.providers.openai.model = "stand-in".into();
    config.providers.dataforseo.base_url = sandbox.dataforseo_url().parse()?;
    config.providers.dataforseo.login = "sandbox".into();
    config.providers.dataforseo.password = Some("sandbox".into());
    config.providers.smtp.host = sandbox.smtp_addr().ip().to_string();
    config.providers.smtp.port = Some(sandbox.smtp_addr().port());
    config.providers.smtp.tls = crate::clients::smtp::Tls::None;
    config.providers.smtp.from = "Windlass <windlass@northfield.example>".into();
    config.workers.reminder.http_secret = Some(secrets.forward.clone().into());
    let source = |scheme, secret: &str| -> anyhow::Result<SourceConfig> {
        Ok(SourceConfig {
            scheme,
            secret_format: SecretFormat::default(),
            secrets: vec![secret.into()],
            secret_files: Vec::new(),
            tolerance_secs: 300,
            forward_to: Some(format!("{}/receive/events", sandbox.receiver_url()).parse()?),
            forward_secret: Some(secrets.forward.clone().into()),
            forward_secret_file: None,
        })
    };
    config.webhooks.sources = BTreeMap::from([
        ("stripe".to_owned(), source(Scheme::Stripe, &secrets.stripe)?),
        ("github".to_owned(), source(Scheme::Github, &secrets.github)?),
        ("standard".to_owned(), source(Scheme::Standard, &secrets.standard)?),
    ]);
    Ok(config)
}

struct Tour {
    daemon: Daemon,
    client: Client,
    http: Http,
    sandbox: Sandbox,
    secrets: Secrets,
    view: View,
    tasks: Vec<Task>,
    /// The dead letter as it was before it was put back.
    redriven: Option<Job>,
}

impl Tour {
    /// The story from first to last.
    async fn tell(&mut self) -> anyhow::Result<()> {
        self.view.say(&format!("a daemon with a fresh store serves http://{}", self.daemon.address()));
        self.view.say(&format!(
            "stand-ins for OpenAI, DataForSEO and webhook receivers: {}, for e-mail: {}",
            self.sandbox.openai_url(),
            self.sandbox.smtp_addr()
        ));
        self.enqueue().await?;
        self.receive_webhooks().await?;
        self.view.begin(self.tasks.len());
        self.follow(&[Story::Dies]).await?;
        self.redrive().await?;
        self.follow(&[]).await
    }

    /// All at once, through the door that any program uses.
    async fn enqueue(&mut self) -> anyhow::Result<()> {
        let (envelopes, mut tasks) = jobs::all(&self.sandbox);
        let enqueued = self.client.enqueue_many(&envelopes).await?;
        for (task, enqueued) in tasks.iter_mut().zip(&enqueued) {
            task.id = Some(enqueued.id);
        }
        self.view.say(&format!("enqueued {} jobs over HTTP in one call", enqueued.len()));
        self.tasks.append(&mut tasks);
        Ok(())
    }

    /// Three senders post what they sign; a forger posts what he cannot.
    async fn receive_webhooks(&mut self) -> anyhow::Result<()> {
        let base = format!("http://{}/hooks", self.daemon.address());
        for event in senders::events(&self.secrets, Clock::System.now()) {
            let status = senders::post(&self.http, &base, &event).await?;
            anyhow::ensure!(status == 200, "the webhook of {} was answered {status}", event.source);
            self.tasks.push(Task::of_webhook(&event));
        }
        let forged = senders::forged(Clock::System.now());
        let status = senders::post(&self.http, &base, &forged).await?;
        anyhow::ensure!(status == 401, "a forged webhook was answered {status}");
        self.view.say("took in 3 signed webhooks; refused a forged one with 401");
        self.name_webhook_jobs().await
    }

    /// A sender learns no job id; the event id in the payload tells which job is whose.
    async fn name_webhook_jobs(&mut self) -> anyhow::Result<()> {
        let filter = Filter { kind: Some(crate::job::Name::literal("webhook.process")), ..Filter::default() };
        for summary in self.client.list(&filter, None, 100).await?.items {
            let Some(job) = self.client.get(summary.id).await? else { continue };
            let event_id = job.payload.read::<EventId>()?.event_id;
            if let Some(task) = self.tasks.iter_mut().find(|task| task.event_id.as_deref() == Some(&event_id)) {
                task.id = Some(job.id);
            }
        }
        Ok(())
    }

    /// Looks until every job of these stories has ended; of all when none is named.
    async fn follow(&mut self, stories: &[Story]) -> anyhow::Result<()> {
        loop {
            for at in 0..self.tasks.len() {
                self.look(at).await?;
            }
            let is_through = |task: &Task| task.state().is_some_and(State::is_final);
            let mut wanted = self.tasks.iter().filter(|task| stories.is_empty() || stories.contains(&task.story));
            if wanted.all(is_through) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&mut self, at: usize) -> anyhow::Result<()> {
        let task = &mut self.tasks[at];
        let Some(id) = task.id.filter(|_| task.state() != Some(State::Completed)) else { return Ok(()) };
        let job = self.client.get(id).await?;
        if let Some(line) = job.and_then(|job| task.update(job)) {
            self.view.step(&line, self.tasks.iter().filter(|task| task.state() == Some(State::Completed)).count());
        }
        Ok(())
    }

    /// What an operator does: mend what was broken, put the job back.
    async fn redrive(&mut self) -> anyhow::Result<()> {
        let dead: Vec<JobId> = self.tasks.iter().filter(|task| task.story == Story::Dies).filter_map(|task| task.id).collect();
        self.sandbox.switches().heal(Provider::Receiver);
        self.view.say("the partner's endpoint is repaired; its dead letter is redriven");
        for id in dead {
            self.redriven = self.client.dead_letter(id).await?;
            self.client.redrive(id).await?;
        }
        Ok(())
    }

    async fn end(
        self,
        told: Result<anyhow::Result<()>, tokio::time::error::Elapsed>,
        database: &std::path::Path,
        is_kept: bool,
        began: Instant,
    ) -> anyhow::Result<Summary> {
        self.view.end();
        let trouble = match told {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(super::exit::sentence(&error)),
            Err(_) => Some(format!("the tour was not over after {} s", PATIENCE.as_secs())),
        };
        let metrics = self.client.metrics().await.unwrap_or_default();
        if is_kept {
            let file = database.with_file_name("metrics.txt");
            std::fs::write(&file, &metrics).with_context(|| format!("{} cannot be written", file.display()))?;
        }
        let checks = summary::checks(&self.tasks, self.redriven.as_ref(), &self.sandbox, &metrics, trouble);
        let drained = self.daemon.stop(CancellationToken::new()).await;
        Ok(Summary::new(&self.tasks, checks, drained, is_kept.then_some(database), began.elapsed()))
    }
}

#[derive(serde::Deserialize)]
struct EventId {
    event_id: String,
}
