// SPDX-License-Identifier: Apache-2.0
//! `corten daemon`: own all state and serve the API.
//!
//! The order matters: the zygote is started while this process is small and has one thread; the engine takes the data
//! root for itself before the socket appears; whoever can connect is served.

mod background;
pub(crate) mod config_file;
mod defaults;
#[cfg(test)]
mod documented;
mod foreign;
mod listeners;
mod notify;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cgroup::CgroupPath;
use clap::ValueEnum;
use client::{DEFAULT_DATA_ROOT, DEFAULT_EXEC_ROOT};
use engine::{Engine, EngineConfig, LogChoice, Remap, SnapshotterChoice, Threshold};
use engine_api::ServerTls;
use errors::{Kind, Report, kind_of_io};
use shim::Zygote;
use tokio::signal::unix::{SignalKind, signal};

use self::listeners::Plan;
pub(crate) use self::listeners::default_group;
use crate::failure::Failure;
use crate::flags::{logging, size};
use crate::{printer, process};

/// The bridge that a daemon makes unless it is told otherwise.
const DEFAULT_BRIDGE: &str = "corten0";
/// The nf_tables table of the daemon with the default bridge.
const DEFAULT_TABLE: &str = "corten";
/// Network namespaces kept ready.
const NETWORK_POOL: usize = 4;
/// How long after a daemon's start all is done that belongs to it.
const SETTLED: Duration = Duration::from_secs(1);

/// Run the daemon: it owns all state and serves the API
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave the caller's session and working directory
    #[arg(long)]
    background: bool,
    /// The bridge's interface; with another name than the default, the firewall table has that name, too
    #[arg(long, value_name = "NAME", default_value = DEFAULT_BRIDGE)]
    bridge: String,
    /// The control group above those of all containers
    #[arg(long, value_name = "PATH", default_value = "/corten")]
    cgroup_parent: CgroupPath,
    /// A JSON file of these flags [default: /etc/corten/daemon.json, where there is one]
    #[arg(long, visible_alias = "config", value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,
    /// Where images and containers are kept [default: /var/lib/corten]
    #[arg(long, value_name = "DIRECTORY")]
    data_root: Option<PathBuf>,
    /// Where sockets and process state are kept [default: /run/corten]
    #[arg(long, value_name = "DIRECTORY")]
    exec_root: Option<PathBuf>,
    /// With less free than this, remove what nobody needs: a size or a part of the disk; 0 for never [default: 10%,
    /// at most 10g]
    #[arg(long, value_name = "SIZE|PERCENT", value_parser = size::threshold)]
    gc_threshold: Option<Threshold>,
    /// Where vendors describe their devices (the Container Device Interface); the last directory goes first
    #[arg(long, value_name = "DIRECTORY", default_values = ["/etc/cdi", "/var/run/cdi"])]
    cdi_spec_dir: Vec<PathBuf>,
    /// Log everything: --log-level debug
    #[arg(short = 'D', long)]
    debug: bool,
    /// A label of this daemon, for `info`
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    #[command(flatten)]
    listeners: listeners::Args,
    /// Where the output of containers goes that do not say it: json-file, local, none, syslog, gelf, fluentd,
    /// journald
    #[arg(long, value_name = "DRIVER", default_value = "json-file")]
    log_driver: String,
    /// An option for that log driver, as in max-size=10m
    #[arg(long, value_name = "NAME=VALUE", value_parser = logging::option)]
    log_opt: Vec<(String, String)>,
    /// How much to log
    #[arg(short, long, value_name = "LEVEL", default_value = "info")]
    log_level: LogLevel,
    /// Serve metrics at this address, and nothing else: whoever reaches it reads them, as at 127.0.0.1:9323
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_addr: Option<SocketAddr>,
    /// Where to write the process id [default: corten.pid in the exec root]
    #[arg(short, long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// How many seconds a registry may say nothing before it is asked once more, and then given up [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..))]
    registry_timeout: Option<u16>,
    /// The policy about images' signatures [default: /etc/containers/policy.json, where there is one]
    #[arg(long, value_name = "FILE")]
    signature_policy: Option<PathBuf>,
    /// How layers are kept [default: tar-index where the kernel can mount it]
    #[arg(long, value_name = "NAME")]
    snapshotter: Option<Snapshotter>,
    /// Containers are in user namespaces unless they say --userns host: with the subordinate ids (/etc/subuid, /etc/subgid)
    /// of this user, or default for those of corten or dockremap, and where they have none for ids that nobody has
    #[arg(long, value_name = "USER[:GROUP]")]
    userns_remap: Option<String>,
    /// Only say whether the flags and the configuration file can be used
    #[arg(long)]
    validate: bool,
    #[command(flatten)]
    containers: defaults::ContainerArgs,
    #[command(flatten)]
    networks: defaults::NetworkArgs,
    #[command(flatten)]
    registries: defaults::RegistryArgs,
    #[command(flatten)]
    _foreign: foreign::Foreign,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Snapshotter {
    /// Each as a directory: on every kernel.
    Directories,
    /// Each as its archive with an index that is mounted: from Linux 6.15 on.
    TarIndex,
}

impl From<Snapshotter> for SnapshotterChoice {
    fn from(snapshotter: Snapshotter) -> SnapshotterChoice {
        match snapshotter {
            Snapshotter::Directories => SnapshotterChoice::Directories,
            Snapshotter::TarIndex => SnapshotterChoice::TarIndex,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogLevel {
    /// Everything.
    Debug,
    /// What happens.
    Info,
    /// What may be wrong.
    Warn,
    /// What is wrong.
    Error,
}

/// Run until SIGTERM or SIGINT; `hosts` are addresses given before the command.
pub(crate) fn run(mut args: Args, hosts: Vec<String>) -> Result<u8, Failure> {
    if args.validate {
        return validate(args, hosts);
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new(Kind::PermissionDenied, "only root can run the daemon")
            .with_hint("run it as root: sudo corten daemon"));
    }
    args.listeners.host.splice(0..0, hosts);
    let places = Places::of(&args)?;
    let plan = Plan::of(&args.listeners, &places.exec_root.join("corten.sock"))?;
    if args.background
        && let Some(code) = background::leave_the_callers_session(&places.pidfile)?
    {
        return Ok(code);
    }
    // What the daemon makes is meant for root unless it says otherwise.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    process::log_to_stderr(match args.log_level {
        _ if args.debug => tracing::Level::DEBUG,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Error => tracing::Level::ERROR,
    });
    // Sockets of a service manager are for nobody else, the zygote included.
    sys::fds::cloexec_from(3)
        .map_err(|error| Failure::new(Kind::Internal, format!("cannot keep descriptors from containers: {error}")))?;
    let zygote = Zygote::start()?;
    // After it: containers have the limit that the daemon was started with.
    process::raise_descriptors();
    let runtime = process::event_loop()?;
    runtime.block_on(serve(args, places, plan, zygote))?;
    Ok(0)
}

/// Says whether the flags and the configuration file can be used: all that is found out before anything is made.
fn validate(mut args: Args, hosts: Vec<String>) -> Result<u8, Failure> {
    args.listeners.host.splice(0..0, hosts);
    let places = Places::of(&args)?;
    Plan::of(&args.listeners, &places.exec_root.join("corten.sock"))?;
    args.containers.defaults()?;
    remap(args.userns_remap.as_deref())?;
    printer::line("configuration OK");
    Ok(0)
}

/// Whose ids containers have; empty is as good as not said.
fn remap(text: Option<&str>) -> Result<Option<Remap>, Failure> {
    Ok(text.filter(|text| !text.is_empty()).map(Remap::parse).transpose()?)
}

/// Where everything is, as absolute paths.
struct Places {
    data_root: PathBuf,
    exec_root: PathBuf,
    pidfile: PathBuf,
}

impl Places {
    fn of(args: &Args) -> Result<Places, Failure> {
        let root = |flag: &Option<PathBuf>, variable: &str, default: &str| {
            let chosen = flag.clone().or_else(|| std::env::var_os(variable).map(PathBuf::from));
            absolute(&chosen.filter(|path| !path.as_os_str().is_empty()).unwrap_or_else(|| default.into()))
        };
        let exec_root = root(&args.exec_root, "CORTEN_EXEC_ROOT", DEFAULT_EXEC_ROOT)?;
        let pidfile = args.pidfile.clone().unwrap_or_else(|| exec_root.join("corten.pid"));
        Ok(Places {
            data_root: root(&args.data_root, "CORTEN_DATA_ROOT", DEFAULT_DATA_ROOT)?,
            exec_root,
            pidfile: absolute(&pidfile)?,
        })
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::new(Kind::InvalidArgument, format!("{} cannot be used: {error}", path.display())))
}

async fn serve(args: Args, places: Places, plan: Plan, zygote: Zygote) -> Result<(), Failure> {
    let no_signals = |error| Failure::new(Kind::Internal, format!("cannot wait for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    // A terminal that goes away takes no daemon along; who renews certificates says so with the same signal.
    let mut hangup = signal(SignalKind::hangup()).map_err(no_signals)?;

    let table = if args.bridge == DEFAULT_BRIDGE { DEFAULT_TABLE.to_owned() } else { args.bridge.clone() };
    let defaults = args.containers.defaults()?;
    let signature_policy = args.signature_policy.as_deref().map(absolute).transpose()?;
    let userns_remap = remap(args.userns_remap.as_deref())?;
    let engine = Engine::open(
        EngineConfig {
            data_root: places.data_root,
            exec_root: places.exec_root,
            bridge: args.bridge,
            table,
            cgroup_parent: args.cgroup_parent,
            network_pool: NETWORK_POOL,
            cdi_dirs: args.cdi_spec_dir,
            snapshotter: args.snapshotter.map(SnapshotterChoice::from),
            gc_threshold: args.gc_threshold.unwrap_or_default(),
            signature_policy,
            log: LogChoice { driver: args.log_driver, options: args.log_opt.into_iter().collect() },
            userns_remap,
            defaults,
            bridge_layout: args.networks.layout(),
            registries: args.registries.registries(),
            labels: args.label,
            registry_timeout: args.registry_timeout.map(|seconds| Duration::from_secs(seconds.into())),
        },
        zygote,
    )?;
    let listeners = plan.listen().await?;
    if let Some(address) = args.metrics_addr {
        let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| {
            Failure::new(kind_of_io(&error), format!("cannot serve metrics at {address}: {error}"))
                .with_hint("another program may listen there: choose another --metrics-addr")
        })?;
        tracing::info!(%address, "metrics are served");
        tokio::spawn(engine_api::serve_metrics(engine.clone(), listener));
    }
    let pidfile = &places.pidfile;
    write_pidfile(pidfile).map_err(|error| cannot("write the pidfile", pidfile, &error))?;
    for listener in &listeners {
        tracing::info!(%listener, version = env!("CARGO_PKG_VERSION"), "the daemon listens");
    }
    notify::tell(notify::READY);
    tokio::spawn(forget_the_start());

    let ended = async {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => reload(plan.tls().as_deref()),
            }
        }
        notify::tell(notify::STOPPING);
    };
    engine_api::serve(engine.clone(), listeners, plan.hooks(), ended).await;
    tracing::info!("the daemon ends; containers go on");
    for path in plan.sockets().iter().chain([pidfile]) {
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(path = %path.display(), %error, "a file is left behind");
        }
    }
    engine.shutdown().await;
    Ok(())
}

/// A start uses code that a daemon then does not use any more: it need not stay in its memory.
async fn forget_the_start() {
    tokio::time::sleep(SETTLED).await;
    if let Err(error) = sys::memory::forget_program() {
        tracing::debug!(%error, "the code of the start stays in memory");
    }
}

/// Reads the certificates anew, where there are some.
fn reload(tls: Option<&ServerTls>) {
    let Some(tls) = tls else { return };
    notify::tell(&notify::reloading());
    match tls.reload() {
        Ok(()) => tracing::info!("the certificates were read anew"),
        Err(error) => {
            let report = Report::from(&error);
            tracing::error!(error = report.message, "the certificates stay as they were");
        }
    }
    notify::tell(notify::READY);
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(kind_of_io(error), format!("cannot {what} {}: {error}", path.display()))
}

/// Whoever reads it finds the whole number or the one before.
fn write_pidfile(path: &Path) -> std::io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, format!("{}\n", std::process::id()))?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn flags_are_checked() {
        for flags in [
            ["--cgroup-parent", "/.."],
            ["--gc-threshold", "100%"],
            ["--log-level", "chatty"],
            ["--snapshotter", "btrfs"],
            ["--log-opt", "max-size"],
            ["--metrics-addr", "9323"],
            ["--nonsense", "x"],
            ["--registry-timeout", "0"],
            ["--default-ulimit", "nofile"],
            ["--bip", "10.9.0.2/16"],
            ["--fixed-cidr", "10.9.0.0/24"],
            ["--registry-mirror", "mirror.example"],
            ["--live-restore", "false"],
            ["--storage-driver", "overlay2"],
        ] {
            assert!(Line::try_parse_from(["daemon", flags[0], flags[1]]).is_err(), "{flags:?}");
        }
    }
}
