//! The configuration: the compiled-in manual (`config/default.toml`), over it a file, systemd credentials, the environment
//! and flags. This module layers, checks what must fit together, and hands each room its own `Config`; what a key means is
//! said by the room that owns it.

mod check;
mod read;
pub mod secrets;
pub mod show;
pub mod tree;

pub use tree::Problem;

use crate::{
    clients,
    clock::Clock,
    control, engine,
    intake::{self, inbox},
    job::{KindSettings, Limits, Name, QueueSettings, Settings, schedule::Schedule},
    sandbox, signatures, store,
    telemetry::logs,
    workers,
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use tree::{Node, Origin, Table, Value};

/// Every key, its default and a comment each. Its values are the lowest layer.
pub const MANUAL: &str = include_str!("../../config/default.toml");

/// What every room is handed.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    pub store: Store,
    pub inbox: inbox::Config,
    #[serde(default)]
    pub apalis: BTreeMap<Name, intake::apalis::Config>,
    pub control: control::Config,
    pub engine: engine::Config,
    pub outbound: clients::http::Config,
    pub providers: clients::Config,
    #[serde(default)]
    pub workers: workers::Config,
    #[serde(default)]
    pub webhooks: signatures::Config,
    pub log: logs::Config,
    pub sandbox: sandbox::Config,
    #[serde(default)]
    pub queues: BTreeMap<Name, QueueSettings>,
    #[serde(default)]
    pub kinds: BTreeMap<Name, KindSettings>,
    /// Read apart, because a schedule's job is an envelope and envelopes are JSON.
    #[serde(skip)]
    pub schedules: Vec<Schedule>,
    /// The files of certificates that are named, with the keys that name them.
    #[serde(skip)]
    pub certificates: Vec<(String, PathBuf)>,
}

/// `[store]`: which store, and each driver's own part.
#[derive(Clone, Debug, Deserialize)]
pub struct Store {
    pub url: String,
    pub sqlite: store::sqlite::Config,
    pub postgres: store::postgres::Config,
    pub redis: store::redis::Config,
}

impl Config {
    /// What the store keeps of the configuration.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            queues: self.queues.clone(),
            kinds: self.kinds.clone(),
            payload_bytes: self.control.max_payload_bytes,
            ..Settings::default()
        }
    }

    /// Where entries are taken from, if anywhere: URL and prefix.
    #[must_use]
    pub fn inbox(&self) -> Option<(&str, &str)> {
        let of_store = || self.store.url.starts_with("redis").then_some((self.store.url.as_str(), self.store.redis.prefix.as_str()));
        self.inbox.url.as_deref().map(|url| (url, self.inbox.prefix.as_str())).or_else(of_store)
    }

    #[must_use]
    pub fn store_options(&self) -> store::Options {
        store::Options {
            sqlite: self.store.sqlite.clone(),
            postgres: self.store.postgres.clone(),
            redis: self.store.redis.clone(),
            clock: Clock::System,
        }
    }

    /// What every door of this installation lets in.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        Limits { payload_bytes: self.control.max_payload_bytes }
    }
}

/// Where the layers come from. Made once from the process; a reload reads the same places again.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config` or `WINDLASS_CONFIG`.
    pub file: Option<PathBuf>,
    /// systemd's `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
    pub environment: Vec<(String, String)>,
    /// `--store`, `--listen`: the key, the flag, the value.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

impl Sources {
    /// The places that belong to this process.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let text = |(key, value): (OsString, OsString)| Some((key.into_string().ok()?, value.to_string_lossy().into_owned()));
        Self {
            file,
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            environment: std::env::vars_os().filter_map(text).filter(|(name, _)| name.starts_with("WINDLASS_")).collect(),
            flags: Vec::new(),
        }
    }

    #[must_use]
    pub fn with_store(mut self, url: Option<String>) -> Self {
        self.flags.extend(url.map(|url| ("store.url", "--store", url)));
        self
    }

    #[must_use]
    pub fn with_listen(mut self, address: Option<SocketAddr>) -> Self {
        self.flags.extend(address.map(|address| ("control.listen", "--listen", address.to_string())));
        self
    }
}

/// `WINDLASS__STORE__URL` is `store.url`.
const PREFIX: &str = "WINDLASS__";

/// A configuration that passed every check.
#[derive(Clone)]
pub struct Loaded {
    pub config: Config,
    /// Sentences for the log: nothing that stops a start.
    pub warnings: Vec<Problem>,
    tree: Table,
}

/// Everything that is wrong, one sentence a line.
#[derive(Debug)]
pub struct Invalid(pub Vec<Problem>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

/// Reads all layers and checks them.
///
/// # Errors
/// Every problem that was found, with file and line or the variable or flag at fault.
pub fn load(sources: &Sources) -> Result<Loaded, Invalid> {
    let mut warnings = Vec::new();
    let tree = layered(sources).map_err(Invalid)?;
    warn_of_single_underscores(&sources.environment, &mut warnings);
    warn_of_open_file(sources.file.as_deref(), &tree, &mut warnings);
    let mut problems = Vec::new();
    secrets::check_files(&tree, &mut problems, &mut warnings);
    let schedules = read_schedules(&tree, &mut problems);
    let mut rest = tree.clone();
    rest.remove("schedules");
    match read::read::<Config>(&rest) {
        Ok(config) => {
            let config = Config { schedules, certificates: certificates(&tree), ..config };
            check::fits(&config, &tree, &mut problems);
            if problems.is_empty() { Ok(Loaded { config, warnings, tree }) } else { Err(Invalid(problems)) }
        }
        Err(mut more) => {
            problems.append(&mut more);
            Err(Invalid(problems))
        }
    }
}

impl fmt::Debug for Loaded {
    /// Without the tree, which holds secrets as plain text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("config", &self.config).field("warnings", &self.warnings).finish_non_exhaustive()
    }
}

impl Loaded {
    /// The configuration in force as TOML, with the origin of every value and no secret.
    #[must_use]
    pub fn show(&self) -> String {
        show::show(&self.tree)
    }

    /// The keys whose values differ from those in `before`, as dotted paths.
    #[must_use]
    pub fn changed_since(&self, before: &Self) -> Vec<String> {
        let flat = |table: &Table| {
            let mut all = BTreeMap::new();
            tree::leaves(table, &mut Vec::new(), &mut |path, node| {
                all.insert(path.join("."), tree::to_json(&node.value));
            });
            all
        };
        let (old, new) = (flat(&before.tree), flat(&self.tree));
        let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).cloned().collect()
    }
}

fn layered(sources: &Sources) -> Result<Table, Vec<Problem>> {
    let mut base = tree::parse_defaults(MANUAL);
    let mut lay = |over: Table| {
        secrets::make_way(&mut base, &over);
        tree::lay_over(&mut base, over);
    };
    if let Some(path) = &sources.file {
        lay(from_file(path)?);
    }
    if let Some(directory) = &sources.credentials {
        lay(secrets::credentials(directory).map_err(|problem| vec![problem])?);
    }
    lay(from_environment(&sources.environment));
    lay(from_flags(&sources.flags));
    Ok(base)
}

fn from_file(path: &Path) -> Result<Table, Vec<Problem>> {
    let shown = path.display().to_string();
    let unreadable = |error: std::io::Error| vec![Problem::new(&shown, format!("the configuration file cannot be read: {error}"))];
    tree::parse(&fs::read_to_string(path).map_err(unreadable)?, &shown)
}

fn from_environment(variables: &[(String, String)]) -> Table {
    let mut table = Table::new();
    for (name, text) in variables {
        let Some(keys) = name.strip_prefix(PREFIX) else { continue };
        let path: Vec<String> = keys.split("__").map(str::to_ascii_lowercase).collect();
        let origin = Origin::Environment(name.clone());
        tree::put(&mut table, &path, Node { value: Value::given(text, &origin), origin });
    }
    table
}

fn from_flags(flags: &[(&'static str, &'static str, String)]) -> Table {
    let mut table = Table::new();
    for (key, flag, text) in flags {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        tree::put(&mut table, &path, Node { value: Value::Text(text.clone()), origin: Origin::Flag(flag) });
    }
    table
}

/// A schedule is read as the JSON it would be at a door, and named by its section.
fn read_schedules(tree: &Table, problems: &mut Vec<Problem>) -> Vec<Schedule> {
    let mut schedules = Vec::new();
    for (name, node) in tree.get("schedules").and_then(|node| node.value.table()).into_iter().flatten() {
        let mut members = tree::to_json(&node.value);
        if let Some(members) = members.as_object_mut() {
            members.insert("name".into(), name.as_str().into());
        }
        match serde_json::from_str(&members.to_string()) {
            Ok(schedule) => schedules.push(schedule),
            Err(error) => {
                let said = error.to_string();
                let said = said.split(" at line ").next().unwrap_or(&said);
                problems.push(Problem::new(&node.origin, format!("schedule `{name}`: {said}")));
            }
        }
    }
    schedules
}

/// By what every such key ends in: `tls_cert_file`, `ca_file`, `tls_client_ca_file`.
fn certificates(tree: &Table) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    tree::leaves(tree, &mut Vec::new(), &mut |path, node| {
        let is_one = path.last().is_some_and(|key| key.ends_with("cert_file") || key.ends_with("ca_file"));
        if let Some(file) = node.value.text().filter(|file| is_one && !file.is_empty()) {
            found.push((path.join("."), PathBuf::from(file)));
        }
    });
    found
}

/// `WINDLASS_STORE_URL` sets nothing, and whoever wrote it thinks that it does.
fn warn_of_single_underscores(variables: &[(String, String)], warnings: &mut Vec<Problem>) {
    for (name, _) in variables.iter().filter(|(name, _)| !name.starts_with(PREFIX) && name != "WINDLASS_CONFIG") {
        warnings.push(Problem::new(
            name,
            "this variable sets nothing; a setting is written with two underscores, such as WINDLASS__STORE__URL",
        ));
    }
}

/// A configuration file that holds a secret itself deserves the care of a secret file.
fn warn_of_open_file(file: Option<&Path>, tree: &Table, warnings: &mut Vec<Problem>) {
    let Some(path) = file.filter(|path| secrets::is_readable_by_others(path)) else { return };
    tree::leaves(tree, &mut Vec::new(), &mut |keys, node| {
        if matches!(node.origin, Origin::File { .. }) && keys.last().is_some_and(|key| secrets::is_secret(key)) {
            let key = keys.join(".");
            let advice =
                format!("`{key}` is a secret in a file that everybody can read; run chmod 600 {} or use `{key}_file`", path.display());
            warnings.push(Problem::new(&node.origin, advice));
        }
    });
}

/// Every key the manual knows, those that are commented out (`#key = …`) included.
fn manual_keys() -> Vec<Vec<String>> {
    let mut keys = Vec::new();
    tree::leaves(&tree::parse_defaults(&uncommented_manual()), &mut Vec::new(), &mut |path, _| keys.push(path.to_vec()));
    keys
}

/// The manual with its optional keys and example sections in force: a `#` directly before a key or a bracket is taken away.
#[must_use]
pub fn uncommented_manual() -> String {
    let uncomment = |line: &'static str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => rest,
        _ => line,
    };
    MANUAL.lines().map(uncomment).collect::<Vec<_>>().join("\n")
}
