// SPDX-License-Identifier: Apache-2.0
//! Device access rules: the `devices` controller of v1, or a program under v2.

use std::collections::HashSet;

use oci::runtime_spec::{LinuxDeviceCgroup, LinuxDeviceType};

use super::device_program;
use super::plan::Planner;
use crate::{CgroupError, Controller};

pub(super) const LIMIT: &str = "devices";

/// The rules, in the order given: later ones refine earlier ones.
pub(super) fn plan(planner: &mut Planner<'_>, rules: &[LinuxDeviceCgroup]) -> Result<(), CgroupError> {
    if rules.is_empty() {
        return Ok(());
    }
    // Where v1 has no such controller, the unified hierarchy takes a program; this includes hybrid hosts.
    if planner.has_unified && (planner.offers)(Controller::Devices).is_none() {
        planner.device_program = Some(device_program::program(rules)?);
        return Ok(());
    }
    planner.version(Controller::Devices, LIMIT)?;
    // What was allowed and not denied since is so already: an engine's list and the devices that every container has say
    // much twice.
    let mut allowed = HashSet::new();
    for rule in rules {
        let file = if rule.allow() { "devices.allow" } else { "devices.deny" };
        for value in v1_lines(rule)? {
            if !rule.allow() {
                allowed.clear();
            } else if !allowed.insert(value.clone()) {
                continue;
            }
            planner.set(Controller::Devices, LIMIT, file, value);
        }
    }
    Ok(())
}

/// What the kernel is told. To it, `a` means "everything, whatever numbers and access follow", so a rule for all
/// types that does not mean everything becomes one rule for each type.
fn v1_lines(rule: &LinuxDeviceCgroup) -> Result<Vec<String>, CgroupError> {
    let access = access(rule)?;
    let number = |n: Option<i64>| n.filter(|n| *n >= 0).map_or("*".to_owned(), |n| n.to_string());
    let (major, minor) = (number(rule.major()), number(rule.minor()));
    let kind = rule.typ().unwrap_or_default();
    if kind == LinuxDeviceType::A && major == "*" && minor == "*" && access.len() == 3 {
        return Ok(vec!["a".to_owned()]);
    }
    let kinds: &[&str] = match kind {
        LinuxDeviceType::A => &["b", "c"],
        LinuxDeviceType::B => &["b"],
        LinuxDeviceType::C | LinuxDeviceType::U => &["c"],
        LinuxDeviceType::P => {
            let why = "a FIFO is no device";
            return Err(CgroupError::InvalidLimit { limit: LIMIT, value: "p".to_owned(), why });
        }
    };
    Ok(kinds.iter().map(|kind| format!("{kind} {major}:{minor} {access}")).collect())
}

/// The access letters, each once, in the kernel's order; all three when none are given.
pub(super) fn access(rule: &LinuxDeviceCgroup) -> Result<String, CgroupError> {
    let given = rule.access().as_deref().unwrap_or("");
    if !given.bytes().all(|b| b"rwm".contains(&b)) {
        let why = "access is made of r, w and m";
        return Err(CgroupError::InvalidLimit { limit: LIMIT, value: given.to_owned(), why });
    }
    if given.is_empty() {
        return Ok("rwm".to_owned());
    }
    Ok("rwm".chars().filter(|c| given.contains(*c)).collect())
}
