// SPDX-License-Identifier: Apache-2.0
//! The bridge driver's options, by Docker's names. What is not known is refused: an option that is ignored in silence is
//! one that somebody relies on.

use std::collections::BTreeMap;

use network::{NetworkId, Traits};

use crate::error::EngineError;

const NAME: &str = "com.docker.network.bridge.name";
const INTER_CONTAINER: &str = "com.docker.network.bridge.enable_icc";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const PUBLISH_ON: &str = "com.docker.network.bridge.host_binding_ipv4";
const MTU: &str = "com.docker.network.driver.mtu";

/// The bridge's name, and how the network behaves.
pub(super) fn read(
    id: &NetworkId,
    options: &BTreeMap<String, String>,
    internal: bool,
) -> Result<(String, Traits), EngineError> {
    let mut bridge = format!("br-{}", id.short());
    let mut traits = Traits { internal, ..Traits::default() };
    for (option, value) in options {
        match option.as_str() {
            NAME => bridge.clone_from(value),
            INTER_CONTAINER => traits.inter_container = switch(option, value)?,
            MASQUERADE => traits.masquerade = switch(option, value)?,
            PUBLISH_ON if value == "0.0.0.0" => traits.publish_on = None,
            PUBLISH_ON => traits.publish_on = Some(parse(option, value, "an IPv4 address")?),
            MTU => traits.mtu = Some(parse(option, value, "a number of bytes")?),
            _ => {
                let known = [NAME, INTER_CONTAINER, MASQUERADE, PUBLISH_ON, MTU].join(", ");
                return Err(EngineError::Unsupported(format!("the network option {option:?} (there are {known})")));
            }
        }
    }
    Ok((bridge, traits))
}

fn parse<T: std::str::FromStr>(option: &str, value: &str, what: &str) -> Result<T, EngineError> {
    let invalid = |_| EngineError::invalid("--opt", format!("{option}: {value:?} is not {what}"));
    value.parse().map_err(invalid)
}

/// The words for yes and no that Docker's own parser takes.
fn switch(option: &str, value: &str) -> Result<bool, EngineError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(EngineError::invalid("--opt", format!("{option}: {value:?} is neither true nor false"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &[(&str, &str)]) -> Result<(String, Traits), EngineError> {
        let options = options.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        read(&NetworkId::from_random([0xab; 32]), &options, false)
    }

    #[test]
    fn options_become_traits() {
        assert_eq!(parsed(&[]).unwrap(), ("br-abababababab".to_owned(), Traits::default()));
        let (bridge, traits) = parsed(&[
            (NAME, "blue0"),
            (INTER_CONTAINER, "false"),
            (MASQUERADE, "0"),
            (PUBLISH_ON, "127.0.0.1"),
            (MTU, "1400"),
        ])
        .unwrap();
        assert_eq!(bridge, "blue0");
        assert!(!traits.inter_container && !traits.masquerade);
        assert_eq!((traits.publish_on, traits.mtu), (Some([127, 0, 0, 1].into()), Some(1400)));
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (name, value) in [(INTER_CONTAINER, "maybe"), (MTU, "-1"), (PUBLISH_ON, "::1"), ("com.example.x", "y")] {
            let error = parsed(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
