// SPDX-License-Identifier: Apache-2.0
//! One OCI bundle for two runtimes.

use std::error::Error;
use std::path::Path;

use oci::runtime_spec::LinuxSeccomp;
use serde_json::{Value, json};
use testkit::process::command;

/// The capabilities that `runc spec` gives.
pub(super) const CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

/// A bundle whose command is `/bin/true`: the configuration `runc spec` writes, with a cgroup, and with a
/// seccomp profile.
pub(super) fn write(directory: &Path, seccomp: Value) -> Result<(), Box<dyn Error>> {
    let root = directory.join("rootfs");
    for part in ["bin", "proc", "sys", "dev", "tmp", "etc"] {
        std::fs::create_dir_all(root.join(part))?;
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    std::os::unix::fs::symlink("busybox", root.join("bin/true"))?;
    if !command("runc").arg("spec").current_dir(directory).status()?.success() {
        return Err("runc spec failed".into());
    }
    let path = directory.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = json!(["/bin/true"]);
    // Raising limits needs a capability that not every machine gives.
    config["process"]["rlimits"] = json!([]);
    config["process"]["capabilities"] =
        json!({"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES});
    config["linux"]["seccomp"] = seccomp;
    config["linux"]["cgroupsPath"] = "/corten-test-bench".into();
    config["linux"]["resources"] =
        json!({"memory": {"limit": 268_435_456}, "cpu": {"shares": 512}, "pids": {"limit": 100}});
    std::fs::write(path, config.to_string())?;
    Ok(())
}

/// The same with Corten's default profile, which it answers.
pub(super) fn with_default_profile(directory: &Path) -> Result<LinuxSeccomp, Box<dyn Error>> {
    let capabilities = CAPABILITIES.iter().map(|name| (*name).to_owned()).collect();
    let profile = seccomp::default_profile(&capabilities, (6, 1));
    write(directory, serde_json::to_value(&profile)?)?;
    Ok(profile)
}

/// The seccomp profile in the configuration of the one container that Docker runs below `exec_root`.
pub(super) fn seccomp_of_docker(exec_root: &Path, id: &str) -> Result<Value, Box<dyn Error>> {
    let path = exec_root.join("containerd/daemon/io.containerd.runtime.v2.task/moby").join(id).join("config.json");
    let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut config: Value = serde_json::from_slice(&text)?;
    Ok(config["linux"]["seccomp"].take())
}
