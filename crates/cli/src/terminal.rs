// SPDX-License-Identifier: Apache-2.0
//! The user's terminal: its size, and raw mode that is undone however the program ends.

use std::io::IsTerminal;
use std::sync::{Mutex, Once, PoisonError};

use api_types::Size;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The character of Ctrl-C.
const CTRL_C: u8 = 3;

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

/// Asks for a line that is typed without being seen; `None` when the user gave up with Ctrl-C.
pub(crate) fn hidden_line(prompt: &str) -> std::io::Result<Option<String>> {
    let stdin = rustix::stdio::stdin();
    let before = tcgetattr(stdin)?;
    let mut hidden = before.clone();
    // Ctrl-C comes as a character: a signal would leave the terminal without an echo.
    hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
    hidden.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
    *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
    restore_on_panic();
    tcsetattr(stdin, OptionalActions::Flush, &hidden)?;
    let _shown_again = Raw(());
    // Not before: what is typed at once must be hidden as well.
    crate::printer::error_data(prompt.as_bytes());
    let mut line = Vec::new();
    let mut byte = [0];
    // Up to the newline, Ctrl-C (which now ends a line as well) or the end, and not a byte further.
    while rustix::io::read(stdin, &mut byte)? == 1 && byte[0] != b'\n' {
        if byte[0] == CTRL_C {
            return Ok(None);
        }
        line.push(byte[0]);
    }
    String::from_utf8(line).map(Some).map_err(|_| std::io::ErrorKind::InvalidData.into())
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
