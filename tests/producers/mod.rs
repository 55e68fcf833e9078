//! The examples for producers, run as they stand against a real server, each as a user that may do nothing but enqueue.

use crate::support::{TestStore, note, on_path, postgres_server, program};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A database whose user `name` may enqueue and make a table of its own, and its address for that user.
async fn application(name: &str) -> Option<(String, tokio_postgres::Client)> {
    if !TestStore::is_wanted("postgres") {
        return None;
    }
    let server = postgres_server().await;
    let database = server.fresh().await;
    let client = server.connect(&database).await;
    let user = format!("CREATE ROLE {name} LOGIN; GRANT windlass_producer TO {name}; GRANT CREATE ON SCHEMA public TO {name}");
    client.batch_execute(&user).await.expect("a role can be made");
    Some((server.url_of(name, &database), client))
}

/// The examples' folder for one language.
fn example(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/postgres").join(language)
}

/// Where packages of other languages are kept between runs.
fn packages(language: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(language);
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    folder
}

fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{out}\n{err}");
    out.into_owned()
}

/// What every example leaves: its words, and the jobs that it committed.
async fn assert_done(words: &str, jobs: &tokio_postgres::Client, reports: i64) {
    assert!(words.contains("refused /priority: must be 0 (first) to 9 (last)"), "{words}");
    let count = "SELECT count(*) FILTER (WHERE kind = 'order.confirm' AND queue = 'mail' AND payload = '{\"order\": 17}'), count(*) FILTER (WHERE kind = 'report.build'), count(*) \
        FROM windlass.jobs";
    let row = jobs.query_one(count, &[]).await.expect("a count");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2)), (1, reports, 1 + reports), "{words}");
}

#[tokio::test]
async fn python_with_psycopg() {
    let Some((url, jobs)) = application("app_python").await else { return };
    let python = program("python3-pip", || on_path("python3").filter(|python| has_pip(python)));
    let packages = packages("python");
    if !packages.join("psycopg").exists() {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--target"]).arg(&packages).arg("-r").arg(example("python").join("requirements.txt"));
        output(&mut pip);
    }
    let mut run = Command::new(&python);
    run.arg(example("python").join("enqueue.py")).env("PYTHONPATH", &packages).env("DATABASE_URL", url);
    assert_done(&output(&mut run), &jobs, 3).await;
}

fn has_pip(python: &Path) -> bool {
    Command::new(python).args(["-m", "pip", "--version"]).output().is_ok_and(|said| said.status.success())
}

#[tokio::test]
async fn node_with_node_postgres() {
    let Some((url, jobs)) = application("app_node").await else { return };
    let npm = program("npm", || on_path("npm"));
    let packages = packages("node");
    for file in ["package.json", "package-lock.json", "enqueue.js"] {
        std::fs::copy(example("node").join(file), packages.join(file)).expect("the example can be copied");
    }
    output(Command::new(npm).args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(&packages));
    let mut run = Command::new(program("nodejs", || on_path("node")));
    run.arg("enqueue.js").current_dir(&packages).env("DATABASE_URL", url);
    assert_done(&output(&mut run), &jobs, 3).await;
}

#[tokio::test]
async fn go_with_pgx_where_there_is_go() {
    let Some((url, jobs)) = application("app_go").await else { return };
    let Some(go) = on_path("go") else {
        note("example left out, because there is no Go here", 1);
        return;
    };
    let packages = packages("go");
    for file in ["go.mod", "main.go"] {
        std::fs::copy(example("go").join(file), packages.join(file)).expect("the example can be copied");
    }
    let mut run = Command::new(go);
    run.args(["run", "-mod=mod", "."]).current_dir(&packages).env("DATABASE_URL", url);
    assert_done(&output(&mut run), &jobs, 0).await;
}

#[tokio::test]
async fn rust_with_tokio_postgres() {
    let Some((url, jobs)) = application("app_rust").await else { return };
    let own = std::env::current_exe().expect("a test has a place");
    let built = own.parent().and_then(Path::parent).expect("deps/ is in the build's folder").join("examples/enqueue-postgres");
    assert_done(&output(Command::new(built).env("DATABASE_URL", url)), &jobs, 0).await;
}
