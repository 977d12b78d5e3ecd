// SPDX-License-Identifier: Apache-2.0
//! The progress of a pull: bars where stderr is a terminal, else one line per change.

use std::collections::HashMap;
use std::io::IsTerminal;

use api_types::ProgressLine;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// From so many columns on a line has room for all of it.
const ROOMY: u16 = 90;

/// The layers of an image on their way.
pub(crate) struct Progress {
    mode: Mode,
}

enum Mode {
    Quiet,
    Lines { last: HashMap<String, String> },
    Bars { all: MultiProgress, bars: HashMap<String, ProgressBar> },
}

impl Progress {
    /// Progress as stderr can show it, or none.
    pub(crate) fn new(quiet: bool) -> Progress {
        let mode = if quiet {
            Mode::Quiet
        } else if std::io::stderr().is_terminal() {
            Mode::Bars { all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()), bars: HashMap::new() }
        } else {
            Mode::Lines { last: HashMap::new() }
        };
        Progress { mode }
    }

    /// Show one line of progress.
    pub(crate) fn show(&mut self, line: &ProgressLine) {
        let status = line.status.as_deref().unwrap_or_default();
        let id = line.id.as_deref().unwrap_or_default();
        match &mut self.mode {
            Mode::Quiet => {}
            Mode::Lines { last } => {
                let text = if id.is_empty() { status.to_owned() } else { format!("{id}: {status}") };
                // A bare number of bytes is no news to a log.
                if last.insert(id.to_owned(), text.clone()).as_ref() != Some(&text) {
                    super::note(&text);
                }
            }
            Mode::Bars { all, .. } if id.is_empty() => all.suspend(|| super::note(status)),
            Mode::Bars { all, bars } => {
                let bar = bars.entry(id.to_owned()).or_insert_with(|| {
                    let bar = all.add(ProgressBar::no_length());
                    bar.set_prefix(id.to_owned());
                    bar
                });
                draw(bar, status, line);
            }
        }
    }
}

fn is_narrow() -> bool {
    crate::terminal::size().is_some_and(|size| size.cols < ROOMY)
}

fn draw(bar: &ProgressBar, status: &str, line: &ProgressLine) {
    let detail = line.progress_detail.unwrap_or_default();
    let template = match detail.total {
        // In eighty columns a bar of its usual length would leave no room for the figures.
        Some(_) if is_narrow() => "{prefix}: {msg:<18} [{wide_bar}] {decimal_bytes}/{decimal_total_bytes}",
        Some(_) => "{prefix}: {msg:<18} [{bar:30}] {decimal_bytes}/{decimal_total_bytes}",
        None => "{prefix}: {msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(status.to_owned());
    if let Some(total) = detail.total {
        bar.set_length(total);
    }
    bar.set_position(detail.current.unwrap_or(0));
    bar.tick();
}
