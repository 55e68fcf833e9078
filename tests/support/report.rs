//! The closing lines of a run: what ran on which store, what was left out and why. The test harness swallows what passing
//! tests print, so the lines are written when the process ends, straight to standard error.

use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::{Mutex, Once, PoisonError},
};

static LINES: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());
static AT_EXIT: Once = Once::new();

/// Adds `amount` to the closing line that reads `<amount> <what>`.
pub fn note(what: &str, amount: u64) {
    *LINES.lock().unwrap_or_else(PoisonError::into_inner).entry(what.to_owned()).or_default() += amount;
    AT_EXIT.call_once(|| {
        // SAFETY: `print` is a plain function that neither unwinds nor touches thread-locals.
        let registered = unsafe { libc::atexit(print) };
        assert_eq!(registered, 0, "the closing line of the run cannot be registered");
    });
}

extern "C" fn print() {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut text = String::from("\n");
    for (what, amount) in &*lines {
        text.push_str(&format!("  {amount} {what}\n"));
    }
    // Nobody is left to tell if standard error is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
