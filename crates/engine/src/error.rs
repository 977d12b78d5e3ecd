// SPDX-License-Identifier: Apache-2.0
//! What can go wrong in the engine.

use std::io;
use std::path::PathBuf;

use errors::{Classify, Kind, Report, kind_of_io};

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No container has this name, id or id prefix.
    #[error("no such container: {0}")]
    NoSuchContainer(String),
    /// An id prefix that several containers share.
    #[error("container id prefix {0:?} is ambiguous: several containers begin with it")]
    AmbiguousId(String),
    /// No exec session has this id.
    #[error("no such exec instance: {0}")]
    NoSuchExec(String),
    /// No volume has this name.
    #[error("no such volume: {0}")]
    NoSuchVolume(String),
    /// Containers have the volume.
    #[error("remove {name}: volume is in use - [{}]", containers.join(", "))]
    VolumeInUse {
        /// Its name.
        name: String,
        /// The containers' ids.
        containers: Vec<String>,
    },
    /// What a volume's options ask for could not be mounted.
    #[error("mount {device:?} of type {kind:?} on {}, as the volume's options say", path.display())]
    VolumeMount {
        /// Its option `device`.
        device: String,
        /// Its option `type`.
        kind: String,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A volume could not be given what the image has in its place.
    #[error("copy what the image has into a volume")]
    FillVolume(#[from] runtime::CopyError),
    /// A running container's mounts could not be changed.
    #[error(transparent)]
    LiveMount(#[from] runtime::live::LiveMountError),
    /// Another container has the name.
    #[error("the container name {name:?} is already in use by container {holder}")]
    NameInUse {
        /// The name.
        name: String,
        /// The id of the container that has it.
        holder: String,
    },
    /// No network has this name, id or id prefix.
    #[error("network {0} not found")]
    NoSuchNetwork(String),
    /// An id prefix that several networks share.
    #[error("network id prefix {0:?} is ambiguous: several networks begin with it")]
    AmbiguousNetwork(String),
    /// Another network has the name.
    #[error("network with name {0} already exists")]
    NetworkExists(String),
    /// The predefined networks are there, and stay.
    #[error("{name} is a pre-defined network and cannot be {verb}")]
    PredefinedNetwork {
        /// Its name.
        name: String,
        /// What was asked.
        verb: &'static str,
    },
    /// A driver that has one network, which there is.
    #[error("only one instance of {0:?} network is allowed")]
    OnlyOneNetwork(String),
    /// Running containers are in it.
    #[error("network {name} has active endpoints ({})", members.join(", "))]
    NetworkInUse {
        /// Its name.
        name: String,
        /// The containers' names.
        members: Vec<String>,
    },
    /// The container is not in the network.
    #[error("container {container} is not connected to network {network}")]
    NotConnected {
        /// The container's name.
        container: String,
        /// The network's name.
        network: String,
    },
    /// The container is in the network.
    #[error("endpoint with name {container} already exists in network {network}")]
    AlreadyConnected {
        /// The container's name.
        container: String,
        /// The network's name.
        network: String,
    },
    /// Whose network namespace is not its own has no networks of its own either.
    #[error(
        "container {name} shares the network of {with} and cannot be connected to any other network, nor disconnected"
    )]
    SharedNetwork {
        /// The container's name.
        name: String,
        /// Whose network it shares.
        with: String,
    },
    /// Networks that nobody can be in together.
    #[error("a container cannot be in the network {network} beside {mode}")]
    NotTogether {
        /// The network.
        network: String,
        /// What else was asked for.
        mode: String,
    },
    /// What Corten does not have.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// The state forbids it.
    #[error("container {name} is {status}: cannot {verb} it")]
    WrongState {
        /// The container's name.
        name: String,
        /// Its state.
        status: &'static str,
        /// What was asked.
        verb: &'static str,
    },
    /// Its output is kept nowhere.
    #[error("container {name} has no log to read: its log driver is {}{}", log.driver, unread_because(log))]
    NoLog {
        /// The container's name.
        name: String,
        /// Where its output goes.
        log: logging::LogChoice,
    },
    /// A transition that the state machine does not have.
    #[error("a container cannot go from {from} to {to}")]
    Transition {
        /// The state it is in.
        from: &'static str,
        /// The state asked for.
        to: &'static str,
    },
    /// A field of the request cannot be.
    #[error("{field}: {reason}")]
    Invalid {
        /// The flag or field, as the user knows it.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// What shall be shown of processes is not understood.
    #[error(transparent)]
    PsOption(runtime::processes::OptionError),
    /// Neither the image nor the user names a command.
    #[error("image {0} has no command, and none was given")]
    NoCommand(String),
    /// The user or group is not in the image's files.
    #[error("unable to find {what} {name:?} in the image's {file}")]
    UnknownUser {
        /// `user` or `group`.
        what: &'static str,
        /// The name.
        name: String,
        /// The file looked into.
        file: &'static str,
    },
    /// A file operation failed.
    #[error("{action} {}", path.display())]
    Io {
        /// What was done, a verb.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The runtime spec could not be built from the request.
    #[error("make the runtime configuration")]
    Spec(#[source] oci::OciSpecError),
    /// A seccomp profile could not be read.
    #[error("read the seccomp profile: {0}")]
    Seccomp(String),
    /// A signal could not be sent.
    #[error("signal the container")]
    Signal(#[source] sys::Error),
    /// A namespace could not be entered.
    #[error("enter the container's mount namespace")]
    Namespace(#[source] sys::Error),
    /// A container has no such file.
    #[error("could not find the file {path} in container {container}")]
    NoSuchPath {
        /// The path, as it was asked for.
        path: String,
        /// The container's name.
        container: String,
    },
    /// An archive could not be extracted into a container.
    #[error("extract the archive")]
    Extract(#[from] layer::UnpackError),
    /// A container's files could not be packed.
    #[error("pack the container's files")]
    Pack(#[from] layer::PackError),
    /// The shim said that the command could not be started, or broke off.
    #[error("{0}")]
    Launch(Report),
    /// The shim's answer cannot be understood.
    #[error("the shim of container {id} broke off while starting it")]
    ShimGone {
        /// The container.
        id: String,
    },
    /// A container's user namespace has no ids.
    #[error(transparent)]
    Userns(#[from] crate::userns::UsernsError),
    /// Of the image room.
    #[error(transparent)]
    Image(#[from] image::ImageError),
    /// Of the network room.
    #[error(transparent)]
    Network(#[from] network::NetworkError),
    /// A container's network namespace has no name server.
    #[error(transparent)]
    Names(#[from] dns::DnsError),
    /// Of the snapshot room.
    #[error(transparent)]
    Snapshot(#[from] snapshot::SnapshotError),
    /// Of the content room.
    #[error(transparent)]
    Content(#[from] content::ContentError),
    /// Of the metadata room.
    #[error(transparent)]
    Metadata(#[from] metadata::MetadataError),
    /// Of the cgroup room.
    #[error(transparent)]
    Cgroup(#[from] cgroup::CgroupError),
    /// Of the logging room.
    #[error(transparent)]
    Logging(#[from] logging::LoggingError),
    /// Of the shim room.
    #[error(transparent)]
    Shim(#[from] shim::ShimError),
    /// What a shim wrote cannot be read.
    #[error(transparent)]
    ShimState(#[from] shim::StateError),
    /// Events were not read as fast as they happened.
    #[error("{0} events were missed: they were not read as fast as they happened")]
    EventsMissed(u64),
    /// A file system does not answer.
    #[error("{about} does not answer within {seconds} s")]
    NoAnswer {
        /// What was asked.
        about: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A worker thread ended without an answer.
    #[error("the engine's worker for {0} panicked")]
    Worker(&'static str),
}

impl EngineError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> EngineError {
        let path = path.into();
        move |source| EngineError::Io { action, path, source }
    }

    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> EngineError {
        EngineError::Invalid { field, reason: reason.into() }
    }
}

fn unread_because(log: &logging::LogChoice) -> &'static str {
    if log.is_sent() { ", and cache-disabled keeps nothing here" } else { "" }
}

impl Classify for EngineError {
    fn kind(&self) -> Kind {
        match self {
            EngineError::NoSuchContainer(_)
            | EngineError::NoSuchExec(_)
            | EngineError::NoSuchNetwork(_)
            | EngineError::NoSuchVolume(_)
            | EngineError::NoSuchPath { .. }
            | EngineError::NotConnected { .. } => Kind::NotFound,
            EngineError::VolumeMount { source, .. } => kind_of_io(source),
            EngineError::FillVolume(error) => error.kind(),
            EngineError::LiveMount(error) => error.kind(),
            EngineError::NameInUse { .. }
            | EngineError::VolumeInUse { .. }
            | EngineError::NetworkExists(_)
            | EngineError::WrongState { .. }
            | EngineError::Transition { .. } => Kind::Conflict,
            EngineError::PredefinedNetwork { .. }
            | EngineError::OnlyOneNetwork(_)
            | EngineError::NetworkInUse { .. }
            | EngineError::AlreadyConnected { .. } => Kind::Forbidden,
            EngineError::Unsupported(_) | EngineError::NoLog { .. } => Kind::Unsupported,
            EngineError::AmbiguousId(_)
            | EngineError::AmbiguousNetwork(_)
            | EngineError::SharedNetwork { .. }
            | EngineError::NotTogether { .. }
            | EngineError::Invalid { .. }
            | EngineError::PsOption(_)
            | EngineError::NoCommand(_)
            | EngineError::UnknownUser { .. }
            | EngineError::Spec(_)
            | EngineError::Seccomp(_) => Kind::InvalidArgument,
            EngineError::Io { source, .. } => kind_of_io(source),
            EngineError::Signal(error) | EngineError::Namespace(error) => kind_of_io(&error.to_io()),
            EngineError::Pack(error) => error.kind(),
            EngineError::Extract(error) => match error.kind() {
                // It came with a request: nothing that is stored is broken.
                Kind::Corrupt => Kind::InvalidArgument,
                kind => kind,
            },
            EngineError::Launch(report) => report.kind,
            EngineError::NoAnswer { .. } => Kind::Unavailable,
            EngineError::ShimGone { .. } | EngineError::EventsMissed(_) | EngineError::Worker(_) => Kind::Internal,
            EngineError::Userns(error) => error.kind(),
            EngineError::Image(error) => error.kind(),
            EngineError::Network(error) => error.kind(),
            EngineError::Names(error) => error.kind(),
            EngineError::Snapshot(error) => error.kind(),
            EngineError::Content(error) => error.kind(),
            EngineError::Metadata(error) => error.kind(),
            EngineError::Cgroup(error) => error.kind(),
            EngineError::Logging(error) => error.kind(),
            EngineError::Shim(error) => error.kind(),
            EngineError::ShimState(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            EngineError::NoSuchContainer(_) => Some("`corten ps -a` lists all containers".to_owned()),
            EngineError::NoSuchVolume(_) => Some("`corten volume ls` lists all volumes".to_owned()),
            EngineError::VolumeInUse { .. } => {
                Some("remove these containers first, running or not: corten rm".to_owned())
            }
            EngineError::NoSuchNetwork(_) => Some("`corten network ls` lists all networks".to_owned()),
            EngineError::AmbiguousNetwork(_) => Some("give more of the id, or the network's name".to_owned()),
            EngineError::NetworkExists(name) => {
                Some(format!("choose another name, or remove it first: corten network rm {name}"))
            }
            EngineError::NetworkInUse { name, members } => {
                let member = members.first().map_or("CONTAINER", String::as_str);
                Some(format!("stop its containers, or take them out of it: corten network disconnect {name} {member}"))
            }
            EngineError::NotTogether { mode, .. } if mode == "none" => {
                Some("take it out of the network none first: corten network disconnect none CONTAINER".to_owned())
            }
            EngineError::AmbiguousId(_) => Some("give more of the id, or the container's name".to_owned()),
            EngineError::NameInUse { name, .. } => {
                Some(format!("choose another --name, or remove it first: corten rm {name}"))
            }
            EngineError::WrongState { name, status: "running" | "paused" | "restarting", verb: "remove" } => {
                Some(format!("stop it first (corten stop {name}), or use corten rm -f {name}"))
            }
            EngineError::WrongState { name, status: "paused", verb } if *verb != "pause" => {
                Some(format!("let it go on first: corten unpause {name}"))
            }
            EngineError::WrongState { status: "restarting", .. } => {
                Some("it has ended, and is about to be started again".to_owned())
            }
            EngineError::WrongState { name, verb: "execute a command in" | "explain", .. } => {
                Some(format!("start it first: corten start {name}"))
            }
            EngineError::PsOption(_) => Some(
                "there are -e, -A, -f, aux, w, and -o with a list of columns such as pid,ppid,user,stat,rss,args"
                    .to_owned(),
            ),
            EngineError::WrongState { name, verb: "list the processes of", .. } => {
                Some(format!("start it first: corten start {name}"))
            }
            EngineError::NoLog { .. } => Some("corten attach shows what it writes from now on".to_owned()),
            EngineError::NoCommand(_) => Some("name a command after the image: corten run IMAGE COMMAND".to_owned()),
            EngineError::Io { source, .. } if kind_of_io(source) == Kind::NoSpace => {
                Some("free some space, or move --data-root to a larger disk".to_owned())
            }
            EngineError::EventsMissed(_) => {
                Some("ask again, with a filter if fewer will do, and look anew at what there is".to_owned())
            }
            EngineError::NoAnswer { .. } => {
                Some("see whether the program or the host that serves its file system still does".to_owned())
            }
            EngineError::Launch(report) => report.hint.clone(),
            EngineError::Pack(error) => error.hint(),
            EngineError::Userns(error) => error.hint(),
            EngineError::LiveMount(error) => error.hint(),
            EngineError::Image(error) => error.hint(),
            EngineError::Network(error) => error.hint(),
            EngineError::Names(error) => error.hint(),
            EngineError::Snapshot(error) => error.hint(),
            EngineError::Content(error) => error.hint(),
            EngineError::Metadata(error) => error.hint(),
            EngineError::Cgroup(error) => error.hint(),
            EngineError::Shim(error) => error.hint(),
            _ => None,
        }
    }
}
