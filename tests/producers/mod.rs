//! The examples in other languages, run as they stand against a real server: producers, each as a user that may do nothing but enqueue, and workers.

mod http;
mod postgres;
mod redis;

use crate::support::{note, on_path, program};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The examples' folder for one store and language.
fn example(store: &str, language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(store).join(language)
}

/// Where packages of other languages are kept between runs.
fn packages(store: &str, language: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(store).join(language);
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    folder
}

fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{out}\n{err}");
    out.into_owned()
}

/// `enqueue.py`, beside what it needs, of which `package` is the last that pip puts there.
fn python_example(store: &str, package: &str) -> Command {
    let python = program("python3-pip", || on_path("python3").filter(|python| has_pip(python)));
    let packages = packages(store, "python");
    if !packages.join(package).exists() {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--target"]).arg(&packages);
        output(pip.arg("-r").arg(example(store, "python").join("requirements.txt")));
    }
    let mut run = Command::new(&python);
    run.arg(example(store, "python").join("enqueue.py")).env("PYTHONPATH", &packages);
    run
}

fn has_pip(python: &Path) -> bool {
    Command::new(python).args(["-m", "pip", "--version"]).output().is_ok_and(|said| said.status.success())
}

/// `enqueue.js`, beside what it needs.
fn node_example(store: &str) -> Command {
    let npm = program("npm", || on_path("npm"));
    let packages = packages(store, "node");
    for file in ["package.json", "package-lock.json", "enqueue.js"] {
        std::fs::copy(example(store, "node").join(file), packages.join(file)).expect("the example can be copied");
    }
    output(Command::new(npm).args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(&packages));
    let mut run = Command::new(program("nodejs", || on_path("node")));
    run.arg("enqueue.js").current_dir(&packages);
    run
}

/// `main.go`, where there is Go.
fn go_example(store: &str) -> Option<Command> {
    let Some(go) = on_path("go") else {
        note("example left out, because there is no Go here", 1);
        return None;
    };
    let packages = packages(store, "go");
    for file in ["go.mod", "main.go"] {
        std::fs::copy(example(store, "go").join(file), packages.join(file)).expect("the example can be copied");
    }
    let mut run = Command::new(go);
    run.args(["run", "-mod=mod", "."]).current_dir(&packages);
    Some(run)
}
