// SPDX-License-Identifier: Apache-2.0
//! `corten stats`: what containers use, once or live.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use api_types::{ContainerUsage, Size, Usage};
use client::ClientError;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer::{self, human, listing};
use crate::{terminal, user_config};

/// From one reading to the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// The terminal's sequences for: go to the upper left corner; clear the rest of the line; clear all below.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
/// What stands where nothing is known yet, as Docker has it.
const UNKNOWN: &str = "--";
/// The columns of the table, and the fields of a row that they show.
const COLUMNS: [(&str, &str); 8] = [
    ("CONTAINER ID", "ID"),
    ("NAME", "Name"),
    ("CPU %", "CPUPerc"),
    ("MEM USAGE / LIMIT", "MemUsage"),
    ("MEM %", "MemPerc"),
    ("NET I/O", "NetIO"),
    ("BLOCK I/O", "BlockIO"),
    ("PIDS", "PIDs"),
];

/// Show what containers use, every second
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Those that do not run, too
    #[arg(short, long)]
    all: bool,
    /// How to print: table, 'table TEMPLATE', json, or a template like '{{.Name}} {{.MemUsage}}' [default: statsFormat of
    /// config.json, else table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print one reading and end
    #[arg(long)]
    no_stream: bool,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Names or ids; all that run, without any
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) async fn run(mut args: Args, context: &Context) -> Result<u8, Failure> {
    let format = user_config::format(args.format.take(), "statsFormat")?;
    let in_place = !args.no_stream && std::io::stdout().is_terminal();
    let show = |rows: &[Value]| -> Result<(), Failure> {
        let text = listing::render(&format, &COLUMNS, rows)?;
        match terminal::size().filter(|_| in_place) {
            Some(size) => printer::data(frame(&text, size).as_bytes()),
            None => printer::data(text.as_bytes()),
        }
        Ok(())
    };
    let mut begun = Instant::now();
    let mut before = read(&args, context, true).await?;
    if in_place {
        // Somebody looks: what is known is shown at once.
        let mut first = rows(&before, &before, args.no_trunc);
        first.iter_mut().for_each(|row| row["CPUPerc"] = UNKNOWN.into());
        show(&first)?;
    }
    loop {
        // A share of the processors takes two readings, of all in the same order: a second lies between those of each.
        sleep_until(begun + INTERVAL).await;
        begun = Instant::now();
        let now = read(&args, context, false).await?;
        show(&rows(&now, &before, args.no_trunc))?;
        if args.no_stream || (now.is_empty() && !args.containers.is_empty()) {
            return Ok(0);
        }
        before = now;
    }
}

/// A reading over the one before it. Nothing is cleared before there is something in its place, so that nothing flickers;
/// what the terminal has no room for is counted, so that the headings stay in sight.
fn frame(text: &str, size: Size) -> String {
    let (rows, columns) = (usize::from(size.rows).max(2), usize::from(size.cols));
    let lines: Vec<&str> = text.lines().collect();
    let mut frame = HOME.to_owned();
    let mut put = |line: &str, is_last: bool| {
        frame.extend(line.chars().take(columns));
        frame.push_str(CLEAR_LINE);
        // The cursor stays in the last line: behind it the terminal would scroll.
        frame.push_str(if is_last { CLEAR_BELOW } else { "\r\n" });
    };
    let has_room = lines.len() < rows;
    let shown = if has_room { lines.len() } else { rows - 1 };
    lines[..shown].iter().for_each(|line| put(line, false));
    let more = if has_room { String::new() } else { format!("… and {} more", lines.len() - shown) };
    put(&more, true);
    frame
}

/// What the containers use that are meant. One that is gone is an error only the `first` time.
async fn read(args: &Args, context: &Context, first: bool) -> Result<Vec<ContainerUsage>, ClientError> {
    match args.containers.is_empty() {
        true => context.client.usage(args.all).await,
        false => context.client.usage_of(&args.containers, !first).await,
    }
}

/// A row for each container.
fn rows(now: &[ContainerUsage], before: &[ContainerUsage], no_trunc: bool) -> Vec<Value> {
    let before: HashMap<&str, &ContainerUsage> = before.iter().map(|usage| (usage.id.as_str(), usage)).collect();
    now.iter().map(|usage| row(usage, before.get(usage.id.as_str()).copied(), no_trunc)).collect()
}

/// The fields of a container's row, as Docker computes them.
fn row(usage: &ContainerUsage, before: Option<&ContainerUsage>, no_trunc: bool) -> Value {
    let (used, id) = (usage.used.unwrap_or_default(), usage.id.as_str());
    let limit = used.memory_limit;
    let share = if limit > 0 { used.memory as f64 / limit as f64 * 100.0 } else { 0.0 };
    json!({
        "BlockIO": format!("{} / {}", human::size(used.read), human::size(used.written)),
        "CPUPerc": format!("{:.2}%", processor_share(&used, before.and_then(|before| before.used))),
        "Container": usage.asked,
        "ID": if no_trunc { id } else { human::short_id(id) },
        "MemPerc": format!("{share:.2}%"),
        "MemUsage": format!("{} / {}", binary_size(used.memory), binary_size(limit)),
        "Name": usage.name,
        "NetIO": format!("{} / {}", human::size(used.received), human::size(used.sent)),
        "PIDs": used.tasks.to_string(),
    })
}

/// The share of one processor, in percent: of two processors 200 at most. When it did not run before, what it has used
/// since is not known.
fn processor_share(now: &Usage, before: Option<Usage>) -> f64 {
    let Some(before) = before else { return 0.0 };
    let container = now.processor_ns.saturating_sub(before.processor_ns) as f64;
    let machine = now.machine_ns.saturating_sub(before.machine_ns) as f64;
    if machine > 0.0 { container / machine * f64::from(now.processors) * 100.0 } else { 0.0 }
}

/// Bytes with four digits and a binary unit: `1.5MiB`, `7.656GiB`.
fn binary_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match value {
        ..10.0 => 3,
        ..100.0 => 2,
        ..1000.0 => 1,
        _ => 0,
    };
    let mut text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text + UNITS[unit]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(processor_ns: u64, machine_ns: u64) -> ContainerUsage {
        let used = Usage {
            processor_ns,
            machine_ns,
            processors: 2,
            memory: 2 << 20,
            memory_limit: 8 << 20,
            received: 1090,
            sent: 20,
            read: 4100,
            written: 7,
            tasks: 3,
        };
        ContainerUsage {
            asked: "web".to_owned(),
            id: "0123456789abcdef".to_owned(),
            name: "web".to_owned(),
            used: Some(used),
        }
    }

    #[test]
    fn a_row_is_computed_as_dockers() {
        let rows = rows(&[usage(2_000, 14_000)], &[usage(1_000, 10_000)], false);
        assert_eq!(
            rows,
            [json!({
                "BlockIO": "4.1kB / 7B", "CPUPerc": "50.00%", "Container": "web", "ID": "0123456789ab", "MemPerc": "25.00%",
                "MemUsage": "2MiB / 8MiB", "Name": "web", "NetIO": "1.09kB / 20B", "PIDs": "3",
            })]
        );
    }

    #[test]
    fn what_does_not_run_uses_nothing() {
        let stopped = ContainerUsage { used: None, ..usage(0, 0) };
        let one = std::slice::from_ref(&stopped);
        let row = &rows(one, one, false)[0];
        assert_eq!(
            (&row["CPUPerc"], &row["MemUsage"], &row["PIDs"]),
            (&json!("0.00%"), &json!("0B / 0B"), &json!("0"))
        );
        // The first reading of one that was started in between says nothing about shares, nor one after another start.
        assert_eq!(rows(&[usage(9, 9)], &[stopped], false)[0]["CPUPerc"], "0.00%");
        assert_eq!(rows(&[usage(9, 9)], &[usage(20, 8)], false)[0]["CPUPerc"], "0.00%");
    }

    #[test]
    fn a_frame_fits_the_terminal() {
        let size = |rows, cols| Size { rows, cols };
        assert_eq!(frame("a\nbcd\n", size(5, 2)), "\x1b[Ha\x1b[K\r\nbc\x1b[K\r\n\x1b[K\x1b[J");
        assert_eq!(frame("a\nb\nc\n", size(3, 20)), "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n… and 1 more\x1b[K\x1b[J");
        assert_eq!(frame("", size(0, 0)), "\x1b[H\x1b[K\x1b[J");
    }

    #[test]
    fn sizes_have_four_digits() {
        for (bytes, text) in
            [(0, "0B"), (1023, "1023B"), (1536, "1.5KiB"), (8_221_000_000, "7.656GiB"), (500 << 20, "500MiB")]
        {
            assert_eq!(binary_size(bytes), text);
        }
    }
}
