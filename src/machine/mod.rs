//! What the machine gives this process, as an examination says it: files it may open, a clock that is set, room on the disk, certificates
//! that are still good. Asks the kernel and reads files; knows no store and no configuration.

pub mod certificates;

use crate::{
    job::Timestamp,
    store::examine::{Finding, bytes, disk_space, space_below},
};
use std::{io, mem::MaybeUninit, path::PathBuf};

/// What is to be looked at.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Files and sockets that may be open at once when all is in use.
    pub files: u64,
    /// Whose disk is looked at.
    pub folder: Option<PathBuf>,
    /// Files of certificates, by the settings that name them.
    pub certificates: Vec<(String, PathBuf)>,
}

impl Machine {
    #[must_use]
    pub fn examine(&self, now: Timestamp) -> Vec<Finding> {
        let mut findings = vec![open_files(self.files), clock(), memory()];
        findings.extend(self.folder.as_deref().map(|folder| {
            let shown = folder.display().to_string();
            space_below(folder).map_or_else(
                || {
                    Finding::unknown(
                        "disk_space",
                        format!("the system does not say how much is left for {shown}"),
                        "see that it may be read",
                    )
                },
                |(free, total)| disk_space(&shown, free, total),
            )
        }));
        findings.extend(self.certificates.iter().map(|(key, path)| certificates::examine(key, path, now)));
        findings
    }
}

/// `needed` at once. What is over the limit is refused, one connection here, one file there.
fn open_files(needed: u64) -> Finding {
    const CHECK: &str = "open_files";
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: `limit` is large enough; it is read only if the call says it was filled.
    let filled = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) } == 0;
    // SAFETY: as above.
    match filled.then(|| unsafe { limit.assume_init() }) {
        Some(limit) => files(limit.rlim_cur, needed),
        None => Finding::unknown(CHECK, io::Error::last_os_error(), "see `ulimit -n`"),
    }
}

fn files(allowed: u64, needed: u64) -> Finding {
    const CHECK: &str = "open_files";
    let says = format!("{allowed} files may be open at once, and up to {needed} are");
    let remedy = "raise the limit (`LimitNOFILE=` in the unit, `ulimit -n`), or lower `control.max_connections`";
    let found = if allowed < needed { Finding::warn(CHECK, says, remedy) } else { Finding::ok(CHECK, says) };
    found.measured(allowed as f64, "files")
}

/// Whether somebody sets it.
fn clock() -> Finding {
    const CHECK: &str = "clock_set";
    // SAFETY: all-zero is a value of this plain structure, and with `modes` 0 the call only reads.
    let (state, status) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex.status)
    };
    match state {
        -1 => Finding::unknown(CHECK, io::Error::last_os_error(), "look at `timedatectl`, or on the machine below the container"),
        _ if state == libc::TIME_ERROR || status & libc::STA_UNSYNC != 0 => Finding::warn(
            CHECK,
            "nobody sets this machine's clock: schedules, tokens and webhooks' signatures go by it",
            "run an NTP client, such as chrony or systemd-timesyncd; in a virtual machine the host may do it unseen",
        ),
        _ => Finding::ok(CHECK, "this machine's clock is set by the network or by its host"),
    }
}

/// A machine that is out of memory ends processes of its own choice.
const MEMORY_TO_WARN: u64 = 128 << 20;

fn memory() -> Finding {
    const CHECK: &str = "free_memory";
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    match available(&text) {
        None => Finding::unknown(CHECK, "/proc/meminfo does not say", "see `free`"),
        Some(free) => {
            let says = format!("{} of memory are to be had", bytes(free));
            let found = match free < MEMORY_TO_WARN {
                true => Finding::warn(CHECK, says, "give the machine more memory, or other programs another machine"),
                false => Finding::ok(CHECK, says),
            };
            found.measured(free as f64, "bytes")
        }
    }
}

fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::examine::Level;

    #[test]
    fn fewer_files_than_all_connections_need_are_a_warning() {
        assert_eq!([files(1024, 1280).level, files(1280, 1280).level], [Level::Warn, Level::Ok]);
        assert_eq!(open_files(0).level, Level::Ok);
        assert!(open_files(u64::MAX).says.contains("files may be open"));
    }

    #[test]
    fn memory_is_what_the_kernel_says_can_be_had() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
    }

    #[test]
    fn every_line_says_what_to_do_or_that_all_is_well() {
        let machine =
            Machine { files: 10, folder: Some("/nowhere/at/all".into()), certificates: vec![("a.ca_file".into(), "/nowhere".into())] };
        let findings = machine.examine(Timestamp(0));
        assert_eq!(findings.len(), 5);
        assert!(findings.iter().all(|finding| (finding.level == Level::Ok) == finding.remedy.is_none()), "{findings:?}");
        assert_eq!(findings[3].level, Level::Warn);
        assert_eq!(findings[4].level, Level::Fail);
    }
}
