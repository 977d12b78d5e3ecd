// SPDX-License-Identifier: Apache-2.0
//! `corten version`: of the client and of the daemon.

use api_types::docker::SystemVersion;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer;
use crate::template::Template;

/// Print the versions of the client and of the daemon
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print: text, json, or a template like '{{.Server.Version}}'
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    format: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let template = match args.format.as_str() {
        "text" | "json" => None,
        template => Some(template.parse::<Template>()?),
    };
    let server = context.client.version().await;
    let answered = server.as_ref().ok();
    match template {
        None if args.format == "json" => printer::line(&document(answered).to_string()),
        None => printer::data(text(answered).as_bytes()),
        Some(template) => printer::line(&template.render(&document(answered))?),
    }
    server?;
    Ok(0)
}

fn document(server: Option<&SystemVersion>) -> Value {
    let client = json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": api_types::API_VERSION,
        "Os": std::env::consts::OS,
        "Arch": std::env::consts::ARCH,
    });
    // The models always become JSON; without a server there is none.
    json!({ "Client": client, "Server": server.and_then(|server| serde_json::to_value(server).ok()) })
}

fn text(server: Option<&SystemVersion>) -> String {
    let mut text = format!(
        "Client: Corten\n Version:           {}\n API version:       {}\n OS/Arch:           {}/{}\n",
        env!("CARGO_PKG_VERSION"),
        api_types::API_VERSION,
        std::env::consts::OS,
        std::env::consts::ARCH,
    );
    if let Some(server) = server {
        let field = |value: &Option<String>| value.clone().unwrap_or_default();
        text.push_str(&format!(
            "\nServer: Corten\n Version:           {}\n API version:       {} (minimum version {})\n OS/Arch:           {}/{}\n Kernel:            {}\n",
            field(&server.version),
            field(&server.api_version),
            field(&server.min_api_version),
            field(&server.os),
            field(&server.arch),
            field(&server.kernel_version),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_does_not_answer_leaves_the_clients_version() {
        assert!(text(None).contains(env!("CARGO_PKG_VERSION")));
        assert_eq!(document(None)["Server"], Value::Null);
        let server = SystemVersion { version: Some("9".into()), ..SystemVersion::default() };
        assert_eq!(document(Some(&server))["Server"]["Version"], "9");
    }
}
