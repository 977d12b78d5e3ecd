// SPDX-License-Identifier: Apache-2.0
//! `--restart`: when a container that has ended is started again.

use api_types::docker::{RestartPolicy, RestartPolicyNameEnum as Name};

/// `no`, `on-failure[:N]`, `always` or `unless-stopped`.
pub(crate) fn policy(text: &str) -> Result<RestartPolicy, String> {
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count)),
        None => (text, None),
    };
    let name = match name {
        "" | "no" => Name::NO,
        "on-failure" => Name::ON_FAILURE,
        "always" => Name::ALWAYS,
        "unless-stopped" => Name::UNLESS_STOPPED,
        _ => return Err("there are no, on-failure[:N], always and unless-stopped".to_owned()),
    };
    let count = match count {
        None => 0,
        Some(_) if name != Name::ON_FAILURE => return Err("only on-failure takes a number".to_owned()),
        Some(count) => count.parse::<u32>().map_err(|_| format!("{count:?} is not a number of restarts"))?,
    };
    Ok(RestartPolicy { name: Some(name), maximum_retry_count: Some(count.into()) })
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
            let policy = policy(text).unwrap();
            assert_eq!((policy.name, policy.maximum_retry_count), (Some(name), Some(count)), "{text}");
        }
        for bad in ["sometimes", "always:3", "on-failure:-1", "on-failure:x", "on-failure:", "unhealthy"] {
            assert!(policy(bad).is_err(), "{bad}");
        }
    }
}
