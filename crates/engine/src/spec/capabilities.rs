// SPDX-License-Identifier: Apache-2.0
//! Which capabilities a container has: Docker's default set, plus `--cap-add`, minus `--cap-drop`.

use std::str::FromStr;

use oci::OciSpecError;
use oci::runtime_spec::{Capabilities, Capability, LinuxCapabilities, LinuxCapabilitiesBuilder};

use super::defaults;
use crate::error::EngineError;

/// All capabilities that the kernel knows, CAP_CHOWN to CAP_CHECKPOINT_RESTORE (capabilities(7)).
const ALL: [Capability; 41] = {
    use Capability::*;
    [
        Chown,
        DacOverride,
        DacReadSearch,
        Fowner,
        Fsetid,
        Kill,
        Setgid,
        Setuid,
        Setpcap,
        LinuxImmutable,
        NetBindService,
        NetBroadcast,
        NetAdmin,
        NetRaw,
        IpcLock,
        IpcOwner,
        SysModule,
        SysRawio,
        SysChroot,
        SysPtrace,
        SysPacct,
        SysAdmin,
        SysBoot,
        SysNice,
        SysResource,
        SysTime,
        SysTtyConfig,
        Mknod,
        Lease,
        AuditWrite,
        AuditControl,
        Setfcap,
        MacOverride,
        MacAdmin,
        Syslog,
        WakeAlarm,
        BlockSuspend,
        AuditRead,
        Perfmon,
        Bpf,
        CheckpointRestore,
    ]
};

/// All of them: those of a privileged container.
pub(super) fn all() -> Capabilities {
    ALL.into_iter().collect()
}

/// The capabilities that remain after adding and dropping. As in Docker: `ALL` on either side is taken first, then the
/// single names of the other side.
///
/// # Errors
/// A name that is no capability.
pub(super) fn granted(add: &[String], drop: &[String]) -> Result<Capabilities, EngineError> {
    let (add_all, add) = parse(add, "--cap-add")?;
    let (drop_all, drop) = parse(drop, "--cap-drop")?;
    let mut set: Capabilities = match (add_all, drop_all) {
        (true, _) => ALL.into_iter().collect(),
        (false, true) => Capabilities::new(),
        (false, false) => ALL.into_iter().filter(|one| defaults::CAPABILITIES.contains(&&*one.to_string())).collect(),
    };
    set.extend(add);
    for one in drop {
        set.remove(&one);
    }
    Ok(set)
}

fn parse(names: &[String], field: &'static str) -> Result<(bool, Vec<Capability>), EngineError> {
    let mut all = false;
    let mut set = Vec::with_capacity(names.len());
    for name in names {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if bare == "ALL" {
            all = true;
            continue;
        }
        let one = Capability::from_str(bare).map_err(|_| {
            EngineError::invalid(field, format!("{name:?} is not a capability (capabilities(7) lists them)"))
        })?;
        set.push(one);
    }
    Ok((all, set))
}

/// The five sets for a process of `uid`. Another user than root starts with none effective, as after execve(2).
pub(super) fn effective(granted: &Capabilities, uid: u32) -> Result<LinuxCapabilities, OciSpecError> {
    let active = if uid == 0 { granted.clone() } else { Capabilities::new() };
    LinuxCapabilitiesBuilder::default()
        .bounding(granted.clone())
        .effective(active.clone())
        .permitted(active)
        .inheritable(Capabilities::new())
        .ambient(Capabilities::new())
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(set: Capabilities) -> Vec<String> {
        let mut names: Vec<String> = set.iter().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn the_default_set_is_dockers() {
        assert_eq!(names(granted(&[], &[]).unwrap()), defaults::CAPABILITIES);
    }

    #[test]
    fn adding_and_dropping_take_all_first() {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(names(granted(&list(&["cap_net_admin"]), &list(&["ALL"])).unwrap()), ["NET_ADMIN"]);
        let most = granted(&list(&["all"]), &list(&["SYS_ADMIN"])).unwrap();
        assert_eq!(most.len(), 40);
        assert!(!most.contains(&Capability::SysAdmin));
        assert!(granted(&list(&["SYS_NONSENSE"]), &[]).is_err());
    }

    #[test]
    fn another_user_starts_with_nothing_effective() {
        let set = granted(&[], &[]).unwrap();
        let sets = effective(&set, 1000).unwrap();
        assert_eq!(sets.effective().as_ref().map(std::collections::HashSet::len), Some(0));
        assert_eq!(sets.bounding().as_ref(), Some(&set));
    }
}
