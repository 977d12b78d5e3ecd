// SPDX-License-Identifier: Apache-2.0
//! `corten update`: other limits and another restart policy for containers.

use api_types::Wish;
use api_types::docker::ContainerUpdateBody;
use errors::Kind;

use crate::cli::Context;
use crate::commands::for_each;
use crate::failure::Failure;
use crate::flags::limits::LimitFlags;
use crate::flags::restart;
use crate::printer;

/// Change the limits or the restart policy of one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    limits: LimitFlags,
    /// When to start it again: no, on-failure[:N], unhealthy[:N], always, unless-stopped
    #[arg(long, value_name = "POLICY", value_parser = restart::policy)]
    restart: Option<restart::Policy>,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let restart_unhealthy = args.restart.as_ref().is_some_and(|policy| policy.unhealthy);
    let restart_policy = args.restart.map(|policy| policy.docker);
    let docker = ContainerUpdateBody { restart_policy, ..args.limits.changes() };
    let changes = Wish { docker, restart_unhealthy, publish_when_ready: false };
    if changes == Wish::default() {
        return Err(Failure::new(Kind::InvalidArgument, "nothing was said that shall change")
            .with_hint("`corten update --help` lists what can"));
    }
    for_each(&args.containers, async |name| {
        let answer = context.client.update_container(name, &changes).await?;
        for warning in answer.warnings.into_iter().flatten() {
            printer::note(&format!("warning: {warning}"));
        }
        Ok(name.to_owned())
    })
    .await
}
