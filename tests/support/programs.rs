//! Programs of other people that tests run. One that is missing is installed from Debian's packages where that is allowed.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

/// Finds a program by `find`, or installs `package` first.
///
/// # Panics
/// When it cannot be had, with a sentence that says how to get it.
pub fn program(package: &str, find: impl Fn() -> Option<PathBuf>) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = find() {
        return found;
    }
    let install = || apt(&["install", "-y", "--no-install-recommends", package]);
    if !install() && apt(&["update"]) {
        install();
    }
    find().unwrap_or_else(|| {
        panic!("the tests need Debian's package {package}: `apt-get install {package}` (WINDLASS_TEST_STORES=sqlite leaves out what only Postgres needs)")
    })
}

/// `name` on the path or among the system's programs.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).map(|folder| folder.join(name)).find(|file| Path::is_file(file))
}

fn apt(args: &[&str]) -> bool {
    let done = Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").output();
    done.is_ok_and(|done| done.status.success())
}
