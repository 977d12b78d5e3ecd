// SPDX-License-Identifier: Apache-2.0
//! What a description adds to a container.

use serde::Deserialize;

/// `containerEdits`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Edits {
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Device files.
    pub device_nodes: Vec<DeviceNode>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Programs of the host that are run at points of the container's life.
    pub hooks: Vec<Hook>,
    /// Further groups of the process; 0 means nothing.
    pub additional_gids: Vec<u32>,
    /// Classes of the processor's cache.
    pub intel_rdt: Option<IntelRdt>,
    /// Network interfaces that move into the container.
    pub net_devices: Vec<NetDevice>,
}

/// A device file. What is absent is what the file on the host is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DeviceNode {
    /// Where it is in the container.
    pub path: String,
    /// Where it is on the host, if elsewhere.
    pub host_path: String,
    /// `b`, `c`, `u` or `p`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Device number.
    pub major: i64,
    /// Device number.
    pub minor: i64,
    /// Permission bits.
    pub file_mode: Option<u32>,
    /// Some of `rwm`; empty for all, `none` for none.
    pub permissions: String,
    /// Its owner.
    pub uid: Option<u32>,
    /// Its group.
    pub gid: Option<u32>,
}

/// A mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Mount {
    /// Its source on the host.
    pub host_path: String,
    /// Where it is in the container.
    pub container_path: String,
    /// The file system, where it is no bind mount.
    #[serde(rename = "type")]
    pub kind: String,
    /// Mount options.
    pub options: Vec<String>,
}

/// A hook of the runtime specification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Hook {
    /// When it is run: `createRuntime`, `createContainer`, `startContainer`, `poststart`, `poststop` or `prestart`.
    pub hook_name: String,
    /// The program.
    pub path: String,
    /// Its arguments, the program's name first.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<String>,
    /// After how many seconds it is given up.
    pub timeout: Option<i64>,
}

/// Known so that it can be refused by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IntelRdt {
    #[serde(rename = "closID")]
    clos_id: String,
    l3_cache_schema: String,
    mem_bw_schema: String,
    pub(crate) schemata: Vec<String>,
    pub(crate) enable_monitoring: bool,
}

/// Known so that it can be refused by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NetDevice {
    host_interface_name: String,
    name: String,
}

const HOOKS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

impl Edits {
    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        *self == Edits::default()
    }

    /// What of it no container can get, if there is anything; and why.
    pub fn refused(&self) -> Option<&'static str> {
        if self.intel_rdt.is_some() {
            return Some("intelRdt is not supported: Corten sets no cache classes");
        }
        (!self.net_devices.is_empty()).then_some("netDevices is not supported: Corten moves no interfaces of the host")
    }

    /// Checks what can be checked without the host.
    ///
    /// # Errors
    /// The field, and what is wrong with it.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        for env in &self.env {
            if env.starts_with('=') || !env.contains('=') || env.contains('\0') {
                return Err(("env", format!("{env:?} is not NAME=value")));
            }
        }
        for node in &self.device_nodes {
            node.check()?;
        }
        for mount in &self.mounts {
            if !is_absolute(&mount.container_path) {
                return Err(("mounts", format!("{:?} is no absolute path in a container", mount.container_path)));
            }
            if mount.host_path.is_empty() || mount.host_path.contains('\0') {
                return Err(("mounts", format!("{:?} is no source", mount.host_path)));
            }
        }
        for hook in &self.hooks {
            if !HOOKS.contains(&hook.hook_name.as_str()) {
                return Err(("hooks", format!("there is no hook {:?}", hook.hook_name)));
            }
            if !is_absolute(&hook.path) {
                return Err(("hooks", format!("{:?} is no absolute path of a program", hook.path)));
            }
            if hook.timeout.is_some_and(|seconds| seconds <= 0) {
                return Err(("hooks", "a timeout is more than 0 seconds".to_owned()));
            }
        }
        Ok(())
    }
}

impl DeviceNode {
    fn check(&self) -> Result<(), (&'static str, String)> {
        if !is_absolute(&self.path) || !(self.host_path.is_empty() || is_absolute(&self.host_path)) {
            return Err(("deviceNodes", format!("{:?} from {:?} is not absolute", self.path, self.host_path)));
        }
        if !matches!(self.kind.as_str(), "" | "b" | "c" | "u" | "p") {
            return Err(("deviceNodes", format!("{:?} is no type of device: there are b, c, u and p", self.kind)));
        }
        let access = &self.permissions;
        if access != "none" && !access.chars().all(|letter| "rwm".contains(letter)) {
            return Err(("deviceNodes", format!("{access:?} is no access: there are r, w and m")));
        }
        Ok(())
    }

    /// What may be done with it: some of `rwm`.
    pub fn access(&self) -> &str {
        match self.permissions.as_str() {
            "" => "rwm",
            "none" => "",
            some => some,
        }
    }

    /// Where it is on the host.
    pub fn source(&self) -> &str {
        if self.host_path.is_empty() { &self.path } else { &self.host_path }
    }
}

fn is_absolute(path: &str) -> bool {
    path.starts_with('/') && !path.contains('\0') && !path.split('/').any(|part| part == "..")
}
