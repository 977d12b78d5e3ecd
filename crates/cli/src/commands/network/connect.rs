// SPDX-License-Identifier: Apache-2.0
//! `corten network connect`: one more network for a container.

use std::collections::HashMap;
use std::net::IpAddr;

use api_types::docker::{EndpointIpamConfig, EndpointSettings};

use crate::cli::Context;
use crate::failure::Failure;
use crate::flags::environment;

/// Connect a container to a network, whether it runs or not
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One more name by which others in the network find it
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// An option of the network's driver
    #[arg(long, value_name = "KEY=VALUE")]
    driver_opt: Vec<String>,
    /// The default route leads through the network where this is highest
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_hyphen_values = true)]
    gw_priority: i64,
    /// Its address there, as in 172.30.100.104
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// Its IPv6 address there
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<IpAddr>,
    /// Name another container as ALIAS, for this one alone: CONTAINER[:ALIAS]
    #[arg(long, value_name = "CONTAINER")]
    link: Vec<String>,
    /// A link-local address
    #[arg(long, value_name = "ADDRESS")]
    link_local_ip: Vec<IpAddr>,
    /// Name or id
    network: String,
    /// Name or id
    container: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let options: HashMap<String, String> = environment::labels(&args.driver_opt)?;
    let addresses = args.ip.is_some() || args.ip6.is_some() || !args.link_local_ip.is_empty();
    let wish = EndpointSettings {
        aliases: some(args.alias),
        driver_opts: Some(options).filter(|options| !options.is_empty()),
        gw_priority: Some(args.gw_priority).filter(|priority| *priority != 0),
        links: some(args.link),
        ipam_config: addresses.then(|| EndpointIpamConfig {
            ipv4_address: args.ip.map(|ip| ip.to_string()),
            ipv6_address: args.ip6.map(|ip| ip.to_string()),
            link_local_ips: some(args.link_local_ip.iter().map(ToString::to_string).collect()),
        }),
        ..EndpointSettings::default()
    };
    context.client.connect_network(&args.network, &args.container, wish).await?;
    Ok(0)
}
