// SPDX-License-Identifier: Apache-2.0
//! `corten volume create`.

use std::collections::HashMap;

use api_types::docker::VolumeCreateRequest;

use crate::cli::Context;
use crate::failure::Failure;
use crate::flags;
use crate::printer;

/// Create a volume; the name of one that there is already stays that one's
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The volume's driver; there is local
    #[arg(short, long, value_name = "DRIVER", default_value = "local")]
    driver: String,
    /// Attach a label
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// What the driver shall mount: type=TYPE, device=DEVICE, o=MOUNT_OPTIONS
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = flags::filter)]
    opt: Vec<(String, String)>,
    #[command(flatten)]
    cluster: Box<Cluster>,
    /// Its name; one is made up when absent
    #[arg(value_name = "VOLUME")]
    name: Option<String>,
}

/// What Docker has for the volumes of a swarm. It is known, so that the answer says why not.
#[derive(Debug, clap::Args)]
struct Cluster {
    #[arg(long, hide = true, value_name = "WORD")]
    availability: Option<String>,
    #[arg(long, hide = true, value_name = "NAME")]
    group: Option<String>,
    #[arg(long, hide = true, value_name = "SIZE")]
    limit_bytes: Option<String>,
    #[arg(long, hide = true, value_name = "SIZE")]
    required_bytes: Option<String>,
    #[arg(long, hide = true, value_name = "WORD")]
    scope: Option<String>,
    #[arg(long, hide = true, value_name = "NAME=VALUE")]
    secret: Vec<String>,
    #[arg(long, hide = true, value_name = "WORD")]
    sharing: Option<String>,
    #[arg(long, hide = true, value_name = "TOPOLOGY")]
    topology_preferred: Vec<String>,
    #[arg(long, hide = true, value_name = "TOPOLOGY")]
    topology_required: Vec<String>,
    #[arg(long = "type", hide = true, value_name = "WORD")]
    kind: Option<String>,
}

impl Cluster {
    fn check(&self) -> Result<(), flags::FlagError> {
        const SWARM: &str = "it is about cluster volumes, which need a swarm";
        flags::refuse(&[
            (self.availability.is_some(), "--availability", SWARM),
            (self.group.is_some(), "--group", SWARM),
            (self.limit_bytes.is_some(), "--limit-bytes", SWARM),
            (self.required_bytes.is_some(), "--required-bytes", SWARM),
            (self.scope.is_some(), "--scope", SWARM),
            (!self.secret.is_empty(), "--secret", SWARM),
            (self.sharing.is_some(), "--sharing", SWARM),
            (!self.topology_preferred.is_empty(), "--topology-preferred", SWARM),
            (!self.topology_required.is_empty(), "--topology-required", SWARM),
            (self.kind.is_some(), "--type", SWARM),
        ])
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    args.cluster.check()?;
    let labels = flags::environment::labels(&args.label)?;
    let wish = VolumeCreateRequest {
        name: args.name,
        driver: Some(args.driver),
        driver_opts: Some(args.opt.into_iter().collect::<HashMap<_, _>>()),
        labels: Some(labels),
        cluster_volume_spec: None,
    };
    printer::line(&context.client.create_volume(&wish).await?.name);
    Ok(0)
}
