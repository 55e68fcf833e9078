//! Layers, and what is said about a configuration that is wrong.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};
use tempfile::TempDir;
use windlass::config::{self, Loaded, Sources};

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

fn from_text(text: &str) -> Result<Loaded, Vec<String>> {
    let files = Files::new();
    let file = files.write("windlass.toml", text);
    let prefix = format!("{}/", files.0.path().display());
    config::load(&Sources { file: Some(file), ..Sources::default() })
        .map_err(|invalid| invalid.0.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect())
}

fn problems(text: &str) -> Vec<String> {
    from_text(text).expect_err("this configuration is wrong")
}

fn with_environment(variables: &[(&str, &str)]) -> Result<Loaded, String> {
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    config::load(&Sources { environment, ..Sources::default() }).map_err(|invalid| invalid.to_string())
}

#[test]
fn the_built_in_defaults_are_a_valid_configuration() {
    let loaded = config::load(&Sources::default()).unwrap();
    assert_eq!(loaded.config.store.url, "sqlite:windlass.db");
    assert!(loaded.warnings.is_empty());
}

#[test]
fn an_unknown_key_is_named_with_file_line_and_nearest_key() {
    assert_eq!(problems("[store]\n\nurll = \"x\"\n"), ["windlass.toml:3: unknown key `store.urll`; did you mean `store.url`?"]);
}

#[test]
fn an_unknown_section_is_named_with_its_nearest() {
    assert_eq!(problems("[sotre]\nurl = \"x\"\n"), ["windlass.toml:1: unknown key `sotre`; did you mean `store`?"]);
}

#[test]
fn a_key_in_the_wrong_section_is_shown_where_it_belongs() {
    assert_eq!(
        problems("[store]\ndead_hours = 3\n"),
        ["windlass.toml:2: unknown key `store.dead_hours`; did you mean `engine.retention.dead_hours`?"]
    );
}

#[test]
fn a_wrong_type_is_named_with_file_and_line() {
    assert_eq!(
        problems("[engine.retention]\nfinished_hours = \"a week\"\n"),
        ["windlass.toml:2: `engine.retention.finished_hours` is string \"a week\"; write a whole number, 0 or more"]
    );
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = "[store]\nurl = 5\nurll = 1\n[engine.retention]\nfinished_hours = -1\n[log]\nformat = \"jsn\"\n[queues.mail]\nfare = true\n";
    let found = problems(text);
    assert_eq!(found.len(), 5, "{found:#?}");
    for line in [2, 3, 5, 7, 9] {
        assert!(found.iter().any(|problem| problem.starts_with(&format!("windlass.toml:{line}: "))), "line {line} in {found:#?}");
    }
}

#[test]
fn every_syntax_error_has_its_line() {
    let found = problems("[store]\nurl = \n\n[log\n");
    assert!(found[0].starts_with("windlass.toml:2: not valid TOML: "), "{found:#?}");
    assert!(found.iter().any(|problem| problem.starts_with("windlass.toml:4: not valid TOML: ")), "{found:#?}");
}

#[test]
fn a_wrong_word_is_answered_with_the_words_there_are() {
    assert_eq!(
        problems("[log]\nformat = \"jsn\"\n"),
        ["windlass.toml:2: `log.format` is \"jsn\", which is none of text, json; did you mean \"json\"?"]
    );
}

#[test]
fn a_missing_file_is_one_sentence() {
    let error = config::load(&Sources { file: Some("/nowhere/windlass.toml".into()), ..Sources::default() }).unwrap_err();
    assert_eq!(error.to_string(), "/nowhere/windlass.toml: the configuration file cannot be read: No such file or directory (os error 2)");
}

#[test]
fn the_environment_is_laid_over_the_file_and_flags_over_both() {
    let files = Files::new();
    let file = files.write("windlass.toml", "[store]\nurl = \"sqlite:file.db\"\n[log]\nlevel = \"warn\"\n");
    let environment = vec![("WINDLASS__LOG__LEVEL".to_owned(), "debug".to_owned())];
    let sources = Sources { file: Some(file), environment, ..Sources::default() }.with_store(Some("sqlite:flag.db".into()));
    let loaded = config::load(&sources).unwrap();
    assert_eq!(loaded.config.log.level, "debug");
    assert_eq!(loaded.config.store.url, "sqlite:flag.db");
    assert_eq!(loaded.config.engine.retention.finished_hours, 168);
}

#[test]
fn environment_values_are_toml_or_else_text() {
    let loaded = with_environment(&[
        ("WINDLASS__ENGINE__RETENTION__FINISHED_HOURS", "12"),
        ("WINDLASS__STORE__URL", "sqlite:windlass.db"),
        ("WINDLASS__QUEUES__MAIL", "{ fair = false }"),
        ("WINDLASS__QUEUES__WEB__RATE", "{ per_second = 2.5, burst = 5 }"),
    ])
    .unwrap();
    assert_eq!(loaded.config.engine.retention.finished_hours, 12);
    assert!(!loaded.config.settings().queue("mail").fair);
    assert_eq!(loaded.config.settings().queue("web").rate.unwrap().burst, 5);
}

#[test]
fn an_environment_text_that_looks_like_a_number_is_a_text_where_one_is_wanted() {
    assert_eq!(with_environment(&[("WINDLASS__STORE__URL", "12345")]).unwrap().config.store.url, "12345");
    assert_eq!(with_environment(&[("WINDLASS__STORE__URL", "\"quoted\"")]).unwrap().config.store.url, "quoted");
}

#[test]
fn an_unknown_variable_is_named_with_its_nearest_key() {
    let error = with_environment(&[("WINDLASS__STORE__URLL", "x")]).unwrap_err();
    assert_eq!(error, "WINDLASS__STORE__URLL: unknown key `store.urll`; did you mean `store.url`?");
}

#[test]
fn a_section_is_merged_and_an_inline_table_replaced() {
    let loaded = from_text("[queues.mail]\nconcurrency = 3\nrate = { per_second = 1.0, burst = 1 }\n").unwrap();
    let mail = loaded.config.settings().queue("mail");
    assert_eq!((mail.concurrency, mail.fair), (Some(3), true));
    assert_eq!(problems("[queues.mail]\nrate = { per_second = 1.0 }\n"), ["windlass.toml:2: `queues.mail.rate` needs the key `burst`"]);
}

#[test]
fn a_name_that_breaks_the_grammar_is_refused_at_its_line() {
    let found = problems("[queues.\"two words\"]\nfair = true\n");
    assert!(found[0].starts_with("windlass.toml:1: `queues.two words` must be 1 to 128 of"), "{found:#?}");
}

#[test]
fn a_tenant_cap_needs_a_fair_queue() {
    let found = problems("[queues.mail]\nfair = false\ntenant_concurrency = 2\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("windlass.toml:3: `queues.mail.tenant_concurrency` needs `fair = true`"), "{found:#?}");
}

#[test]
fn limits_that_no_job_could_pass_are_refused_and_a_file_changes_nothing_live() {
    for (setting, says) in [
        ("concurrency = 0", "`queues.mail.concurrency` is 0, so no job could start"),
        ("tenant_concurrency = 0", "`queues.mail.tenant_concurrency` is 0, so no job could start"),
        ("key_concurrency = 4000000000", "`queues.mail.key_concurrency` is 4000000000, and must be at most 2147483647"),
        ("rate = { per_second = 0.0, burst = 1 }", "`queues.mail.rate` must have `per_second` above 0"),
        ("key_rate = { per_second = 1e-9, burst = 1 }", "`queues.mail.key_rate` must let as many as its `burst` start within a year"),
    ] {
        let found = problems(&format!("[queues.mail]\n{setting}\n"));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with(&format!("windlass.toml:2: {says}")), "{found:#?}");
    }
    for text in ["[queues.mail]\nlive = { concurrency = 1 }\n", "[live.mail]\nconcurrency = 1\n"] {
        assert!(problems(text)[0].contains("live"), "{:#?}", problems(text));
    }
}

#[test]
fn partitions_need_a_cluster_names_that_are_free_and_a_job_for_each() {
    let text = |queue: &str| format!("[store]\nurl = \"redis+cluster://one:6379\"\n[queues.mail]\n{queue}\n");
    assert_eq!(from_text(&text("partitions = 12\nconcurrency = 12")).unwrap().config.settings().queue("mail").partitions, 12);
    for (queue, line, said) in [
        ("partitions = 0", 4, "must be 1 to 256"),
        ("partitions = 300", 4, "must be 1 to 256"),
        ("partitions = 12\nconcurrency = 5", 4, "is more than `queues.mail.concurrency`"),
        ("fair = true\npartitions = 12\ntenant_concurrency = 5", 5, "is more than `queues.mail.tenant_concurrency`"),
        ("partitions = 12\nrate = { per_second = 1.0, burst = 5 }", 4, "is more than `queues.mail.rate.burst`"),
        ("partitions = 12\n[queues.\"mail:3\"]\nfair = true", 4, "`mail:3` is the name of a partition"),
    ] {
        let found = problems(&text(queue));
        assert!(found[0].starts_with(&format!("windlass.toml:{line}: `queues.mail.partitions`")) && found[0].contains(said), "{found:#?}");
    }
    let found = problems("[queues.mail]\npartitions = 2\n");
    assert!(found[0].starts_with("windlass.toml:2: `queues.mail.partitions` needs a Redis Cluster"), "{found:#?}");
}

#[test]
fn the_configuration_in_force_names_the_origin_of_every_value() {
    let shown = with_environment(&[("WINDLASS__LOG__LEVEL", "debug")]).unwrap().show();
    assert!(shown.contains("level = \"debug\"  # WINDLASS__LOG__LEVEL\n"), "{shown}");
    assert!(shown.contains("[store]\nurl = \"sqlite:windlass.db\"\n"), "{shown}");
}

#[test]
fn a_password_in_a_store_url_is_not_shown() {
    let shown = with_environment(&[("WINDLASS__STORE__URL", "postgres://app:hunter2@db/windlass")]).unwrap().show();
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_reload_knows_which_keys_changed() {
    let before = with_environment(&[]).unwrap();
    let after = with_environment(&[("WINDLASS__LOG__LEVEL", "debug"), ("WINDLASS__QUEUES__A__CONCURRENCY", "2")]).unwrap();
    assert_eq!(after.changed_since(&before), ["log.level", "queues.a.concurrency"]);
}

const SOURCE: &str = "control.token = \"t0ken\"\n[webhooks.sources.billing]\nscheme = \"stripe\"\n";

#[test]
fn a_secret_is_never_shown_nor_repeated_in_an_error() {
    let loaded = from_text(&format!("{SOURCE}secrets = [\"whsec_canary\"]\nforward_secret = \"whsec_canary\"\n")).unwrap();
    let shown = loaded.show();
    assert!(!shown.contains("canary"), "{shown}");
    assert!(shown.contains("secrets = \"***\""), "{shown}");
    assert!(!format!("{loaded:?}").contains("canary"), "debug output holds the secret");
    assert_eq!(
        problems(&format!("{SOURCE}forward_secret = 4711\n")),
        ["windlass.toml:4: `webhooks.sources.billing.forward_secret` must be a text in quotes"]
    );
}

#[test]
fn a_webhook_source_needs_a_token_and_a_name_without_colons() {
    let source = |name: &str| format!("[webhooks.sources.\"{name}\"]\nscheme = \"github\"\nsecrets = [\"x\"]\n");
    let found = problems(&source("hub"));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("webhooks.sources.hub is set and control.token is not") && found[0].contains("openssl rand"), "{found:#?}");
    let found = problems(&format!("control.token = \"t0ken\"\n{}", source("a:b")));
    assert!(found[0].contains("webhooks.sources.\"a:b\" is no usable name"), "{found:#?}");
    from_text(&format!("control.token = \"t0ken\"\n{}", source("hub"))).unwrap();
}

#[test]
fn what_hides_a_section_hides_inside_an_inline_table_too() {
    let job = "{ kind = \"http.call\", payload = { url = \"https://canary@h.example/p?k=canary\", headers = { X-Key = \"canary\" }, \
               list = [{ Authorization = \"canary\" }, { token = [\"canary\"] }], method = \"PUT\" } }";
    let text = format!("[schedules.night]\ncron = \"1 2 * * *\"\njob = {job}\n");
    let shown = from_text(&text).unwrap().show();
    assert!(!shown.contains("canary"), "{shown}");
    assert!(shown.contains("headers = \"***\"") && shown.contains("method = \"PUT\"") && shown.contains("?k=***"), "{shown}");
    let payload = "kind = \"k\"\npayload = { headers = { Authorization = \"Bearer canary\" } }\n";
    let section = format!("[schedules.night]\ncron = \"1 2 * * *\"\n[schedules.night.job]\n{payload}");
    assert!(!from_text(&section).unwrap().show().contains("canary"));
    let given = with_environment(&[("WINDLASS__SCHEDULES__NIGHT", &format!("{{ cron = \"1 2 * * *\", job = {job} }}"))]).unwrap().show();
    assert!(!given.contains("canary") && given.contains("method = \"PUT\""), "{given}");
}

#[test]
fn no_url_is_shown_with_what_lets_somebody_in() {
    let forward = "forward_to = \"https://app.example/in?key=canary&plain\"\nforward_secret = \"x\"\n";
    let shown = from_text(&format!("{SOURCE}secrets = [\"x\"]\n{forward}")).unwrap().show();
    assert!(shown.contains("forward_to = \"https://app.example/in?key=***&***\""), "{shown}");
    for (url, is) in [
        ("sqlite:windlass.db", "sqlite:windlass.db"),
        ("https://app.example/in", "https://app.example/in"),
        ("postgres://app:hunter2@db:5432/w?sslmode=require", "postgres://***:***@db:5432/w?sslmode=***"),
        ("https://hunter2@app.example/", "https://***@app.example/"),
        ("https://app.example/#hunter2", "https://app.example/#***"),
        // Mistyped, with a `/` in the password.
        ("postgres://app:hun/ter2@db/w", "postgres://***"),
    ] {
        assert_eq!(config::show::url_without_secrets(url), is);
    }
    let prompt = "[workers.extract.profiles.p]\ninstructions = \"Ask https://a.example/?key=canary first,\\nthen go on.\"\n";
    let shown = from_text(prompt).unwrap().show();
    assert!(shown.contains("Ask https://a.example/?key=*** first,") && shown.contains("then go on."), "{shown}");
}

#[test]
fn a_missing_secret_file_is_named_with_the_line_that_names_it() {
    let found = problems(&format!("{SOURCE}secret_files = [\n\"/nowhere/key\",\n]\n"));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].starts_with("windlass.toml:5: `webhooks.sources.billing.secret_files`: cannot read the secret file /nowhere/key"),
        "{found:#?}"
    );
}

#[test]
fn a_secret_file_that_everybody_can_read_is_warned_of() {
    let files = Files::new();
    let key = files.write("key", "whsec_c2VjcmV0c2VjcmV0c2VjcmV0\n");
    let text = format!("{SOURCE}secret_files = [\"{}\"]\n", key.display());
    assert!(from_text(&text).unwrap().warnings.is_empty());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = from_text(&text).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].to_string().contains("run chmod 600"), "{}", warnings[0]);
}

#[test]
fn a_file_with_a_secret_of_its_own_that_everybody_can_read_is_warned_of() {
    let files = Files::new();
    let file = files.write("windlass.toml", &format!("{SOURCE}secrets = [\"whsec_x\"]\n"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let loaded = config::load(&Sources { file: Some(file), ..Sources::default() }).unwrap();
    assert!(loaded.warnings.iter().any(|w| w.message.contains("`webhooks.sources.billing.secrets` is a secret in a file")));
}

#[test]
fn a_credential_fills_the_key_it_is_named_after() {
    let files = Files::new();
    let file = files.write("windlass.toml", SOURCE);
    let credentials = files.0.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("webhooks.sources.billing.secrets"), "whsec_one\nwhsec_two\n").unwrap();
    fs::write(credentials.join("unrelated"), "left alone").unwrap();
    let loaded = config::load(&Sources { file: Some(file), credentials: Some(credentials), ..Sources::default() }).unwrap();
    assert_eq!(loaded.config.webhooks.sources["billing"].secrets.len(), 2);
}

#[test]
fn a_credential_for_a_key_that_does_not_exist_is_refused() {
    let files = Files::new();
    fs::write(files.0.path().join("control.tokn"), "x").unwrap();
    let error = config::load(&Sources { credentials: Some(files.0.path().into()), ..Sources::default() }).unwrap_err().to_string();
    assert!(error.starts_with("credential ") && error.contains("unknown key `control"), "{error}");
}

#[test]
fn every_secret_field_of_every_room_is_known_as_a_secret() {
    let mut fields = Vec::new();
    visit_sources(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut |text| {
        for line in text.lines().map(str::trim) {
            let Some((name, kind)) = line.strip_prefix("pub ").and_then(|field| field.split_once(": ")) else { continue };
            if kind.ends_with(',') && kind.contains("SecretString") {
                fields.push(name.to_owned());
            }
        }
    });
    assert!(fields.contains(&"forward_secret".to_owned()), "the search for fields finds none: {fields:?}");
    for field in fields {
        assert!(config::secrets::is_secret(&field), "`{field}` holds a secret; add it to config::secrets::SECRET_KEYS");
    }
}

fn visit_sources(directory: &std::path::Path, visit: &mut dyn FnMut(&str)) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit_sources(&path, visit);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            visit(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn the_manual_says_the_defaults_that_the_rooms_have() {
    let config = config::load(&Sources::default()).unwrap().config;
    let same = |said: &dyn std::fmt::Debug, is: &dyn std::fmt::Debug| assert_eq!(format!("{said:#?}"), format!("{is:#?}"));
    same(&config.store.sqlite, &windlass::store::sqlite::Config::default());
    same(&config.control, &windlass::control::Config::default());
    same(&config.engine, &windlass::engine::Config::default());
    same(&config.outbound, &windlass::clients::http::Config::default());
    same(&config.providers, &windlass::clients::Config::default());
    same(&config.workers, &windlass::workers::Config::default());
    same(&config.log, &windlass::telemetry::logs::Config::default());
    let mut kinds = windlass::workers::default_kinds();
    kinds.retain(|kind, _| config.kinds.contains_key(kind));
    same(&config.kinds, &kinds);
}

/// The keys that stand in the manual with a `#`, because they have no default, are those that exist, and their examples fit.
#[test]
fn the_manual_can_be_uncommented_as_a_whole() {
    let found = from_text(&config::uncommented_manual()).expect_err("it names secret files that are not there");
    let wrong: Vec<_> =
        found.iter().filter(|problem| !problem.contains("cannot read the secret file") && !problem.contains("both set")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_manual_names_every_key_there_is() {
    let manual: toml::Table = config::uncommented_manual().parse().unwrap();
    let mut sections = Vec::new();
    collect_sections(&manual, String::new(), &mut sections);
    let mut asked = 0;
    for (section, _) in &sections {
        // Among the sections of one kind, one that shows a key is enough.
        let free = ["queues", "kinds", "schedules", "webhooks.sources"].into_iter().find(|free| section.starts_with(free));
        let siblings = sections.iter().filter(|(other, _)| other == section || free.is_some_and(|free| other.starts_with(free)));
        let keys: Vec<&String> = siblings.flat_map(|(_, keys)| keys).collect();
        // A section that takes any name has no list of known ones.
        let found = match from_text(&format!("[{section}]\nzzzzzzzz = 1\n")) {
            Err(found) => found,
            Ok(_) => continue,
        };
        let Some(known) = found.iter().find_map(|problem| problem.split_once("known here are ")) else { continue };
        asked += 1;
        for key in known.1.split(", ") {
            assert!(keys.iter().any(|written| *written == key), "[{section}] {key} is not in config/default.toml");
        }
    }
    assert!(asked > 15, "only {asked} sections were compared");
}

fn collect_sections(table: &toml::Table, path: String, sections: &mut Vec<(String, Vec<String>)>) {
    if !path.is_empty() {
        sections.push((path.clone(), table.keys().cloned().collect()));
    }
    for (key, value) in table {
        if let toml::Value::Table(below) = value {
            let key = if key.contains('.') { format!("{key:?}") } else { key.clone() };
            collect_sections(below, if path.is_empty() { key } else { format!("{path}.{key}") }, sections);
        }
    }
}

#[test]
fn an_empty_text_leaves_an_optional_setting_unset() {
    assert!(from_text("").unwrap().config.providers.openai.temperature.is_some());
    assert!(from_text("[providers.openai]\ntemperature = \"\"\n").unwrap().config.providers.openai.temperature.is_none());
    assert!(with_environment(&[("WINDLASS__CONTROL__TOKEN", "")]).unwrap().config.control.token.is_none());
}

#[test]
fn the_example_lacks_nothing_but_its_secret_files() {
    let example = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config/example.toml"));
    let invalid = config::load(&Sources { file: Some(example.into()), ..Sources::default() }).expect_err("its secrets are not here");
    for problem in &invalid.0 {
        assert!(problem.message.contains("cannot read the secret file /etc/windlass/"), "{problem}");
    }
}

#[test]
fn a_variable_with_one_underscore_too_few_is_warned_of() {
    let loaded = with_environment(&[("WINDLASS_STORE_URL", "sqlite:x.db"), ("WINDLASS_CONFIG", "x")]).unwrap();
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].to_string().starts_with("WINDLASS_STORE_URL: this variable sets nothing"), "{}", loaded.warnings[0]);
}
