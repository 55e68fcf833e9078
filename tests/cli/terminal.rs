//! A terminal of its own for a program: what it shows is kept as a screen, keys are pressed, and what became of its modes can be seen.

use super::program::{PATIENCE, Place};
use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, ExitStatus},
    sync::{Arc, Condvar, Mutex},
    time::Instant,
};

pub struct Terminal {
    /// The program's side; kept open, so that its modes can be looked at when the program is gone.
    inside: OwnedFd,
    outside: File,
    shown: Arc<Shown>,
    child: Child,
    before: libc::termios,
}

struct Shown {
    screen: Mutex<vt100::Parser>,
    changed: Condvar,
}

impl Terminal {
    /// `windlass` with `args`, on a terminal of so many rows and columns.
    pub fn run(place: &Place, args: &[&str], environment: &[(&str, &str)], rows: u16, columns: u16) -> Self {
        let (outside, inside) = open(rows, columns);
        let mut command = place.command(args);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR").envs(environment.iter().copied());
        attach(&mut command, &inside);
        let before = modes(&inside);
        let child = command.spawn().unwrap();
        let parser = vt100::Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 0);
        let shown = Arc::new(Shown { screen: Mutex::new(parser), changed: Condvar::new() });
        let (mut reader, keeps) = (outside.try_clone().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut bytes) {
                keeps.screen.lock().unwrap().process(&bytes[..read]);
                keeps.changed.notify_all();
            }
        });
        Self { inside, outside, shown, child, before }
    }

    /// Waits until the screen is as `is_so` has it.
    #[track_caller]
    pub fn wait(&self, what: &str, is_so: impl Fn(&vt100::Screen) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut parser = self.shown.screen.lock().unwrap();
        while !is_so(parser.screen()) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} never came; the screen is\n{}", parser.screen().contents());
            parser = self.shown.changed.wait_timeout(parser, left).unwrap().0;
        }
        parser.screen().contents()
    }

    /// Waits until `text` is on the screen.
    #[track_caller]
    pub fn sees(&self, text: &str) -> String {
        self.wait(text, |screen| screen.contents().contains(text))
    }

    pub fn press(&mut self, keys: &str) {
        self.outside.write_all(keys.as_bytes()).unwrap();
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        self.shown.screen.lock().unwrap().screen_mut().set_size(rows.try_into().unwrap(), columns.try_into().unwrap());
        // SAFETY: the size is read only, and the descriptor is ours. The kernel tells the program by SIGWINCH.
        assert_eq!(unsafe { libc::ioctl(self.outside.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }, 0);
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: kill has no preconditions; the child is ours and not reaped yet.
        assert_eq!(unsafe { libc::kill(i32::try_from(self.child.id()).unwrap(), signal) }, 0);
    }

    /// Whether the program reads keys as they are pressed, unseen.
    pub fn is_raw(&self) -> bool {
        modes(&self.inside).c_lflag & (libc::ICANON | libc::ECHO) == 0
    }

    /// Waits for the end, which leaves the terminal as it was.
    #[track_caller]
    pub fn ends_in_order(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let said = self.wait("the screen as it was before", |screen| !screen.alternate_screen() && !screen.hide_cursor());
        let (before, after) = (&self.before, modes(&self.inside));
        let modes = |modes: &libc::termios| (modes.c_iflag, modes.c_oflag, modes.c_cflag, modes.c_lflag, modes.c_cc);
        assert_eq!(modes(before), modes(&after), "the terminal has other modes than before");
        (status, said)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both sides of a new terminal: who sits at it, and the program's.
fn open(rows: u16, columns: u16) -> (File, OwnedFd) {
    let (mut outside, mut inside) = (-1, -1);
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: both descriptors are written before it returns 0, and are nobody else's.
    unsafe {
        let (no_name, no_modes) = (std::ptr::null_mut(), std::ptr::null());
        assert_eq!(libc::openpty(&raw mut outside, &raw mut inside, no_name, no_modes, &raw const size), 0);
        for side in [outside, inside] {
            assert_eq!(libc::fcntl(side, libc::F_SETFD, libc::FD_CLOEXEC), 0);
        }
        (File::from_raw_fd(outside), OwnedFd::from_raw_fd(inside))
    }
}

/// The terminal becomes the program's own, as a login gives it.
fn attach(command: &mut Command, inside: &OwnedFd) {
    let side = || inside.try_clone().unwrap();
    command.stdin(side()).stdout(side()).stderr(side());
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; setsid(2) and ioctl(2) are such.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
        });
    }
}

fn modes(inside: &OwnedFd) -> libc::termios {
    // SAFETY: all zeros is a termios, and the call overwrites it.
    unsafe {
        let mut modes = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(inside.as_raw_fd(), &raw mut modes), 0);
        modes
    }
}
