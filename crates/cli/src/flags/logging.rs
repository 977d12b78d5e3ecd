// SPDX-License-Identifier: Apache-2.0
//! `--log-driver` and `--log-opt`. What a driver knows is the daemon's to say.

use api_types::docker::HostConfigLogConfig;

use super::FlagError;

/// An option: `NAME=VALUE`.
pub(crate) fn option(text: &str) -> Result<(String, String), FlagError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(FlagError::invalid(text, "is not NAME=VALUE, as in max-size=10m")),
    }
}

/// What both flags ask for; nothing if none was given.
pub(crate) fn config(driver: Option<&str>, options: &[(String, String)]) -> Option<HostConfigLogConfig> {
    if driver.is_none() && options.is_empty() {
        return None;
    }
    Some(HostConfigLogConfig { typ: driver.map(str::to_owned), config: Some(options.iter().cloned().collect()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_has_a_name() {
        assert_eq!(option("tag={{.ID}}=x").unwrap(), ("tag".to_owned(), "{{.ID}}=x".to_owned()));
        assert_eq!(option("tag=").unwrap().1, "");
        assert!(option("tag").is_err() && option("=x").is_err());
    }
}
