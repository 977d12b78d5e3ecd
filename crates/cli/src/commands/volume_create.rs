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
    /// Its name; one is made up when absent
    #[arg(value_name = "VOLUME")]
    name: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
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
