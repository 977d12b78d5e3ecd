// SPDX-License-Identifier: Apache-2.0
//! `corten info`: what the daemon holds, and what its host can do.

use std::fmt::Write;

use api_types::docker::{SystemInfo, SystemVersion};
use serde_json::{Value, json};

use super::version;
use crate::cli::Context;
use crate::failure::Failure;
use crate::template::Template;
use crate::{environment, printer, program};

/// Print what the daemon holds and what its host can do
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print: text, json, or a template like '{{.CgroupVersion}}'
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    format: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let template = match args.format.as_str() {
        "text" | "json" => None,
        template => Some(template.parse::<Template>()?),
    };
    let mut info = context.client.info().await?;
    let name = client::context_in_use(&context.wish, environment::variable)?;
    let engine =
        if program::is_docker() { in_place_of_docker(&mut info, &context.client.version().await?) } else { None };
    let document = document(&info, &name);
    match template {
        None if args.format == "json" => printer::line(&document.to_string()),
        None => printer::data((head(&name) + &text(&info, engine)).as_bytes()),
        Some(template) => printer::line(&template.render(&document)?),
    }
    Ok(0)
}

/// Has the daemon's version told as `version` tells it; gives its own, where it is Corten's.
fn in_place_of_docker(info: &mut SystemInfo, daemon: &SystemVersion) -> Option<String> {
    let release = version::docker_release(daemon)?;
    info.server_version = Some(release.to_owned());
    version::engine_of(daemon)
}

/// Everything by Docker's names. What the daemon has nothing to say of is a text without letters, as in Docker's templates.
fn document(info: &SystemInfo, context: &str) -> Value {
    let mut document = serde_json::to_value(info).unwrap_or_default();
    if let Some(fields) = document.as_object_mut() {
        for name in ["HttpProxy", "HttpsProxy", "NoProxy", "ProductLicense", "SystemTime"] {
            fields.entry(name).or_insert_with(|| "".into());
        }
        let client = json!({"Debug": false, "Context": context, "Plugins": [], "Warnings": null});
        fields.insert("ClientInfo".into(), client);
    }
    document
}

/// What is told of the client, which only Docker's command line has.
fn head(context: &str) -> String {
    if !program::is_docker() {
        return String::new();
    }
    let (release, own) = (api_types::DOCKER_RELEASE, program::VERSION);
    format!(
        "Client: Corten {own}, in place of Docker\n Version:    {release}\n Context:    {context}\n Debug Mode: false\n\n"
    )
}

/// What is told of the daemon; `engine` is what it is, where it is told as another.
fn text(info: &SystemInfo, engine: Option<String>) -> String {
    let mut text = String::from("Server:\n");
    let mut line = |level: usize, key: &str, value: Option<String>| {
        if let Some(value) = value {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:level$}{key}: {value}", "");
        }
    };
    let number = |value: Option<i64>| value.map(|value| value.to_string());
    line(1, "Containers", number(info.containers));
    line(2, "Running", number(info.containers_running));
    line(2, "Paused", number(info.containers_paused));
    line(2, "Stopped", number(info.containers_stopped));
    line(1, "Images", number(info.images));
    line(1, "Server Version", info.server_version.clone());
    line(1, "Engine", engine);
    line(1, "Storage Driver", info.driver.clone());
    for pair in info.driver_status.iter().flatten() {
        if let [key, value] = &pair[..] {
            line(2, key, Some(value.clone()));
        }
    }
    line(1, "Logging Driver", info.logging_driver.clone());
    line(1, "Cgroup Driver", info.cgroup_driver.map(|driver| driver.to_string()));
    line(1, "Cgroup Version", info.cgroup_version.map(|version| version.to_string()));
    let security = info.security_options.as_deref().unwrap_or_default();
    line(1, "Security Options", (!security.is_empty()).then(|| security.join(" ")));
    line(1, "Kernel Version", info.kernel_version.clone());
    line(1, "Operating System", info.operating_system.clone());
    line(1, "OSType", info.os_type.clone());
    line(1, "Architecture", info.architecture.clone());
    line(1, "CPUs", number(info.ncpu));
    let memory = info.mem_total.and_then(|bytes| u64::try_from(bytes).ok());
    line(1, "Total Memory", memory.map(|bytes| format!("{:.2}GiB", bytes as f64 / (1 << 30) as f64)));
    line(1, "Name", info.name.clone());
    line(1, "ID", info.id.clone());
    line(1, "Data Root", info.docker_root_dir.clone());
    for warning in info.warnings.iter().flatten() {
        // Docker's own have the word already.
        line(0, "WARNING", Some(warning.strip_prefix("WARNING: ").unwrap_or(warning).to_owned()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_said() {
        let info = SystemInfo { containers: Some(2), mem_total: Some(2 << 30), ..SystemInfo::default() };
        assert_eq!(text(&info, None), "Server:\n Containers: 2\n Total Memory: 2.00GiB\n");
    }
}
