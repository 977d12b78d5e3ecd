// SPDX-License-Identifier: Apache-2.0
//! `corten update`: other limits and another restart policy for containers.

use api_types::docker::{ContainerUpdateBody, RestartPolicy};
use errors::Kind;

use crate::cli::Context;
use crate::commands::for_each;
use crate::failure::Failure;
use crate::flags::{restart, size};
use crate::printer;

/// Change the limits or the restart policy of one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Weight of its share of the processors; 1024 is the usual one
    #[arg(short, long, value_name = "WEIGHT")]
    cpu_shares: Option<i64>,
    /// Processors that may be used, as in 0.5
    #[arg(long, value_name = "NUMBER", value_parser = size::nano_cpus)]
    cpus: Option<i64>,
    /// Processors it may run on, as in 0-2,5
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory limit, as in 512m
    #[arg(short, long, value_name = "SIZE", value_parser = size::bytes)]
    memory: Option<i64>,
    /// Memory that it keeps when memory is short
    #[arg(long, value_name = "SIZE", value_parser = size::bytes)]
    memory_reservation: Option<i64>,
    /// Memory and swap together; -1 for unlimited swap
    #[arg(long, value_name = "SIZE", value_parser = size::bytes_or_unlimited, allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// How many processes and threads there may be; -1 for any number
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// When to start it again: no, on-failure[:N], always, unless-stopped
    #[arg(long, value_name = "POLICY", value_parser = restart::policy)]
    restart: Option<RestartPolicy>,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let changes = ContainerUpdateBody {
        cpu_shares: args.cpu_shares,
        nano_cpus: args.cpus,
        cpuset_cpus: args.cpuset_cpus,
        memory: args.memory,
        memory_reservation: args.memory_reservation,
        memory_swap: args.memory_swap,
        pids_limit: args.pids_limit,
        restart_policy: args.restart,
        ..ContainerUpdateBody::default()
    };
    if changes == ContainerUpdateBody::default() {
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
