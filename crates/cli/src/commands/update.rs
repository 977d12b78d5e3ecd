// SPDX-License-Identifier: Apache-2.0
//! `corten update`: other limits, another restart policy, other mounts and other published ports for containers.

use api_types::docker::{ContainerUpdateBody, Mount};
use api_types::{MountChangeRequest, PortChangeRequest, Wish};
use errors::Kind;

use crate::cli::Context;
use crate::commands::for_each;
use crate::failure::Failure;
use crate::flags::limits::LimitFlags;
use crate::flags::{mount, ports, restart};
use crate::printer;

/// Change the limits, the restart policy, the mounts or the published ports of one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    limits: LimitFlags,
    /// Mount one more volume, directory or tmpfs: type=volume,source=NAME,target=/PATH[,readonly]
    #[arg(long, value_name = "MOUNT", value_parser = mount::mount)]
    mount: Vec<Mount>,
    /// End a mount, by where it is in the container
    #[arg(long, value_name = "PATH")]
    unmount: Vec<String>,
    /// When to start it again: no, on-failure[:N], unhealthy[:N], always, unless-stopped
    #[arg(long, value_name = "POLICY", value_parser = restart::policy)]
    restart: Option<restart::Policy>,
    /// Publish one more port: [[IP:]HOST:]CONTAINER[/udp]
    #[arg(short, long, value_name = "PORT")]
    publish: Vec<String>,
    /// End the publication of a port: [[IP:]HOST:]CONTAINER[/udp]; without HOST, all of that port of the container
    #[arg(long, value_name = "PORT")]
    unpublish: Vec<String>,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let restart_unhealthy = args.restart.as_ref().is_some_and(|policy| policy.unhealthy);
    let restart_policy = args.restart.map(|policy| policy.docker);
    let docker = ContainerUpdateBody { restart_policy, ..args.limits.changes() };
    let mount_changes = MountChangeRequest { add: args.mount, remove: args.unmount };
    let changes = Wish { docker, restart_unhealthy, mount_changes, ..Wish::default() };
    let mut port_changes = PortChangeRequest::default();
    for (texts, map) in [(&args.publish, &mut port_changes.publish), (&args.unpublish, &mut port_changes.withdraw)] {
        texts.iter().try_for_each(|text| ports::publish(text, map))?;
    }
    let (has_changes, has_ports) = (changes != Wish::default(), port_changes != PortChangeRequest::default());
    if !has_changes && !has_ports {
        return Err(Failure::new(Kind::InvalidArgument, "nothing was said that shall change")
            .with_hint("`corten update --help` lists what can"));
    }
    for_each(&args.containers, async |name| {
        if has_changes {
            let answer = context.client.update_container(name, &changes).await?;
            for warning in answer.warnings.into_iter().flatten() {
                printer::note(&format!("warning: {warning}"));
            }
        }
        if has_ports {
            context.client.change_ports(name, &port_changes).await?;
        }
        Ok(name.to_owned())
    })
    .await
}
