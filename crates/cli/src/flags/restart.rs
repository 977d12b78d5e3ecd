// SPDX-License-Identifier: Apache-2.0
//! `--restart`: when a container that has ended is started again.

use api_types::docker::{RestartPolicy, RestartPolicyNameEnum as Name};

/// A policy as the daemon is told it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Policy {
    /// In Docker's model, which has `on-failure` for `unhealthy`.
    pub(crate) docker: RestartPolicy,
    /// Whether it is `unhealthy`.
    pub(crate) unhealthy: bool,
}

/// `no`, `on-failure[:N]`, `unhealthy[:N]`, `always` or `unless-stopped`.
pub(crate) fn policy(text: &str) -> Result<Policy, String> {
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count)),
        None => (text, None),
    };
    let unhealthy = name == "unhealthy";
    let name = match name {
        "" | "no" => Name::NO,
        "on-failure" | "unhealthy" => Name::ON_FAILURE,
        "always" => Name::ALWAYS,
        "unless-stopped" => Name::UNLESS_STOPPED,
        _ => return Err("there are no, on-failure[:N], unhealthy[:N], always and unless-stopped".to_owned()),
    };
    let count = match count {
        None => 0,
        Some(_) if name != Name::ON_FAILURE => return Err("only on-failure and unhealthy take a number".to_owned()),
        Some(count) => count.parse::<u32>().map_err(|_| format!("{count:?} is not a number of restarts"))?,
    };
    let docker = RestartPolicy { name: Some(name), maximum_retry_count: Some(count.into()) };
    Ok(Policy { docker, unhealthy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_as_dockers() {
        for (text, name, count) in [
            ("no", Name::NO, 0),
            ("on-failure", Name::ON_FAILURE, 0),
            ("on-failure:5", Name::ON_FAILURE, 5),
            ("always", Name::ALWAYS, 0),
            ("unless-stopped", Name::UNLESS_STOPPED, 0),
        ] {
            let Policy { docker, unhealthy } = policy(text).unwrap();
            assert_eq!((docker.name, docker.maximum_retry_count), (Some(name), Some(count)), "{text}");
            assert!(!unhealthy, "{text}");
        }
        let Policy { docker, unhealthy } = policy("unhealthy:3").unwrap();
        assert_eq!((docker.maximum_retry_count, unhealthy), (Some(3), true));
        for bad in ["sometimes", "always:3", "on-failure:-1", "on-failure:x", "on-failure:", "unhealthy:x"] {
            assert!(policy(bad).is_err(), "{bad}");
        }
    }
}
