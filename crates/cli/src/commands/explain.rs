// SPDX-License-Identifier: Apache-2.0
//! `corten explain`: the kernel objects behind a container, and what could still reach the host.

use api_types::explain::{Explanation, Limit, Severity};

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer::{self, human, json};
use crate::template::Template;
use crate::terminal;

mod page;

use page::Page;

/// The width of a page where there is no terminal, in characters.
const USUAL_WIDTH: usize = 100;
/// A page is never narrower: words would be cut.
const NARROWEST: usize = 40;
/// Nor wider: long lines are hard to read.
const WIDEST: usize = 120;

/// Explain a running container: its namespaces, limits, rights and mounts, and what could reach the host
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print: text, json, or a template like '{{range .Reach}}{{.Severity}} {{.What}}{{end}}'
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    format: String,
    /// A name or an id
    container: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let template = match args.format.as_str() {
        "text" | "json" => None,
        template => Some(template.parse::<Template>()?),
    };
    let told = context.client.explain(&args.container).await?;
    let document = serde_json::to_value(&told).unwrap_or_default();
    match template {
        Some(template) => printer::line(&template.render(&document)?),
        None if args.format == "json" => printer::line(&json::indent(&document.to_string())),
        None => {
            let width = terminal::size().map_or(USUAL_WIDTH, |size| usize::from(size.cols));
            printer::data(
                text(&told, width.clamp(NARROWEST, WIDEST), printer::has_colours(&std::io::stdout())).as_bytes(),
            );
        }
    }
    Ok(0)
}

fn text(told: &Explanation, width: usize, colours: bool) -> String {
    let mut page = Page::new(width, colours);
    page.title(&told.name, &format!("{}, {}, process {}", told.image, told.status, told.pid));
    reach(&mut page, told);
    namespaces(&mut page, told);
    identity(&mut page, told);
    limits(&mut page, told);
    capabilities(&mut page, told);
    filter(&mut page, told);
    mounts(&mut page, told);
    devices(&mut page, told);
    ports(&mut page, told);
    page.finish()
}

fn reach(page: &mut Page, told: &Explanation) {
    page.heading("What could reach the host");
    for found in &told.reach {
        let (word, colour) = match found.severity {
            Severity::High => ("high", "1;31"),
            Severity::Medium => ("medium", "33"),
            Severity::Low => ("low", "2"),
        };
        page.finding(word, colour, &found.what, &found.why);
    }
}

fn namespaces(page: &mut Page, told: &Explanation) {
    page.heading("Namespaces");
    for namespace in &told.namespaces {
        let beside = match namespace.own {
            true => format!("its own; the host's is {}", namespace.host_inode),
            false => "the host's".to_owned(),
        };
        let colour = if namespace.own { None } else { Some("33") };
        page.row(&namespace.kind, colour, &namespace.inode.to_string(), &beside);
    }
}

fn identity(page: &mut Page, told: &Explanation) {
    let identity = &told.identity;
    page.heading("User");
    let groups = identity.groups.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    page.fact("ids", &format!("user {}, group {}", identity.uid, identity.gid));
    if !groups.is_empty() {
        page.fact("groups", &groups);
    }
    page.fact("map", &identity.uid_map.join(", "));
    let privileges = if identity.no_new_privileges { "none can be gained" } else { "set-uid programs give them" };
    page.fact("privileges", privileges);
}

fn limits(page: &mut Page, told: &Explanation) {
    page.heading("Limits and use");
    for limit in &told.limits {
        page.fact(&limit.name, &amount(limit));
    }
    // v1 has a hierarchy for each controller, mostly with the same path.
    let mut paths: Vec<(&str, Vec<&str>)> = Vec::new();
    for place in &told.cgroups {
        let controllers = if place.controllers.is_empty() { "unified" } else { &place.controllers };
        match paths.iter_mut().find(|(path, _)| *path == place.path) {
            Some((_, list)) => list.push(controllers),
            None => paths.push((&place.path, vec![controllers])),
        }
    }
    for (path, controllers) in paths {
        page.fact("cgroup", &format!("{path} ({})", controllers.join(" ")));
    }
}

/// `12MB of 64MB`, `3 of 100`, `0.5 processors`.
fn amount(limit: &Limit) -> String {
    let number = |value: u64| match limit.unit.as_str() {
        "bytes" => human::size(value),
        "nanocpus" => format!("{} processors", value as f64 / 1e9),
        "nanoseconds" => format!("{:.3} s", value as f64 / 1e9),
        _ => value.to_string(),
    };
    let mut text = match (limit.used, limit.limit) {
        (Some(used), Some(most)) => format!("{} of {}", number(used), number(most)),
        (Some(used), None) if limited(limit) => format!("{}, no limit", number(used)),
        (Some(used), None) => number(used),
        (None, Some(most)) => format!("at most {}", number(most)),
        (None, None) if limited(limit) => "no limit".to_owned(),
        (None, None) => "not counted".to_owned(),
    };
    if !limit.note.is_empty() {
        text.push_str("; ");
        text.push_str(&limit.note);
    }
    text
}

/// Whether it is something that a user limits.
fn limited(limit: &Limit) -> bool {
    matches!(limit.name.as_str(), "memory" | "pids" | "cpu")
}

fn capabilities(page: &mut Page, told: &Explanation) {
    let capabilities = &told.capabilities;
    let heading = format!(
        "Capabilities: {} kept, {} dropped, {} in effect",
        capabilities.kept.len(),
        capabilities.dropped.len(),
        capabilities.in_effect
    );
    page.part(&heading, capabilities.kept.iter().chain(&capabilities.dropped).map(|one| bare(&one.name)));
    for one in &capabilities.kept {
        let colour = one.unusual.then_some("33");
        page.row(bare(&one.name), colour, "kept", &one.allows);
    }
    for one in &capabilities.dropped {
        page.row(bare(&one.name), Some("2"), "dropped", &one.allows);
    }
}

fn bare(name: &str) -> &str {
    name.strip_prefix("CAP_").unwrap_or(name)
}

fn filter(page: &mut Page, told: &Explanation) {
    let filter = &told.filter;
    page.heading("System calls");
    if !filter.active {
        page.text("No filter: every system call is allowed.");
        return;
    }
    page.fact(
        "verdicts",
        &format!(
            "of {} calls {} are allowed, {} refused, {} end the process; {} depend on arguments ({})",
            filter.calls,
            filter.allowed,
            filter.refused,
            filter.killed,
            filter.depends.len(),
            filter.depends.join(" ")
        ),
    );
    page.fact(
        "program",
        &format!(
            "{} profile, {} instructions, at most {} of them for a call",
            filter.profile, filter.instructions, filter.longest
        ),
    );
    for refusal in &filter.notable {
        page.row(&refusal.call, None, &refusal.answer, &format!("would {}", refusal.would));
    }
}

fn mounts(page: &mut Page, told: &Explanation) {
    page.part("Mounts", told.mounts.iter().map(|mount| &*mount.target));
    for mount in &told.mounts {
        let mode = if mount.read_only { "ro" } else { "rw" };
        page.row(&mount.target, None, mode, &format!("{}: {}", mount.kind, mount.from));
    }
}

fn devices(page: &mut Page, told: &Explanation) {
    page.heading("Devices");
    let usual: Vec<&str> = told.devices.iter().filter(|device| device.usual).map(|device| &*device.path).collect();
    page.fact("usual", &usual.join(" "));
    for device in told.devices.iter().filter(|device| !device.usual) {
        page.row(&device.path, Some("33"), &device.number, "not in every container");
    }
}

fn ports(page: &mut Page, told: &Explanation) {
    if told.ports.is_empty() {
        return;
    }
    page.heading("Published ports");
    for port in &told.ports {
        page.text(&format!("{} → {}", port.host, port.container));
        for (place, station) in port.way.iter().enumerate() {
            page.step(place + 1, station);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(name: &str, limit: Option<u64>, used: Option<u64>, unit: &str) -> Limit {
        Limit { name: name.into(), limit, used, unit: unit.into(), note: String::new() }
    }

    #[test]
    fn amounts_are_told_with_their_limits() {
        for (given, text) in [
            (limit("memory", Some(64_000_000), Some(12_000_000), "bytes"), "12MB of 64MB"),
            (limit("memory", None, Some(12_000_000), "bytes"), "12MB, no limit"),
            (limit("pids", Some(100), Some(3), "tasks"), "3 of 100"),
            (limit("cpu", Some(500_000_000), None, "nanocpus"), "at most 0.5 processors"),
            (limit("cpu", None, None, "nanocpus"), "no limit"),
            (limit("swap", None, None, "bytes"), "not counted"),
            (limit("disk read", None, Some(0), "bytes"), "0B"),
        ] {
            assert_eq!(amount(&given), text);
        }
        let hit = Limit { note: "throttled".into(), ..limit("cpu", None, None, "nanocpus") };
        assert_eq!(amount(&hit), "no limit; throttled");
    }

    #[test]
    fn a_page_fits_its_width_and_has_no_colours_unless_wanted() {
        let told = Explanation { name: "web".into(), image: "busybox".into(), ..Explanation::default() };
        let page = text(&told, 60, false);
        assert!(page.starts_with("web: busybox,") && !page.contains('\u{1b}'), "{page}");
        assert!(page.lines().all(|line| line.chars().count() <= 60), "{page}");
        assert!(text(&told, 60, true).contains("\u{1b}[1m"));
    }
}
