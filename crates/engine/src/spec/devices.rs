// SPDX-License-Identifier: Apache-2.0
//! Which device files a container has, and which devices it may open.

use std::path::Path;

use oci::OciSpecError;
use oci::runtime_spec as rt;

use super::defaults;
use crate::error::EngineError;
use crate::request::ContainerSpec;
use crate::surroundings::{DeviceType, HostDevice, Surroundings};

/// The device files beyond those that every container has.
pub(super) fn files(around: &Surroundings) -> Result<Option<Vec<rt::LinuxDevice>>, OciSpecError> {
    let file = |device: &HostDevice| {
        let mut file = rt::LinuxDeviceBuilder::default()
            .path(device.path.clone())
            .typ(kind(device.kind))
            .major(device.major)
            .minor(device.minor)
            .build()?;
        file.set_file_mode(Some(device.mode)).set_uid(Some(device.uid)).set_gid(Some(device.gid));
        Ok(file)
    };
    let made = around.devices.iter().filter(|device| bound(around, device).is_none());
    let all = made.map(file).collect::<Result<Vec<_>, OciSpecError>>()?;
    Ok((!all.is_empty()).then_some(all))
}

/// What of the host is bound instead of a device file that is made: nobody may make one in a user namespace.
pub(super) fn bound<'d>(around: &Surroundings, device: &'d HostDevice) -> Option<&'d Path> {
    device.source.as_deref().filter(|_| around.user_namespace.is_some())
}

/// The rules, of which a later one goes before an earlier one.
pub(super) fn rules(wish: &ContainerSpec, around: &Surroundings) -> Result<Vec<rt::LinuxDeviceCgroup>, EngineError> {
    if wish.security.privileged {
        let all = rt::LinuxDeviceCgroupBuilder::default().allow(true).typ(rt::LinuxDeviceType::A).access("rwm");
        return Ok(vec![all.build().map_err(EngineError::Spec)?]);
    }
    let mut rules = defaults::device_rules().map_err(EngineError::Spec)?;
    let ruled = |device: &&HostDevice| !device.access.is_empty() && device.kind != DeviceType::Fifo;
    for device in around.devices.iter().filter(ruled) {
        rules.push(rule(kind(device.kind), (Some(device.major), Some(device.minor)), &device.access)?);
    }
    for text in &wish.devices.rules {
        let (kind, number, access) = parse_rule(text)?;
        rules.push(rule(kind, number, access)?);
    }
    Ok(rules)
}

fn kind(kind: DeviceType) -> rt::LinuxDeviceType {
    match kind {
        DeviceType::Block => rt::LinuxDeviceType::B,
        DeviceType::Character => rt::LinuxDeviceType::C,
        DeviceType::Fifo => rt::LinuxDeviceType::P,
    }
}

type Number = (Option<i64>, Option<i64>);

fn rule(kind: rt::LinuxDeviceType, number: Number, access: &str) -> Result<rt::LinuxDeviceCgroup, EngineError> {
    let rule = rt::LinuxDeviceCgroupBuilder::default().allow(true).typ(kind).access(access);
    let mut rule = rule.build().map_err(EngineError::Spec)?;
    rule.set_major(number.0).set_minor(number.1);
    Ok(rule)
}

/// `TYPE MAJOR:MINOR ACCESS`: `a`, `b` or `c`; numbers or `*`; some of `rwm`.
///
/// # Errors
/// Anything else: the text becomes a rule of the kernel's.
pub(crate) fn parse_rule(text: &str) -> Result<(rt::LinuxDeviceType, Number, &str), EngineError> {
    let invalid = || {
        let reason = format!("{text:?} is not TYPE MAJOR:MINOR ACCESS, as in \"c 42:* rmw\"");
        EngineError::invalid("--device-cgroup-rule", reason)
    };
    let mut words = text.split(' ');
    let (Some(kind), Some(number), Some(access), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(invalid());
    };
    let kind = match kind {
        "a" => rt::LinuxDeviceType::A,
        "b" => rt::LinuxDeviceType::B,
        "c" => rt::LinuxDeviceType::C,
        _ => return Err(invalid()),
    };
    let part = |part: &str| match part {
        "*" => Ok(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse::<u32>().map(|number| Some(number.into())).map_err(|_| invalid())
        }
        _ => Err(invalid()),
    };
    let (major, minor) = number.split_once(':').ok_or_else(invalid)?;
    if !is_access(access) {
        return Err(invalid());
    }
    Ok((kind, (part(major)?, part(minor)?), access))
}

/// Some of `rwm`, each at most once.
pub(crate) fn is_access(text: &str) -> bool {
    let once = |letter: char| text.matches(letter).count() <= 1;
    !text.is_empty() && text.chars().all(|letter| "rwm".contains(letter)) && "rwm".chars().all(once)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_whole_or_not_at_all() {
        let (kind, number, access) = parse_rule("c 42:* rmw").unwrap();
        assert_eq!((kind, number, access), (rt::LinuxDeviceType::C, (Some(42), None), "rmw"));
        assert!(parse_rule("a *:* rwm").is_ok());
        for bad in [
            "",
            "c",
            "c 1:3",
            "c 1:3 ",
            "c 1:3 rwx",
            "c 1:3 rr",
            "c 1 r",
            "u 1:3 r",
            "c 1:3 r\na *:* rwm",
            "c -1:3 r",
            "c +1:3 r",
            "c 1:: r",
            "c : r",
            "c 99999999999:3 r",
            "c 1:3 r m",
        ] {
            assert!(parse_rule(bad).is_err(), "{bad:?}");
        }
    }
}
