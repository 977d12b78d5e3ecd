// SPDX-License-Identifier: Apache-2.0
//! The user's terminal: its size, and raw mode that is undone however the program ends.

use std::io::IsTerminal;
use std::sync::{Mutex, Once, PoisonError};

use api_types::Size;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// What to put back, while the terminal is raw.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The size of the terminal that stdout, or else stdin, is.
pub(crate) fn size() -> Option<Size> {
    let size = tcgetwinsize(rustix::stdio::stdout()).or_else(|_| tcgetwinsize(rustix::stdio::stdin())).ok()?;
    Some(Size { rows: size.ws_row, cols: size.ws_col })
}

/// Whether the user types into a terminal.
pub(crate) fn is_interactive() -> bool {
    std::io::stdin().is_terminal()
}

/// The terminal in raw mode; dropping this puts it back.
#[derive(Debug)]
#[must_use]
pub(crate) struct Raw(());

impl Raw {
    /// Put the terminal that stdin is into raw mode: every key is for the container, Ctrl-C included.
    pub(crate) fn enter() -> std::io::Result<Raw> {
        let stdin = rustix::stdio::stdin();
        let before = tcgetattr(stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        restore_on_panic();
        tcsetattr(stdin, OptionalActions::Drain, &raw)?;
        Ok(Raw(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Put the terminal back as it was; nothing happens when it was not changed.
pub(crate) fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // A terminal that is gone needs no restoring, and there is nobody to tell.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &before);
    }
}

fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
    });
}
