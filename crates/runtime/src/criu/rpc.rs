// SPDX-License-Identifier: Apache-2.0
//! CRIU's messages (images/rpc.proto of CRIU; the numbers here are that file's field numbers). Pure.

use std::path::{Path, PathBuf};

use super::wire::{Field, Reader, WireError, Writer};

/// `enum criu_req_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

/// How CRIU treats cgroups: `enum criu_cg_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum CgroupMode {
    Ignore = 0,
    Soft = 3,
    Full = 4,
    Strict = 5,
    #[default]
    Default = 6,
}

/// A mount that is not dumped, and what it is called (dump) or where it comes from (restore): `ext_mount_map`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExternalMount {
    pub(crate) key: PathBuf,
    pub(crate) value: PathBuf,
}

/// `criu_page_server_info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageServer {
    pub(crate) address: String,
    pub(crate) port: u16,
}

/// `criu_opts`. Descriptors of directories are numbers of ours: CRIU opens them through `/proc/<our pid>/fd`. Those of
/// `inherit` are CRIU's own, which it was started with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Options {
    pub(crate) images_dir_fd: i32,
    pub(crate) work_dir_fd: Option<i32>,
    pub(crate) log_file: &'static str,
    pub(crate) config_file: Option<String>,
    pub(crate) pid: Option<i32>,
    pub(crate) root: PathBuf,
    pub(crate) leave_running: bool,
    pub(crate) ext_unix_sk: bool,
    pub(crate) tcp_established: bool,
    pub(crate) tcp_skip_in_flight: bool,
    pub(crate) evasive_devices: bool,
    pub(crate) shell_job: bool,
    pub(crate) file_locks: bool,
    pub(crate) link_remap: bool,
    pub(crate) auto_dedup: bool,
    pub(crate) lazy_pages: bool,
    pub(crate) status_fd: Option<i32>,
    pub(crate) page_server: Option<PageServer>,
    pub(crate) parent_image: Option<PathBuf>,
    pub(crate) restore_as_sibling: bool,
    pub(crate) external_mounts: Vec<ExternalMount>,
    pub(crate) external: Vec<String>,
    pub(crate) inherit: Vec<(String, i32)>,
    /// Namespaces to join: kind, file.
    pub(crate) join: Vec<(&'static str, PathBuf)>,
    pub(crate) empty_namespaces: u32,
    pub(crate) cgroup_mode: CgroupMode,
    /// Controllers as in `/proc/self/cgroup`, path.
    pub(crate) cgroup_roots: Vec<(String, String)>,
    pub(crate) freeze_cgroup: Option<PathBuf>,
    pub(crate) lsm_profile: Option<String>,
    pub(crate) lsm_mount_context: Option<String>,
}

/// Everything there is to know of why something failed.
const LOG_LEVEL: i32 = 4;

fn path(path: &Path) -> &[u8] {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes()
}

impl Options {
    fn write(&self, to: &mut Writer) {
        to.int(1, self.images_dir_fd);
        self.pid.into_iter().for_each(|pid| to.int(2, pid));
        to.on(3, self.leave_running);
        to.on(4, self.ext_unix_sk);
        to.on(5, self.tcp_established);
        to.on(6, self.evasive_devices);
        to.on(7, self.shell_job);
        to.on(8, self.file_locks);
        to.int(9, LOG_LEVEL);
        to.bytes(10, self.log_file.as_bytes());
        if let Some(server) = &self.page_server {
            to.message(11, |to| {
                to.bytes(1, server.address.as_bytes());
                to.int(2, i32::from(server.port));
            });
        }
        // We always want to hear how it goes.
        to.on(12, true);
        to.bytes(13, path(&self.root));
        if let Some(parent) = &self.parent_image {
            to.bytes(14, path(parent));
            to.on(15, true);
        }
        to.on(16, self.auto_dedup);
        self.work_dir_fd.into_iter().for_each(|fd| to.int(17, fd));
        to.on(18, self.link_remap);
        for mount in &self.external_mounts {
            to.message(23, |to| {
                to.bytes(1, path(&mount.key));
                to.bytes(2, path(&mount.value));
            });
        }
        // What the mode was before there was one.
        to.on(24, true);
        for (controllers, place) in &self.cgroup_roots {
            to.message(25, |to| {
                to.bytes(1, controllers.as_bytes());
                to.bytes(2, place.as_bytes());
            });
        }
        to.on(26, self.restore_as_sibling);
        for (key, fd) in &self.inherit {
            to.message(27, |to| {
                to.bytes(1, key.as_bytes());
                to.int(2, *fd);
            });
        }
        to.int(34, self.cgroup_mode as i32);
        self.external.iter().for_each(|external| to.bytes(37, external.as_bytes()));
        to.uint(38, u64::from(self.empty_namespaces));
        for (kind, file) in &self.join {
            to.message(39, |to| {
                to.bytes(1, kind.as_bytes());
                to.bytes(2, path(file));
            });
        }
        self.freeze_cgroup.iter().for_each(|place| to.bytes(44, path(place)));
        to.on(46, self.tcp_skip_in_flight);
        to.on(48, self.lazy_pages);
        self.status_fd.into_iter().for_each(|fd| to.int(49, fd));
        // A terminal's other side is ours to hand over.
        to.on(50, true);
        self.config_file.iter().for_each(|file| to.bytes(51, file.as_bytes()));
        self.lsm_profile.iter().for_each(|profile| to.bytes(53, profile.as_bytes()));
        self.lsm_mount_context.iter().for_each(|context| to.bytes(63, context.as_bytes()));
    }
}

/// `criu_features`: what this kernel and this CRIU can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Features {
    pub(crate) mem_track: bool,
    pub(crate) lazy_pages: bool,
}

/// `criu_req`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    Version,
    FeatureCheck(Features),
    Dump(Options),
    PreDump(Options),
    Restore(Options),
    /// The answer to a notification: whether to go on.
    Notified(bool),
}

impl Request {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Request::Version => Kind::Version,
            Request::FeatureCheck(_) => Kind::FeatureCheck,
            Request::Dump(_) => Kind::Dump,
            Request::PreDump(_) => Kind::PreDump,
            Request::Restore(_) => Kind::Restore,
            Request::Notified(_) => Kind::Notify,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.int(1, self.kind() as i32);
        match self {
            Request::Version => {}
            Request::Dump(options) | Request::PreDump(options) | Request::Restore(options) => {
                to.message(2, |to| options.write(to));
            }
            // This one says no as well: absent would be a protocol error.
            Request::Notified(success) => to.uint(3, u64::from(*success)),
            Request::FeatureCheck(features) => to.message(5, |to| {
                to.on(1, features.mem_track);
                to.on(2, features.lazy_pages);
            }),
        }
        to.finish()
    }
}

/// `criu_notify`: a step that CRIU has come to and waits at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Notice {
    pub(crate) step: String,
    pub(crate) pid: i32,
}

/// `criu_resp`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Response {
    pub(crate) kind: u64,
    pub(crate) success: bool,
    pub(crate) restored_pid: Option<i32>,
    pub(crate) notice: Option<Notice>,
    pub(crate) errno: i32,
    pub(crate) message: Option<String>,
    pub(crate) features: Features,
    /// As one number: 3.17.1 is 31701.
    pub(crate) version: Option<u32>,
}

fn each(bytes: &[u8], mut take: impl FnMut(&Field<'_>) -> Result<(), WireError>) -> Result<(), WireError> {
    Reader::new(bytes).try_for_each(|field| take(&field?))
}

impl Response {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Response, WireError> {
        let mut response = Response::default();
        each(bytes, |field| {
            match field.number {
                1 => response.kind = field.uint()?,
                2 => response.success = field.switch()?,
                4 => each(field.bytes()?, |field| {
                    if field.number == 1 {
                        response.restored_pid = Some(field.int()?);
                    }
                    Ok(())
                })?,
                5 => response.notice = Some(notice(field.bytes()?)?),
                7 => response.errno = field.int()?,
                8 => response.features = features(field.bytes()?)?,
                9 => response.message = Some(field.text()?),
                10 => response.version = Some(version(field.bytes()?)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(response)
    }

    pub(crate) fn is(&self, kind: Kind) -> bool {
        self.kind == kind as u64
    }
}

fn notice(bytes: &[u8]) -> Result<Notice, WireError> {
    let mut notice = Notice::default();
    each(bytes, |field| {
        match field.number {
            1 => notice.step = field.text()?,
            2 => notice.pid = field.int()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(notice)
}

fn features(bytes: &[u8]) -> Result<Features, WireError> {
    let mut features = Features::default();
    each(bytes, |field| {
        match field.number {
            1 => features.mem_track = field.switch()?,
            2 => features.lazy_pages = field.switch()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(features)
}

/// A development version (with a commit's name) counts as the next minor one, as CRIU's own libraries count.
fn version(bytes: &[u8]) -> Result<u32, WireError> {
    let (mut major, mut minor, mut patch, mut development) = (0_u32, 0_u32, 0_u32, false);
    let part = |field: &Field<'_>| Ok(u32::try_from(field.int()?).unwrap_or(0).min(99));
    each(bytes, |field| {
        match field.number {
            1 => major = part(field)?,
            2 => minor = part(field)?,
            3 => development = !field.bytes()?.is_empty(),
            4 => patch = part(field)?,
            _ => {}
        }
        Ok(())
    })?;
    if development {
        (minor, patch) = (minor + 1, 0);
    }
    Ok(major * 10000 + minor * 100 + patch)
}

#[cfg(test)]
mod tests;
