// SPDX-License-Identifier: Apache-2.0
//! The flags that `checkpoint` and `restore` share, and where CRIU's own configuration comes from.

use std::path::PathBuf;

use oci::runtime_spec::Spec;

use super::error::CliError;
use super::flags::{Flag, Flags};
use crate::criu::{CgroupMode, Options};

/// What both commands take.
pub(super) const SHARED: [Flag; 9] = [
    Flag::value("image-path"),
    Flag::value("work-path"),
    Flag::switch("tcp-established"),
    Flag::switch("ext-unix-sk"),
    Flag::switch("shell-job"),
    Flag::switch("file-locks"),
    Flag::value("manage-cgroups-mode"),
    Flag::value("empty-ns"),
    Flag::switch("auto-dedup"),
];

/// Where the images are when `--image-path` does not say: runc's default.
const DEFAULT_IMAGES: &str = "checkpoint";

/// Which configuration file CRIU reads (criu(8), "CONFIGURATION FILES"): the annotation's, none when that is empty,
/// and without it the file that is runc's custom, because it is there that an administrator has put it.
const ANNOTATION: &str = "org.criu.config";
const DEFAULT_CONFIGURATION: &str = "/etc/criu/runc.conf";

/// `CLONE_NEWNET`.
const NETWORK: u32 = 0x4000_0000;

pub(super) fn images(flags: &Flags) -> PathBuf {
    flags.path("image-path").filter(|path| !path.as_os_str().is_empty()).unwrap_or_else(|| DEFAULT_IMAGES.into())
}

/// Where the log goes: the images' directory unless `--work-path` says another.
pub(super) fn work(flags: &Flags) -> Option<PathBuf> {
    flags.path("work-path").filter(|path| !path.as_os_str().is_empty())
}

/// The options that both commands' flags mean.
pub(super) fn options(flags: &Flags, spec: &Spec) -> Result<Options, CliError> {
    let configured = spec.annotations().as_ref().and_then(|annotations| annotations.get(ANNOTATION));
    let config_file = configured.map_or(DEFAULT_CONFIGURATION, String::as_str);
    Ok(Options {
        tcp_established: flags.switch("tcp-established"),
        ext_unix_sk: flags.switch("ext-unix-sk"),
        shell_job: flags.switch("shell-job"),
        file_locks: flags.switch("file-locks"),
        auto_dedup: flags.switch("auto-dedup"),
        lazy_pages: flags.switch("lazy-pages"),
        cgroup_mode: cgroup_mode(flags)?,
        empty_namespaces: empty_namespaces(flags)?,
        config_file: (!config_file.is_empty()).then(|| config_file.to_owned()),
        ..Options::default()
    })
}

fn cgroup_mode(flags: &Flags) -> Result<CgroupMode, CliError> {
    match flags.text("manage-cgroups-mode")?.as_deref() {
        None | Some("") => Ok(CgroupMode::Default),
        Some("soft") => Ok(CgroupMode::Soft),
        Some("full") => Ok(CgroupMode::Full),
        Some("strict") => Ok(CgroupMode::Strict),
        Some("ignore") => Ok(CgroupMode::Ignore),
        Some(other) => Err(CliError::InvalidValue {
            flag: "manage-cgroups-mode",
            value: other.to_owned(),
            expected: "soft, full, strict or ignore",
        }),
    }
}

/// A network's devices and addresses are whoever's who set it up, so they are never CRIU's to save: the flag may say
/// so, and changes nothing.
fn empty_namespaces(flags: &Flags) -> Result<u32, CliError> {
    match flags.texts("empty-ns")?.into_iter().find(|kind| kind != "network") {
        None => Ok(NETWORK),
        Some(value) => Err(CliError::InvalidValue { flag: "empty-ns", value, expected: "network" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str], annotation: Option<&str>) -> Result<Options, CliError> {
        let mut config = crate::oci_cli::sample();
        if let Some(value) = annotation {
            config["annotations"] = serde_json::json!({ ANNOTATION: value });
        }
        let flags = Flags::read(args.iter().map(Into::into).collect(), &SHARED)?;
        options(&flags, &serde_json::from_value(config).unwrap())
    }

    #[test]
    fn flags_become_options() {
        let plain = read(&[], None).unwrap();
        assert_eq!((plain.cgroup_mode, plain.empty_namespaces), (CgroupMode::Default, NETWORK));
        let all =
            read(&["--tcp-established", "--manage-cgroups-mode", "ignore", "--empty-ns", "network"], None).unwrap();
        assert!(all.tcp_established && !all.shell_job);
        assert_eq!(all.cgroup_mode, CgroupMode::Ignore);
    }

    #[test]
    fn what_criu_does_not_know_is_refused_by_name() {
        let error = |args: &[&str]| read(args, None).unwrap_err().to_string();
        assert!(error(&["--manage-cgroups-mode", "some"]).contains("soft, full, strict or ignore"));
        assert!(error(&["--empty-ns", "pid"]).contains("--empty-ns has the value \"pid\""));
    }

    #[test]
    fn criu_reads_the_file_that_the_annotation_names() {
        assert_eq!(read(&[], None).unwrap().config_file.as_deref(), Some("/etc/criu/runc.conf"));
        assert_eq!(read(&[], Some("/c")).unwrap().config_file.as_deref(), Some("/c"));
        assert_eq!(read(&[], Some("")).unwrap().config_file, None);
    }
}
