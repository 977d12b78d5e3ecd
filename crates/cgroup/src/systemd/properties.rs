// SPDX-License-Identifier: Apache-2.0
//! Limits as properties of a unit (systemd.resource-control(5)). Pure. What systemd has no property for is written to the
//! control files only.

use oci::runtime_spec::{LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};

use super::SystemdError;
use super::dbus::Value;
use crate::limits::{check_swap, shares_to_weight, swap_alone};

/// A property and its value.
pub(super) type Property = (&'static str, Value);

/// What systemd writes for "no limit".
const INFINITY: u64 = u64::MAX;

/// What the properties depend on besides the limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    /// Whether the controllers are v2's.
    pub(super) v2: bool,
    /// systemd's version.
    pub(super) version: u32,
}

/// The properties for `resources`; without the devices when they are to stay as they are.
pub(super) fn limits(resources: &LinuxResources, target: Target) -> Result<Vec<Property>, SystemdError> {
    let mut properties = Vec::new();
    if let Some(rules) = resources.devices().as_ref().filter(|rules| !rules.is_empty()) {
        devices(&mut properties, rules);
    }
    memory(&mut properties, resources, target)?;
    cpu(&mut properties, resources, target)?;
    if let Some(pids) = resources.pids().as_ref().filter(|pids| pids.limit() != 0) {
        properties.push(("TasksMax", amount(pids.limit())));
    }
    if !target.v2
        && let Some(weight) = resources.block_io().as_ref().and_then(|io| io.weight()).filter(|weight| *weight != 0)
    {
        properties.push(("BlockIOWeight", Value::Uint64(weight.into())));
    }
    if target.v2 {
        unified(&mut properties, resources, target)?;
    }
    Ok(properties)
}

/// Below 0 is unlimited.
fn amount(value: i64) -> Value {
    Value::Uint64(u64::try_from(value).unwrap_or(INFINITY))
}

fn memory(properties: &mut Vec<Property>, resources: &LinuxResources, target: Target) -> Result<(), SystemdError> {
    let Some(memory) = resources.memory() else { return Ok(()) };
    let given = |value: Option<i64>| value.filter(|value| *value != 0);
    check_swap(given(memory.limit()), given(memory.swap()))?;
    if let Some(limit) = given(memory.limit()) {
        properties.push((if target.v2 { "MemoryMax" } else { "MemoryLimit" }, amount(limit)));
    }
    if !target.v2 {
        return Ok(());
    }
    if let Some(reservation) = given(memory.reservation()) {
        properties.push(("MemoryLow", amount(reservation)));
    }
    if let Some(swap) = swap_alone(given(memory.limit()), given(memory.swap())) {
        properties.push(("MemorySwapMax", amount(swap)));
    }
    Ok(())
}

fn cpu(properties: &mut Vec<Property>, resources: &LinuxResources, target: Target) -> Result<(), SystemdError> {
    let Some(cpu) = resources.cpu() else { return Ok(()) };
    let shares = cpu.shares().filter(|shares| *shares != 0);
    // From version 252 on a weight of 0 means idle; no earlier one can say it.
    let idle = target.v2 && cpu.idle() == Some(1) && target.version >= 252;
    match shares {
        _ if idle => properties.push(("CPUWeight", Value::Uint64(0))),
        Some(shares) if target.v2 => properties.push(("CPUWeight", Value::Uint64(shares_to_weight(shares)))),
        Some(shares) => properties.push(("CPUShares", Value::Uint64(shares))),
        None => {}
    }
    quota(properties, cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0), target);
    for (property, list) in [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())] {
        // From version 244 on; the control files are written in any case.
        if let Some(list) = list.as_ref().filter(|list| !list.is_empty() && target.version >= 244) {
            properties.push((property, bits(list)?));
        }
    }
    Ok(())
}

fn quota(properties: &mut Vec<Property>, quota: i64, period: u64, target: Target) {
    if quota == 0 && period == 0 {
        return;
    }
    if period != 0 && target.version >= 242 {
        properties.push(("CPUQuotaPeriodUSec", Value::Uint64(period)));
    }
    let period = if period == 0 { 100_000 } else { period };
    let per_second = match u64::try_from(quota) {
        // systemd counts whole percents of a processor. Rounded down the container would get less than it was promised.
        Ok(quota) if quota > 0 => (quota.saturating_mul(1_000_000) / period).div_ceil(10_000) * 10_000,
        _ => INFINITY,
    };
    properties.push(("CPUQuotaPerSecUSec", Value::Uint64(per_second)));
}

/// `0-2,7` as bits, the lowest first.
fn bits(list: &str) -> Result<Value, SystemdError> {
    let invalid = || SystemdError::Limit { limit: "cpu.cpus, cpu.mems", value: list.to_owned() };
    let mut bytes = vec![];
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) = (first.parse().map_err(|_| invalid())?, last.parse().map_err(|_| invalid())?);
        if first > last {
            return Err(invalid());
        }
        for number in first..=last {
            let at = usize::from(number / 8);
            if bytes.len() <= at {
                bytes.resize(at + 1, 0_u8);
            }
            bytes[at] |= 1 << (number % 8);
        }
    }
    if bytes.is_empty() {
        return Err(invalid());
    }
    Ok(Value::Array("y".into(), bytes.into_iter().map(Value::Byte).collect()))
}

/// systemd knows lists of what is allowed, nothing else. It is told what such a list can say and the control files are
/// written afterwards; without that it would put its own rules over ours whenever it reloads.
fn devices(properties: &mut Vec<Property>, rules: &[LinuxDeviceCgroup]) {
    let list = |entries: Vec<Value>| ("DeviceAllow", Value::Array("(ss)".into(), entries));
    // An empty list takes back what was allowed before.
    properties.push(list(Vec::new()));
    let everything = |rule: &LinuxDeviceCgroup| {
        rule.typ().is_none_or(|kind| kind == LinuxDeviceType::A)
            && number(rule.major()).is_none()
            && number(rule.minor()).is_none()
    };
    let last = rules.iter().rposition(everything);
    let (denied, after) = match last {
        Some(at) => (!rules[at].allow(), &rules[at + 1..]),
        None => (true, rules),
    };
    // What denies after that cannot be said: then nothing narrower than what the files allow is said either.
    if !denied || after.iter().any(|rule| !rule.allow()) {
        properties.push(("DevicePolicy", Value::text("auto")));
        return;
    }
    properties.push(("DevicePolicy", Value::text("strict")));
    properties.push(list(after.iter().flat_map(entries).collect()));
}

fn number(given: Option<i64>) -> Option<i64> {
    given.filter(|number| *number >= 0)
}

fn entries(rule: &LinuxDeviceCgroup) -> Vec<Value> {
    let kinds: &[&str] = match rule.typ().unwrap_or_default() {
        LinuxDeviceType::A => &["block", "char"],
        LinuxDeviceType::B => &["block"],
        _ => &["char"],
    };
    let access = rule.access().as_deref().filter(|access| !access.is_empty()).unwrap_or("rwm");
    let path = |kind: &&str| match (number(rule.major()), number(rule.minor())) {
        (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
        (Some(major), None) => Some(format!("{kind}-{major}")),
        (None, None) => Some(format!("{kind}-*")),
        // One minor number of every driver: it has no words for that.
        (None, Some(_)) => None,
    };
    kinds.iter().filter_map(path).map(|path| Value::Struct(vec![Value::text(path), Value::text(access)])).collect()
}

/// The control files of `unified` that systemd has properties for.
fn unified(properties: &mut Vec<Property>, resources: &LinuxResources, target: Target) -> Result<(), SystemdError> {
    let Some(files) = resources.unified() else { return Ok(()) };
    let mut files: Vec<(&String, &String)> = files.iter().collect();
    files.sort();
    for (file, value) in files {
        let value = value.trim();
        let invalid = || SystemdError::Limit { limit: "unified", value: format!("{file}={value}") };
        let count = || match value {
            "max" => Ok(Value::Uint64(INFINITY)),
            number => number.parse().map(Value::Uint64).map_err(|_| invalid()),
        };
        let property = match file.as_str() {
            "memory.min" => ("MemoryMin", count()?),
            "memory.low" => ("MemoryLow", count()?),
            "memory.high" => ("MemoryHigh", count()?),
            "memory.max" => ("MemoryMax", count()?),
            "memory.swap.max" => ("MemorySwapMax", count()?),
            "pids.max" => ("TasksMax", count()?),
            "cpu.weight" => ("CPUWeight", count()?),
            "cpu.idle" if value == "1" && target.version >= 252 => ("CPUWeight", Value::Uint64(0)),
            "cpuset.cpus" if target.version >= 244 => ("AllowedCPUs", bits(value)?),
            "cpuset.mems" if target.version >= 244 => ("AllowedMemoryNodes", bits(value)?),
            "cpu.max" => {
                let (amount, period) = value.split_once(' ').unwrap_or((value, "100000"));
                let amount = if amount == "max" { 0 } else { amount.parse().map_err(|_| invalid())? };
                quota(properties, amount, period.trim().parse().map_err(|_| invalid())?, target);
                continue;
            }
            _ => continue,
        };
        properties.push(property);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(v2: bool, json: &str) -> String {
        let resources = serde_json::from_str(json).unwrap();
        let properties = limits(&resources, Target { v2, version: 252 }).unwrap();
        properties.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect::<Vec<_>>().join(" ")
    }

    fn shown(value: &Value) -> String {
        match value {
            Value::Uint64(INFINITY) => "infinity".into(),
            Value::Uint64(number) => number.to_string(),
            Value::Byte(byte) => format!("{byte:02x}"),
            Value::Array(_, items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(",")),
            Value::Struct(fields) => fields.iter().map(shown).collect::<Vec<_>>().join(":"),
            other => other.as_text().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn the_usual_limits_on_both_versions() {
        let usual = r#"{"memory": {"limit": 1000, "swap": 1500, "reservation": 500}, "pids": {"limit": 9},
            "cpu": {"shares": 2048, "quota": 50000, "period": 20000, "cpus": "0-1,9", "mems": "0"},
            "blockIO": {"weight": 500}}"#;
        assert_eq!(
            on(true, usual),
            "MemoryMax=1000 MemoryLow=500 MemorySwapMax=500 CPUWeight=174 CPUQuotaPeriodUSec=20000 \
             CPUQuotaPerSecUSec=2500000 AllowedCPUs=[03,02] AllowedMemoryNodes=[01] TasksMax=9"
        );
        assert_eq!(
            on(false, usual),
            "MemoryLimit=1000 CPUShares=2048 CPUQuotaPeriodUSec=20000 CPUQuotaPerSecUSec=2500000 \
             AllowedCPUs=[03,02] AllowedMemoryNodes=[01] TasksMax=9 BlockIOWeight=500"
        );
    }

    #[test]
    fn unlimited_idle_and_roundings() {
        let unlimited = r#"{"memory": {"limit": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}}"#;
        assert_eq!(
            on(true, unlimited),
            "MemoryMax=infinity MemorySwapMax=infinity CPUQuotaPerSecUSec=infinity TasksMax=infinity"
        );
        assert_eq!(on(true, r#"{"cpu": {"idle": 1, "shares": 5}}"#), "CPUWeight=0");
        // 33.333 % of a processor.
        assert_eq!(on(true, r#"{"cpu": {"quota": 33333}}"#), "CPUQuotaPerSecUSec=340000");
        assert_eq!(on(true, r#"{"pids": {"limit": 0}, "memory": {"limit": 0}}"#), "");
    }

    #[test]
    fn files_of_the_unified_hierarchy_become_properties_where_there_are_some() {
        let json =
            r#"{"unified": {"memory.high": "max", "cpu.max": "20000 40000", "io.max": "8:0 rbps=1", "pids.max": "7"}}"#;
        assert_eq!(on(true, json), "CPUQuotaPeriodUSec=40000 CPUQuotaPerSecUSec=500000 MemoryHigh=infinity TasksMax=7");
        let bad = serde_json::from_str(r#"{"unified": {"pids.max": "many"}}"#).unwrap();
        assert!(limits(&bad, Target { v2: true, version: 252 }).is_err());
    }

    #[test]
    fn devices_that_are_allowed_are_listed_and_what_cannot_be_said_is_left_open() {
        let listed = r#"{"devices": [{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"},
            {"allow": true, "type": "c", "major": 136, "access": "rwm"}, {"allow": true, "type": "b", "access": "m"},
            {"allow": true, "type": "c", "minor": 9, "access": "r"}]}"#;
        assert_eq!(
            on(true, listed),
            "DeviceAllow=[] DevicePolicy=strict DeviceAllow=[/dev/char/1:3:rw,char-136:rwm,block-*:m]"
        );
        let open = r#"{"devices": [{"allow": true}]}"#;
        assert_eq!(on(true, open), "DeviceAllow=[] DevicePolicy=auto");
        let exceptions =
            r#"{"devices": [{"allow": false}, {"allow": true, "type": "c"}, {"allow": false, "major": 1}]}"#;
        assert_eq!(on(true, exceptions), "DeviceAllow=[] DevicePolicy=auto");
    }
}
