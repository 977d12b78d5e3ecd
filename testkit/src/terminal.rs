// SPDX-License-Identifier: Apache-2.0
//! A command in a terminal, driven as a person would: keys in, screen out.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use crate::corten::exit_code;
use crate::sandbox::Sandbox;

const PATIENCE: Duration = Duration::from_secs(60);
/// What is written behind all that a command has shown, to know that it was read.
const MARK: &str = "\u{0}\u{4}all shown\u{4}\u{0}";

/// The person's side of a terminal in which a command runs.
pub struct Terminal {
    keyboard: File,
    /// The command's side, held to look at its settings.
    screen_side: File,
    shown: Arc<Mutex<Vec<u8>>>,
    child: Child,
}

impl Terminal {
    /// Starts `inside` in a terminal of this many rows and columns.
    ///
    /// # Panics
    /// When there is no terminal to be had, or the command does not start.
    pub fn start(sandbox: &Sandbox, inside: &Command, rows: u16, columns: u16) -> Terminal {
        let pair = nix::pty::openpty(None, None).expect("a pseudo-terminal");
        let (keyboard, screen_side) = (File::from(pair.master), File::from(pair.slave));
        set_size(&keyboard, rows, columns);
        let stdio = || Stdio::from(screen_side.try_clone().expect("a descriptor"));
        // setsid gives the command this terminal as its controlling one, so that it hears of Ctrl-C and of new sizes.
        // Whoever runs the tests in the background may have had them ignore Ctrl-C, which would be inherited.
        let mut command = crate::process::command("env");
        command.args(["--default-signal=INT,QUIT", "setsid", "--ctty", "--wait"]);
        command.arg(inside.get_program()).args(inside.get_args());
        command.envs(inside.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(stdio()).stdout(stdio()).stderr(stdio());
        let child = sandbox.run(move || command.spawn().expect("setsid starts"));
        let shown = Arc::new(Mutex::new(Vec::new()));
        let mut reader = keyboard.try_clone().expect("a descriptor");
        let screen = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The last close of the other side ends the reading with an error.
            while let Ok(count) = reader.read(&mut buffer) {
                if count == 0 {
                    break;
                }
                screen.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
            }
        });
        Terminal { keyboard, screen_side, shown, child }
    }

    /// Presses these keys.
    pub fn send(&self, keys: &str) {
        (&self.keyboard).write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    /// Everything shown so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap_or_else(PoisonError::into_inner)).replace(MARK, "")
    }

    /// Waits until all that was written so far has been read.
    #[track_caller]
    fn read_all(&self) {
        (&self.screen_side).write_all(MARK.as_bytes()).expect("the terminal shows it");
        let begun = Instant::now();
        let is_there = || {
            let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            shown.windows(MARK.len()).any(|window| window == MARK.as_bytes())
        };
        while !is_there() {
            assert!(begun.elapsed() < PATIENCE, "nobody reads what is shown:\n{}", self.shown());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until this has been shown.
    ///
    /// # Panics
    /// When it never is, with what was.
    #[track_caller]
    pub fn expect(&self, text: &str) {
        let begun = Instant::now();
        while !self.shown().contains(text) {
            assert!(begun.elapsed() < PATIENCE, "{text:?} was not shown:\n{}", self.shown());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Gives the terminal another size, as dragging a window does.
    pub fn resize(&self, rows: u16, columns: u16) {
        set_size(&self.keyboard, rows, columns);
    }

    /// Gives the terminal another size and does so again until this has been shown: ctr and docker begin to listen for
    /// new sizes only after the container runs, and one that comes before is lost to them.
    ///
    /// # Panics
    /// When it never is, with what was.
    #[track_caller]
    pub fn resize_until(&self, rows: u16, columns: u16, text: &str) {
        let begun = Instant::now();
        while !self.shown().contains(text) {
            assert!(begun.elapsed() < PATIENCE, "{text:?} was not shown:\n{}", self.shown());
            // The kernel tells of a size only when it is another one.
            self.resize(rows, columns - 1);
            self.resize(rows, columns);
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Whether what is typed is shown by the terminal itself: off while a raw session runs, on before and after.
    pub fn echoes(&self) -> bool {
        let settings = tcgetattr(&self.screen_side).expect("a terminal has settings");
        settings.local_modes.contains(rustix::termios::LocalModes::ECHO)
    }

    /// Waits for the command's end and gives its exit code. [`Terminal::shown`] is all that it has shown then.
    ///
    /// # Panics
    /// When it does not end, with what was shown.
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                self.read_all();
                return exit_code(status);
            }
            assert!(begun.elapsed() < PATIENCE, "the command does not end:\n{}", self.shown());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_size(terminal: &File, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("a terminal has a size");
}
