//! `windlass doctor`: examines the store, the machine and the configuration, and says of each line that is not well what to do. Where a
//! daemon works on the store it is asked, since what counts is how things look from there.

use super::{
    Place, door,
    exit::Exit,
    output::{self, plain},
};
use crate::{
    clock::Clock,
    config::{self, Config, Loaded},
    control::wire::DoctorAnswer,
    daemon,
    store::{
        self,
        examine::{CONNECTION, Extent, Finding, Level},
    },
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Read the whole file of a SQLite store too, and look for damage
    #[arg(long)]
    deep: bool,
    /// Let warnings fail too
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    format: output::Format,
}

pub fn run(place: &Place, args: &Args) -> anyhow::Result<()> {
    let loaded = config::load(&place.sources())?;
    let answer = door::runtime()?.block_on(examine(place, &loaded, args))?;
    args.format.show(&answer, lines)?;
    ended(&answer, args.strict)
}

async fn examine(place: &Place, loaded: &Loaded, args: &Args) -> anyhow::Result<DoctorAnswer> {
    let config = &loaded.config;
    let file = store::sqlite_path(&config.store.url);
    if args.deep && file.is_none() {
        return Err(
            Exit::Usage.because("--deep reads the file of a SQLite store; a server has its own means (`pg_amcheck`, `redis-check-aof`)")
        );
    }
    let mut findings = match door::daemon(place, config).await? {
        Some(client) => client.doctor().await?.findings,
        None => from_here(config).await,
    };
    findings.extend(loaded.warnings.iter().map(|problem| {
        Finding::warn("configuration", problem.to_string(), "mend it; `windlass check` shows what is in force, and where it was written")
    }));
    if let Some(path) = file.filter(|_| args.deep) {
        findings.push(store::sqlite::examine_deep(&path, &config.store.sqlite).await?);
    }
    Ok(DoctorAnswer::of(Clock::System.now(), findings))
}

async fn from_here(config: &Config) -> Vec<Finding> {
    let found = store::examine(&config.store.url, &config.store_options(), Extent::Everything).await;
    let found = found.unwrap_or_else(|error| vec![Finding::unreachable(&error)]);
    [found, daemon::machine(config).examine(Clock::System.now())].concat()
}

/// The level, the check, what it says; and below it what to do.
fn lines(answer: &DoctorAnswer) -> String {
    let width = answer.findings.iter().map(|finding| finding.check.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in &answer.findings {
        text += &format!("{:<4}  {:<width$}  {}\n", finding.level.as_str(), plain(&finding.check), plain(&finding.says));
        if let Some(remedy) = &finding.remedy {
            text += &format!("{:<4}  {:<width$}  -> {}\n", "", "", plain(remedy));
        }
    }
    text
}

fn ended(answer: &DoctorAnswer, is_strict: bool) -> anyhow::Result<()> {
    let least = if is_strict { Level::Warn } else { Level::Fail };
    let bad: Vec<&Finding> = answer.findings.iter().filter(|finding| finding.level >= least).collect();
    if let Some(away) = bad.iter().find(|finding| finding.is_of(CONNECTION) && finding.level == Level::Fail) {
        return Err(Exit::Unavailable.because(format!("the store cannot be reached: {}", away.says)));
    }
    if bad.is_empty() {
        return Ok(());
    }
    let mut names: Vec<&str> = bad.iter().map(|finding| finding.check.as_ref()).collect();
    names.dedup();
    let are_not_well = if names.len() == 1 { "is not well" } else { "are not well" };
    Err(Exit::Configuration.because(format!("{} {are_not_well}; each line says what to do", names.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Timestamp;

    fn answer(findings: Vec<Finding>) -> DoctorAnswer {
        DoctorAnswer::of(Timestamp(0), findings)
    }

    #[test]
    fn remedy_stands_below_what_is_not_well() {
        let shown = lines(&answer(vec![Finding::ok("disk", "much"), Finding::warn("durability", "a\u{7}b", "mend it")]));
        assert_eq!(shown, "ok    disk        much\nwarn  durability  a b\n                  -> mend it\n");
    }

    #[test]
    fn end_is_that_of_the_worst_line() {
        let code = |findings: Vec<Finding>, is_strict| ended(&answer(findings), is_strict).err().map(|error| Exit::of(&error));
        let (ok, warn, fail) = (Finding::ok("a", "b"), Finding::warn("a", "b", "c"), Finding::fail("a", "b", "c"));
        assert_eq!(code(vec![ok.clone(), warn.clone()], false), None);
        assert_eq!(code(vec![ok.clone(), warn], true), Some(Exit::Configuration));
        assert_eq!(code(vec![ok, fail.clone()], false), Some(Exit::Configuration));
        let away = Finding::unreachable(&store::Error::Unavailable("nobody is there".into()));
        assert_eq!(code(vec![fail, away], false), Some(Exit::Unavailable));
    }
}
