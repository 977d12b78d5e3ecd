// SPDX-License-Identifier: Apache-2.0
//! `--ulimit NAME=SOFT[:HARD]`: a limit of a container's processes.

use api_types::docker::ResourcesUlimits;

use super::FlagError;

/// The limit in `text`; -1 and `unlimited` are none, and a hard limit that is absent is the soft one.
pub(crate) fn parse(text: &str) -> Result<ResourcesUlimits, FlagError> {
    let invalid = || FlagError::invalid(text, "is no limit: write NAME=SOFT[:HARD], as in nofile=1024:2048");
    let (name, limits) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(invalid)?;
    let number = |limit: &str| match limit {
        "-1" | "unlimited" => Ok(-1),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse::<i64>().map_err(|_| invalid()),
        _ => Err(invalid()),
    };
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    Ok(ResourcesUlimits { name: Some(name.to_owned()), soft: Some(number(soft)?), hard: Some(number(hard)?) })
}

/// Of limits that are given twice, the later ones.
pub(crate) fn last_of_each(all: &[ResourcesUlimits]) -> Vec<ResourcesUlimits> {
    let is_last = |(index, limit): &(usize, &ResourcesUlimits)| !all[index + 1..].iter().any(|l| l.name == limit.name);
    all.iter().enumerate().filter(is_last).map(|(_, limit)| limit.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_docker_reads_them() {
        for (text, soft, hard) in [
            ("nofile=1024:2048", 1024, 2048),
            ("nofile=1024", 1024, 1024),
            ("core=0", 0, 0),
            ("memlock=-1:-1", -1, -1),
            ("memlock=unlimited", -1, -1),
        ] {
            let limit = parse(text).unwrap();
            assert_eq!((limit.soft, limit.hard), (Some(soft), Some(hard)), "{text}");
        }
        for bad in ["nofile", "=1", "nofile=", "nofile=a", "nofile=1:", "nofile=1:2:3", "nofile=-2", "nofile=+1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_of_a_name_holds() {
        let all = ["nofile=1", "core=0", "nofile=2"].map(|text| parse(text).unwrap());
        let kept = last_of_each(&all);
        assert_eq!(kept.iter().map(|limit| limit.soft).collect::<Vec<_>>(), [Some(0), Some(2)]);
    }
}
