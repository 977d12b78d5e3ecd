// SPDX-License-Identifier: Apache-2.0
//! `corten network create`: make a network.

use std::collections::HashMap;

use api_types::docker::{ConfigReference, Ipam, IpamConfig, NetworkCreateRequest};

use crate::cli::Context;
use crate::failure::Failure;
use crate::flags::{FlagError, environment};
use crate::printer;

/// Make a network
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Let containers of a swarm join it
    #[arg(long)]
    attachable: bool,
    /// An address of the subnet that no container gets, and what it is for
    #[arg(long, value_name = "NAME=ADDRESS")]
    aux_address: Vec<String>,
    /// Take the configuration of another network
    #[arg(long, value_name = "NETWORK")]
    config_from: Option<String>,
    /// Make a configuration for other networks only
    #[arg(long)]
    config_only: bool,
    /// What carries it
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge")]
    driver: String,
    /// The subnet's address of the bridge itself
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<String>,
    /// Make the network of a swarm's published ports
    #[arg(long)]
    ingress: bool,
    /// No way out of it, and none in
    #[arg(long)]
    internal: bool,
    /// The part of the subnet that containers' addresses are chosen from, as in 172.28.5.0/24
    #[arg(long, value_name = "SUBNET")]
    ip_range: Vec<String>,
    /// What chooses addresses
    #[arg(long, value_name = "DRIVER", default_value = "default")]
    ipam_driver: String,
    /// An option of what chooses addresses
    #[arg(long, value_name = "KEY=VALUE")]
    ipam_opt: Vec<String>,
    /// Whether it has IPv4 addresses
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv4: Option<bool>,
    /// Whether it has IPv6 addresses
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv6: Option<bool>,
    /// Attach a label
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// An option of the driver, as in com.docker.network.driver.mtu=1400
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// How far it reaches
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// Its addresses, as in 172.28.0.0/16
    #[arg(long, value_name = "SUBNET")]
    subnet: Vec<String>,
    /// Its name
    name: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let made = context.client.create_network(&request(args)?).await?;
    if !made.warning.is_empty() {
        printer::warning(&made.warning);
    }
    printer::line(&made.id);
    Ok(0)
}

fn request(args: Args) -> Result<NetworkCreateRequest, FlagError> {
    let some = |map: HashMap<String, String>| (!map.is_empty()).then_some(map);
    let pairs = |list: &[String]| environment::labels(list).map(some);
    let configs = configs(&args)?;
    Ok(NetworkCreateRequest {
        driver: Some(args.driver),
        scope: args.scope,
        internal: Some(args.internal),
        attachable: Some(args.attachable),
        ingress: Some(args.ingress),
        config_only: Some(args.config_only),
        config_from: args.config_from.map(|network| ConfigReference { network: Some(network) }),
        ipam: Some(Ipam {
            driver: Some(args.ipam_driver),
            config: Some(configs).filter(|list| !list.is_empty()),
            options: pairs(&args.ipam_opt)?,
        }),
        enable_ipv4: args.ipv4,
        enable_ipv6: args.ipv6,
        options: pairs(&args.opt)?,
        labels: pairs(&args.label)?,
        name: args.name,
    })
}

/// One for each family that has any: what belongs to which is told by the form of addresses. Whether it lies in the subnet
/// is the daemon's to know.
fn configs(args: &Args) -> Result<Vec<IpamConfig>, FlagError> {
    let reserved = environment::labels(&args.aux_address)?;
    let mut configs = Vec::new();
    for is_ipv6 in [false, true] {
        let only = |list: &[String], problem| {
            let mut own = list.iter().filter(|text| text.contains(':') == is_ipv6);
            match (own.next(), own.next()) {
                (one, None) => Ok(one.cloned()),
                (_, Some(second)) => Err(FlagError::invalid(second, problem)),
            }
        };
        let own = reserved.iter().filter(|(_, address)| address.contains(':') == is_ipv6);
        let own: HashMap<String, String> = own.map(|(name, address)| (name.clone(), address.clone())).collect();
        let config = IpamConfig {
            subnet: only(&args.subnet, "is a second subnet: a network has one of each family")?,
            ip_range: only(&args.ip_range, "is a second range: a network has one of each family")?,
            gateway: only(&args.gateway, "is a second gateway: a network has one of each family")?,
            auxiliary_addresses: Some(own).filter(|map| !map.is_empty()),
        };
        if config == IpamConfig::default() {
            continue;
        }
        if config.subnet.is_none() {
            let problem = match is_ipv6 {
                false => "needs a --subnet for its --gateway, --ip-range or --aux-address",
                true => "needs an IPv6 --subnet for its IPv6 --gateway, --ip-range or --aux-address",
            };
            return Err(FlagError::invalid(&args.name, problem));
        }
        configs.push(config);
    }
    Ok(configs)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn body(line: &str) -> Result<Value, FlagError> {
        let line = Line::try_parse_from(std::iter::once("create").chain(line.split_whitespace())).unwrap();
        request(line.args).map(|request| serde_json::to_value(request).unwrap())
    }

    #[test]
    fn every_flag_reaches_the_body_as_docker_writes_it() {
        let body = body(
            "-d bridge --internal --subnet 10.1.0.0/16 --gateway 10.1.0.9 --ip-range 10.1.2.0/24 --aux-address a=10.1.0.5 \
             -o com.docker.network.driver.mtu=1400 --label k=v --ipv6=false --ipv4 mine",
        )
        .unwrap();
        assert_eq!(body["Name"], "mine");
        assert_eq!(body["Driver"], "bridge");
        assert_eq!(
            (&body["Internal"], &body["EnableIPv6"], &body["EnableIPv4"]),
            (&true.into(), &false.into(), &true.into())
        );
        let config = json!({"Subnet": "10.1.0.0/16", "Gateway": "10.1.0.9", "IPRange": "10.1.2.0/24",
            "AuxiliaryAddresses": {"a": "10.1.0.5"}});
        assert_eq!(body["IPAM"], json!({"Driver": "default", "Config": [config]}));
        assert_eq!(body["Options"], json!({"com.docker.network.driver.mtu": "1400"}));
        assert_eq!(body["Labels"], json!({"k": "v"}));
    }

    #[test]
    fn addresses_go_with_one_subnet() {
        assert_eq!(body("mine").unwrap()["IPAM"], json!({"Driver": "default"}));
        assert!(body("--gateway 10.1.0.1 mine").is_err());
        assert!(body("--subnet 10.1.0.0/16 --subnet 10.2.0.0/16 mine").is_err());
        assert!(body("--ipv6 --subnet 10.1.0.0/16 --gateway fd00:1::1 mine").is_err());
        assert!(body("--ipv6 --subnet fd00:1::/64 --subnet fd00:2::/64 mine").is_err());
    }

    #[test]
    fn each_family_has_its_own_subnet() {
        let body = body(
            "--ipv6 --subnet fd00:1::/64 --subnet 10.1.0.0/16 --gateway fd00:1::9 --gateway 10.1.0.9 --ip-range fd00:1::/80 \
             --aux-address a=10.1.0.5 --aux-address b=fd00:1::5 mine",
        )
        .unwrap();
        assert_eq!(body["EnableIPv6"], true);
        let four = json!({"Subnet": "10.1.0.0/16", "Gateway": "10.1.0.9", "AuxiliaryAddresses": {"a": "10.1.0.5"}});
        let six = json!({"Subnet": "fd00:1::/64", "Gateway": "fd00:1::9", "IPRange": "fd00:1::/80",
            "AuxiliaryAddresses": {"b": "fd00:1::5"}});
        assert_eq!(body["IPAM"]["Config"], json!([four, six]));
    }
}
