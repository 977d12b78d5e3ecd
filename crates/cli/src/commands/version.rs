// SPDX-License-Identifier: Apache-2.0
//! `corten version`: of the client and of the daemon. Called as `docker` it tells of the release of Docker's whose API is
//! spoken, in Docker's form: scripts refuse what is older than they know. Whose it is stands beside it.

use api_types::docker::SystemVersion;
use api_types::{API_VERSION, DOCKER_RELEASE};
use serde_json::{Value, json};

use crate::cli::Context;
use crate::failure::Failure;
use crate::template::Template;
use crate::{environment, printer, program};

/// What Docker's daemon says of itself and ours has no use for; a template may name it all the same.
const UNUSED: [&str; 3] = ["GitCommit", "GoVersion", "BuildTime"];

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
    let name = client::context_in_use(&context.wish, environment::variable)?;
    let server = context.client.version().await;
    let document = document(program::is_docker(), &name, server.as_ref().ok());
    match template {
        None if args.format == "json" => printer::line(&document.to_string()),
        None => printer::data(text(&document, program::is_docker()).as_bytes()),
        Some(template) => printer::line(&template.render(&document)?),
    }
    server?;
    Ok(0)
}

/// The daemon's version as it is told: of Corten's, to who asks for Docker's, the release of Docker's whose API it speaks.
pub(super) fn docker_release(server: &SystemVersion) -> Option<&'static str> {
    (engine_of(server).is_some() && server.api_version.as_deref() == Some(API_VERSION)).then_some(DOCKER_RELEASE)
}

/// `Corten 0.1.0`, where the daemon is Corten's.
pub(super) fn engine_of(server: &SystemVersion) -> Option<String> {
    let is_ours = server.platform.as_ref().is_some_and(|platform| platform.name == "Corten");
    is_ours.then(|| format!("Corten {}", server.version.as_deref().unwrap_or_default()))
}

fn document(as_docker: bool, context: &str, server: Option<&SystemVersion>) -> Value {
    let platform = oci::Platform::host();
    let (version, build) = if as_docker { (DOCKER_RELEASE, program::BUILD) } else { (program::VERSION, "") };
    let client = json!({
        "Platform": {"Name": format!("Corten {}", program::VERSION)},
        "Version": version,
        "ApiVersion": API_VERSION,
        "DefaultAPIVersion": API_VERSION,
        "GitCommit": build,
        "GoVersion": "",
        "Os": platform.os,
        "Arch": platform.architecture,
        "BuildTime": "",
        "Context": context,
    });
    // Without a server there is none.
    json!({ "Client": client, "Server": server.map(|server| of_server(as_docker, server)) })
}

fn of_server(as_docker: bool, server: &SystemVersion) -> Value {
    // The models always become JSON.
    let mut told = serde_json::to_value(server).unwrap_or_default();
    let Some(fields) = told.as_object_mut() else { return told };
    for name in UNUSED {
        fields.entry(name).or_insert_with(|| "".into());
    }
    fields.entry("Experimental").or_insert(false.into());
    if let (true, Some(release), Some(engine)) = (as_docker, docker_release(server), engine_of(server)) {
        fields.insert("GitCommit".into(), engine.to_lowercase().replace(' ', "-").into());
        fields.insert("Platform".into(), json!({ "Name": engine }));
        fields.insert("Version".into(), release.into());
    }
    told
}

fn text(document: &Value, as_docker: bool) -> String {
    let client = Side(&document["Client"]);
    let heading = if as_docker { format!("{}, in place of Docker", client.platform()) } else { "Corten".to_owned() };
    let mut text = format!("Client: {heading}\n");
    put(&mut text, 1, "Version", client.field("Version"));
    put(&mut text, 1, "API version", client.field("ApiVersion"));
    put(&mut text, 1, "Git commit", client.field("GitCommit"));
    put(&mut text, 1, "OS/Arch", &client.system());
    put(&mut text, 1, "Context", client.field("Context"));
    if document["Server"].is_null() {
        return text;
    }
    let server = Side(&document["Server"]);
    text.push_str(&format!("\nServer: {}\n", server.platform()));
    // As Docker has it, whose scripts may count on it.
    let indent = if as_docker { 2 } else { 1 };
    if as_docker {
        text.push_str(" Engine:\n");
    }
    let api = format!("{} (minimum version {})", server.field("ApiVersion"), server.field("MinAPIVersion"));
    put(&mut text, indent, "Version", server.field("Version"));
    put(&mut text, indent, "API version", &api);
    put(&mut text, indent, "Git commit", server.field("GitCommit"));
    put(&mut text, indent, "OS/Arch", &server.system());
    put(&mut text, indent, "Kernel", server.field("KernelVersion"));
    text
}

/// What is told of the client, or of the server.
struct Side<'d>(&'d Value);

impl Side<'_> {
    /// A field's text; nothing where there is none.
    fn field(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    fn platform(&self) -> &str {
        self.0["Platform"]["Name"].as_str().unwrap_or("of another kind")
    }

    fn system(&self) -> String {
        format!("{}/{}", self.field("Os"), self.field("Arch"))
    }
}

/// A line with a name and its value, if there is one.
fn put(text: &mut String, indent: usize, name: &str, value: &str) {
    if !value.is_empty() {
        let (width, name) = (20 - indent, format!("{name}:"));
        text.push_str(&format!("{:indent$}{name:<width$}{value}\n", ""));
    }
}

#[cfg(test)]
mod tests {
    use api_types::docker::SystemVersionPlatform;

    use super::*;

    fn daemon(platform: &str, version: &str) -> SystemVersion {
        SystemVersion {
            platform: Some(SystemVersionPlatform { name: platform.into() }),
            version: Some(version.into()),
            api_version: Some(API_VERSION.into()),
            min_api_version: Some("1.24".into()),
            os: Some("linux".into()),
            arch: Some("amd64".into()),
            kernel_version: Some("6.1".into()),
            ..SystemVersion::default()
        }
    }

    #[test]
    fn a_daemon_that_does_not_answer_leaves_the_clients_version() {
        let alone = document(false, "default", None);
        assert!(text(&alone, false).contains(program::VERSION) && alone["Server"].is_null());
        let both = document(false, "default", Some(&daemon("Corten", "9")));
        assert_eq!(both["Server"]["Version"], "9");
        let said = text(&both, false);
        assert!(said.starts_with("Client: Corten\n Version:           0."), "{said}");
        assert!(said.contains("\nServer: Corten\n Version:           9\n API version:       1.55 (minimum"), "{said}");
    }

    #[test]
    fn in_place_of_docker_the_release_is_told_whose_api_it_is_and_whose_it_really_is() {
        let both = document(true, "default", Some(&daemon("Corten", "9")));
        for (template, expected) in [
            ("{{.Server.Version}}", DOCKER_RELEASE),
            ("{{.Client.Version}}", DOCKER_RELEASE),
            ("{{.Server.APIVersion}} {{.Client.APIVersion}}", "1.55 1.55"),
            ("{{.Server.Os}}-{{.Server.Version}}:{{.Server.Platform.Name}}", "linux-29.6.0:Corten 9"),
            ("{{.Server.GitCommit}}{{.Server.GoVersion}} {{.Server.Experimental}}", "corten-9 false"),
        ] {
            let rendered = template.parse::<Template>().unwrap().render(&both);
            assert_eq!(rendered.as_deref(), Ok(expected), "{template}");
        }
        let said = text(&both, true);
        assert!(
            said.contains("in place of Docker\n Version:           29.") && said.contains(" Engine:\n  Version:"),
            "{said}"
        );
        // What another daemon says of itself stays.
        let both = document(true, "default", Some(&daemon("Docker Engine - Community", "28.1.0")));
        assert_eq!((&both["Server"]["Version"], &both["Server"]["GitCommit"]), (&json!("28.1.0"), &json!("")));
    }
}
