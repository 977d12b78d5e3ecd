// SPDX-License-Identifier: Apache-2.0
//! Capability names (capabilities(7)) as bits.

use oci::runtime_spec::{Capabilities, LinuxCapabilities};

use super::operation::CapabilitySets;

/// Their names without `CAP_`, in the kernel's order: the position is the number.
pub(crate) const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// `CAP_SYS_ADMIN`.
pub(crate) const SYS_ADMIN: u64 = 1 << 21;

/// The name of a capability number.
pub(crate) fn name(number: u32) -> String {
    let known = usize::try_from(number).ok().and_then(|number| NAMES.get(number));
    known.map_or_else(|| format!("capability {number}"), |name| format!("CAP_{name}"))
}

fn bits(set: &Option<Capabilities>) -> u64 {
    set.iter().flatten().fold(0, |bits, capability| {
        let name = capability.to_string();
        // Every variant of the specification's enum is in the table; a test says so.
        let number = NAMES.iter().position(|known| *known == name);
        bits | number.map_or(0, |number| 1 << number)
    })
}

/// The five sets; all empty when the spec has none.
pub(super) fn sets(capabilities: Option<&LinuxCapabilities>) -> CapabilitySets {
    capabilities.map_or_else(CapabilitySets::default, |capabilities| CapabilitySets {
        bounding: bits(capabilities.bounding()),
        effective: bits(capabilities.effective()),
        permitted: bits(capabilities.permitted()),
        inheritable: bits(capabilities.inheritable()),
        ambient: bits(capabilities.ambient()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci::runtime_spec::Capability;

    #[test]
    fn every_name_is_a_capability_of_the_specification_and_the_other_way_round() {
        for (number, name) in NAMES.iter().enumerate() {
            let capability: Capability = serde_json::from_str(&format!("\"CAP_{name}\"")).unwrap();
            assert_eq!(bits(&Some([capability].into_iter().collect())), 1 << number, "{name}");
        }
        // The specification's enum has no list of itself; its text form refuses what it does not know.
        assert!(serde_json::from_str::<Capability>("\"CAP_NO_SUCH\"").is_err());
    }
}
