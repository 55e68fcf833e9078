//! The unit file: accepted by systemd's own checker, shut in as far as promised, and in step with the program.

use crate::support::{on_path, program};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn shipped(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(file);
    fs::read_to_string(path).expect("it is shipped")
}

/// The unit in a folder of its own, its program where this build put it: the checker wants it to be there.
fn installed() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let unit = folder.path().join("windlass.service");
    let text = shipped("windlass.service").replace("/usr/bin/windlass", env!("CARGO_BIN_EXE_windlass"));
    fs::write(&unit, text).expect("a file");
    (folder, unit)
}

fn analyze(arguments: &[&str], unit: &Path) -> Output {
    let analyze = program("systemd", || on_path("systemd-analyze"));
    Command::new(analyze).args(arguments).arg(unit).output().expect("a program that is there runs")
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn systemd_accepts_the_unit_without_a_word() {
    let (_folder, unit) = installed();
    let output = analyze(&["verify", "--man=no"], &unit);
    let about_ours: Vec<String> = told(&output).lines().filter(|line| line.contains("windlass.service")).map(str::to_owned).collect();
    assert!(output.status.success() && about_ours.is_empty(), "{}", told(&output));
}

#[test]
fn the_unit_is_exposed_at_most_one_and_a_half() {
    let (_folder, unit) = installed();
    let output = analyze(&["security", "--offline=true", "--threshold=15"], &unit);
    assert!(output.status.success(), "{}", told(&output));
}

/// The values of a key, in order.
fn values<'u>(unit: &'u str, key: &str) -> Vec<&'u str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn the_unit_calls_the_program_as_the_program_wants_to_be_called() {
    let unit = shipped("windlass.service");
    assert_eq!(values(&unit, "ExecStart"), ["/usr/bin/windlass run --config /etc/windlass/windlass.toml"]);
    assert_eq!(values(&unit, "ExecReload"), ["/bin/kill -HUP $MAINPID"]);
    assert_eq!((values(&unit, "Type"), values(&unit, "DynamicUser")), (vec!["notify"], vec!["yes"]));
    let defaults: toml::Table = include_str!("../../config/default.toml").parse().expect("TOML");
    let seconds = |key: &str| values(&unit, key)[0].parse::<i64>().expect("seconds");
    let grace_ms = defaults["engine"]["grace_ms"].as_integer().expect("milliseconds");
    assert!(seconds("TimeoutStopSec") * 1000 >= grace_ms + 10_000, "the manager must wait ten seconds longer than the drain");
    for credential in values(&unit, "LoadCredential") {
        let (key, file) = credential.split_once(':').expect("key:file");
        assert_eq!(file, format!("windlass.{key}"), "the file is named like the key");
        let (section, _) = key.rsplit_once('.').expect("a section");
        let known = section.split('.').try_fold(&toml::Value::Table(defaults.clone()), |table, part| table.get(part)).is_some();
        assert!(known, "{key} fills no key of the configuration");
    }
}

#[test]
fn the_sample_of_the_environment_names_keys_that_exist() {
    let defaults: toml::Table = include_str!("../../config/default.toml").parse().expect("TOML");
    let sample = shipped("windlass.env");
    let names =
        sample.lines().filter_map(|line| line.strip_prefix("#WINDLASS__")).filter_map(|line| line.split_once('=')).map(|(name, _)| name);
    let names: Vec<Vec<String>> = names.map(|name| name.split("__").map(str::to_lowercase).collect()).collect();
    assert!(!names.is_empty());
    for path in names {
        let known = path.iter().try_fold(&toml::Value::Table(defaults.clone()), |table, part| table.get(part)).is_some();
        assert!(known, "{} is not in config/default.toml", path.join("."));
    }
}
