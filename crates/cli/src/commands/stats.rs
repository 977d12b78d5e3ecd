// SPDX-License-Identifier: Apache-2.0
//! `corten stats`: what containers use, once or live.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use api_types::Size;
use client::{ClientError, ListOptions};
use errors::{Classify as _, Kind};
use serde_json::{Value, json};

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
    let mut before = read(&args, context, true).await?;
    loop {
        // A share of the processors takes two readings.
        tokio::time::sleep(INTERVAL).await;
        let now = read(&args, context, false).await?;
        let rows: Vec<Value> = now.iter().map(|(name, stats)| row(name, stats, &before, args.no_trunc)).collect();
        let text = listing::render(&format, &COLUMNS, &rows)?;
        match terminal::size().filter(|_| in_place) {
            Some(size) => printer::data(frame(&text, size).as_bytes()),
            None => printer::data(text.as_bytes()),
        }
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

/// What was asked for, and its counters.
type Reading = Vec<(String, Value)>;

/// The counters of the containers that are meant. One that is gone is an error only the `first` time.
async fn read(args: &Args, context: &Context, first: bool) -> Result<Reading, Failure> {
    let names = if args.containers.is_empty() {
        let listed = context.client.list_containers(ListOptions { all: args.all, ..ListOptions::default() }).await?;
        listed.into_iter().filter_map(|container| container.id).collect()
    } else {
        args.containers.clone()
    };
    let mut reading = Reading::with_capacity(names.len());
    for name in names {
        match context.client.stats(&name).await {
            Ok(stats) => reading.push((name, stats)),
            Err(error) if is_gone(&error) && !(first && args.containers.contains(&name)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(reading)
}

fn is_gone(error: &ClientError) -> bool {
    error.kind() == Kind::NotFound
}

/// The fields of a container's row, as Docker computes them.
fn row(asked: &str, stats: &Value, before: &Reading, no_trunc: bool) -> Value {
    let id = stats["id"].as_str().unwrap_or_default();
    let earlier = before.iter().find(|(_, earlier)| earlier["id"] == stats["id"]).map(|(_, earlier)| earlier);
    let (used, limit) = (memory_used(&stats["memory_stats"]), number(&stats["memory_stats"]["limit"]));
    let share = if limit > 0 { used as f64 / limit as f64 * 100.0 } else { 0.0 };
    let (received, sent) = traffic(&stats["networks"]);
    let (read, written) = block_io(&stats["blkio_stats"]["io_service_bytes_recursive"]);
    json!({
        "BlockIO": format!("{} / {}", human::size(read), human::size(written)),
        "CPUPerc": format!("{:.2}%", processor_share(stats, earlier)),
        "Container": asked,
        "ID": if no_trunc { id } else { human::short_id(id) },
        "MemPerc": format!("{share:.2}%"),
        "MemUsage": format!("{} / {}", binary_size(used), binary_size(limit)),
        "Name": stats["name"].as_str().unwrap_or_default().trim_start_matches('/'),
        "NetIO": format!("{} / {}", human::size(received), human::size(sent)),
        "PIDs": number(&stats["pids_stats"]["current"]).to_string(),
    })
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// The share of one processor, in percent: of two processors 200 at most.
fn processor_share(stats: &Value, earlier: Option<&Value>) -> f64 {
    let Some(earlier) = earlier else { return 0.0 };
    let passed = |of: &dyn Fn(&Value) -> u64| of(&stats["cpu_stats"]).saturating_sub(of(&earlier["cpu_stats"])) as f64;
    let container = passed(&|cpu| number(&cpu["cpu_usage"]["total_usage"]));
    let machine = passed(&|cpu| number(&cpu["system_cpu_usage"]));
    // When it did not run before, what it has used since is not known.
    if machine <= 0.0 || number(&earlier["cpu_stats"]["system_cpu_usage"]) == 0 {
        return 0.0;
    }
    container / machine * number(&stats["cpu_stats"]["online_cpus"]) as f64 * 100.0
}

/// Memory in use without what the kernel only keeps because there is room: files nobody has read lately.
fn memory_used(memory: &Value) -> u64 {
    let usage = number(&memory["usage"]);
    let cache = ["total_inactive_file", "inactive_file"].iter().find_map(|name| memory["stats"][*name].as_u64());
    cache.filter(|cache| *cache < usage).map_or(usage, |cache| usage - cache)
}

/// Bytes received and sent by all interfaces.
fn traffic(networks: &Value) -> (u64, u64) {
    let interfaces = networks.as_object().into_iter().flat_map(|networks| networks.values());
    interfaces.fold((0, 0), |(received, sent), interface| {
        (received + number(&interface["rx_bytes"]), sent + number(&interface["tx_bytes"]))
    })
}

/// Bytes read and written on all devices.
fn block_io(entries: &Value) -> (u64, u64) {
    let mut totals: HashMap<String, u64> = HashMap::new();
    for entry in entries.as_array().into_iter().flatten() {
        let operation = entry["op"].as_str().unwrap_or_default().to_ascii_lowercase();
        *totals.entry(operation).or_default() += number(&entry["value"]);
    }
    let of = |operation| totals.get(operation).copied().unwrap_or(0);
    (of("read"), of("write"))
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

    fn stats(total: u64, system: u64) -> Value {
        json!({
            "id": "0123456789abcdef", "name": "/web",
            "cpu_stats": {"cpu_usage": {"total_usage": total}, "system_cpu_usage": system, "online_cpus": 2},
            "memory_stats": {"usage": 3 << 20, "limit": 8 << 20, "stats": {"inactive_file": 1 << 20}},
            "pids_stats": {"current": 3},
            "networks": {"eth0": {"rx_bytes": 1000, "tx_bytes": 20}, "eth1": {"rx_bytes": 90, "tx_bytes": 0}},
            "blkio_stats": {"io_service_bytes_recursive": [
                {"op": "Read", "value": 4096}, {"op": "read", "value": 4}, {"op": "Write", "value": 7}, {"op": "Total", "value": 9},
            ]},
        })
    }

    #[test]
    fn a_row_is_computed_as_dockers() {
        let before = vec![("web".to_owned(), stats(1_000, 10_000))];
        let row = row("web", &stats(2_000, 14_000), &before, false);
        assert_eq!(
            row,
            json!({
                "BlockIO": "4.1kB / 7B", "CPUPerc": "50.00%", "Container": "web", "ID": "0123456789ab", "MemPerc": "25.00%",
                "MemUsage": "2MiB / 8MiB", "Name": "web", "NetIO": "1.09kB / 20B", "PIDs": "3",
            })
        );
    }

    #[test]
    fn what_does_not_run_uses_nothing() {
        let stopped =
            json!({"id": "0123", "name": "/x", "memory_stats": {}, "cpu_stats": {"cpu_usage": {"total_usage": 0}}});
        let row = row("x", &stopped, &vec![("x".to_owned(), stopped.clone())], false);
        assert_eq!(
            (&row["CPUPerc"], &row["MemUsage"], &row["PIDs"]),
            (&json!("0.00%"), &json!("0B / 0B"), &json!("0"))
        );
        // The first reading of one that was started in between says nothing about shares.
        assert_eq!(processor_share(&stats(9, 9), Some(&stopped)), 0.0);
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
