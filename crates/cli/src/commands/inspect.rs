// SPDX-License-Identifier: Apache-2.0
//! `corten inspect`: all about containers, images, networks and volumes.

use client::{Client, ClientError};
use errors::{Classify, Kind, Report};

use crate::cli::Context;
use crate::failure::Failure;
use crate::flags::FlagError;
use crate::platform;
use crate::printer::{self, json};
use crate::template::Template;

/// Print all about containers, images, networks and volumes, as JSON
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print: json, or a template like '{{.State.OOMKilled}}' or '{{json .Config}}'
    #[arg(short, long, value_name = "FORMAT", default_value = "json")]
    format: String,
    /// With the sizes of containers: what each has changed (SizeRw), and with its image (SizeRootFs)
    #[arg(short, long)]
    size: bool,
    /// Only things of this kind
    #[arg(long = "type", value_name = "KIND", value_parser = thing)]
    kind: Option<Thing>,
    /// Names or ids
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    Container,
    Image,
    Network,
    Volume,
}

/// The kind of this name. What a node without a swarm and plugins cannot have is refused by name.
fn thing(text: &str) -> Result<Thing, FlagError> {
    let refused = |reason| FlagError::Refused { flag: "--type", reason };
    match text {
        "container" => Ok(Thing::Container),
        "image" => Ok(Thing::Image),
        "network" => Ok(Thing::Network),
        "volume" => Ok(Thing::Volume),
        "config" | "node" | "secret" | "service" | "task" => Err(refused("this node is in no swarm")),
        "plugin" => Err(refused("there are no plugins")),
        _ => Err(FlagError::invalid(text, "is no kind: there are container, image, network and volume")),
    }
}

/// Print all about images, as JSON
#[derive(Debug, clap::Args)]
pub(crate) struct ImageArgs {
    /// How to print: json, or a template like '{{.Size}}' or '{{json .Config}}'
    #[arg(short, long, value_name = "FORMAT", default_value = "json")]
    format: String,
    /// Only if they are for this platform, as in linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Names or ids
    #[arg(required = true, value_name = "IMAGE")]
    names: Vec<String>,
}

/// Print all about containers, as JSON
#[derive(Debug, clap::Args)]
pub(crate) struct ContainerArgs {
    /// How to print: json, or a template like '{{.State.OOMKilled}}' or '{{json .Config}}'
    #[arg(short, long, value_name = "FORMAT", default_value = "json")]
    format: String,
    /// With its size: what it has changed (SizeRw), and with its image (SizeRootFs)
    #[arg(short, long)]
    size: bool,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
}

/// Print all about volumes, as JSON
#[derive(Debug, clap::Args)]
pub(crate) struct VolumeArgs {
    /// How to print: json, or a template like '{{.Mountpoint}}' or '{{json .Options}}'
    #[arg(short, long, value_name = "FORMAT", default_value = "json")]
    format: String,
    /// Names
    #[arg(required = true, value_name = "VOLUME")]
    names: Vec<String>,
}

/// `corten volume inspect`.
pub(crate) async fn volumes(args: VolumeArgs, context: &Context) -> Result<u8, Failure> {
    run(Args { format: args.format, size: false, kind: Some(Thing::Volume), names: args.names }, context).await
}

/// `corten container inspect`.
pub(crate) async fn containers(args: ContainerArgs, context: &Context) -> Result<u8, Failure> {
    run(Args { format: args.format, size: args.size, kind: Some(Thing::Container), names: args.names }, context).await
}

/// `corten image inspect`.
pub(crate) async fn images(args: ImageArgs, context: &Context) -> Result<u8, Failure> {
    for name in &args.names {
        platform::check(&context.client, name, args.platform.as_deref()).await?;
    }
    run(Args { format: args.format, size: false, kind: Some(Thing::Image), names: args.names }, context).await
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let template = match args.format.as_str() {
        "json" => None,
        template => Some(template.parse::<Template>()?),
    };
    if args.size && args.kind.is_some_and(|kind| kind != Thing::Container) {
        printer::warning("--size means nothing to what is no container");
    }
    let (mut found, mut failed) = (Vec::new(), false);
    for name in &args.names {
        match inspect(&context.client, name, &args).await {
            Ok(text) => found.push(text),
            Err(failure) => {
                failed = true;
                failure.report.iter().for_each(printer::failure);
            }
        }
    }
    match template {
        None => printer::line(&json::indent(&format!("[{}]", found.join(",")))),
        Some(template) => {
            for text in &found {
                let value = serde_json::from_str(text).map_err(|error| {
                    Failure::new(Kind::Internal, format!("the daemon's answer is not JSON: {error}"))
                })?;
                printer::line(&template.render(&value)?);
            }
        }
    }
    if failed { Err(Failure::told()) } else { Ok(0) }
}

/// The JSON of the first thing that has this name: a container, an image, a network, a volume.
async fn inspect(client: &Client, name: &str, args: &Args) -> Result<String, Failure> {
    const ALL: &[Thing] = &[Thing::Container, Thing::Image, Thing::Network, Thing::Volume];
    let kind = args.kind;
    let missing = |error: &ClientError| error.kind() == Kind::NotFound;
    for thing in kind.as_ref().map_or(ALL, std::slice::from_ref) {
        let answer = match thing {
            Thing::Container => client.inspect_container_json(name, args.size).await,
            Thing::Image => client.inspect_image_json(name).await,
            Thing::Network => client.inspect_network_json(name, false).await,
            Thing::Volume => client.inspect_volume_json(name).await,
        };
        match answer {
            Err(error) if kind.is_none() && missing(&error) => {}
            answer => return Ok(String::from_utf8_lossy(&answer?).into_owned()),
        }
    }
    Err(nothing(name))
}

fn nothing(name: &str) -> Failure {
    let report = Report::new(Kind::NotFound, format!("no such container, image, network or volume: {name}"))
        .with_hint("`corten ps -a`, `corten images`, `corten network ls` and `corten volume ls` list what there is");
    Failure { report: Some(report), code: 1 }
}
