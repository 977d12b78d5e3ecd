// SPDX-License-Identifier: Apache-2.0
//! `corten inspect`: all about containers, images and volumes.

use client::{Client, ClientError};
use errors::{Classify, Kind, Report};

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer;
use crate::printer::json;
use crate::template::Template;

/// Print all about containers, images and volumes, as JSON
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print: json, or a template like '{{.State.OOMKilled}}' or '{{json .Config}}'
    #[arg(short, long, value_name = "FORMAT", default_value = "json")]
    format: String,
    /// Only things of this kind
    #[arg(long = "type", value_name = "KIND")]
    kind: Option<Thing>,
    /// Names or ids
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Thing {
    /// Containers.
    Container,
    /// Images.
    Image,
    /// Volumes.
    Volume,
}

/// Print all about images, as JSON
#[derive(Debug, clap::Args)]
pub(crate) struct ImageArgs {
    /// How to print: json, or a template like '{{.Size}}' or '{{json .Config}}'
    #[arg(short, long, value_name = "FORMAT", default_value = "json")]
    format: String,
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
    run(Args { format: args.format, kind: Some(Thing::Volume), names: args.names }, context).await
}

/// `corten container inspect`.
pub(crate) async fn containers(args: ContainerArgs, context: &Context) -> Result<u8, Failure> {
    run(Args { format: args.format, kind: Some(Thing::Container), names: args.names }, context).await
}

/// `corten image inspect`.
pub(crate) async fn images(args: ImageArgs, context: &Context) -> Result<u8, Failure> {
    run(Args { format: args.format, kind: Some(Thing::Image), names: args.names }, context).await
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let template = match args.format.as_str() {
        "json" => None,
        template => Some(template.parse::<Template>()?),
    };
    let (mut found, mut failed) = (Vec::new(), false);
    for name in &args.names {
        match inspect(&context.client, name, args.kind).await {
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

/// The JSON of the first thing that has this name: a container, an image, a volume.
async fn inspect(client: &Client, name: &str, kind: Option<Thing>) -> Result<String, Failure> {
    const ALL: &[Thing] = &[Thing::Container, Thing::Image, Thing::Volume];
    let missing = |error: &ClientError| error.kind() == Kind::NotFound;
    for thing in kind.as_ref().map_or(ALL, std::slice::from_ref) {
        let answer = match thing {
            Thing::Container => client.inspect_container_json(name).await,
            Thing::Image => client.inspect_image_json(name).await,
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
    let report = Report::new(Kind::NotFound, format!("no such container, image or volume: {name}"))
        .with_hint("`corten ps -a`, `corten images` and `corten volume ls` list what there is");
    Failure { report: Some(report), code: 1 }
}
