// SPDX-License-Identifier: Apache-2.0
//! Containers: their life, supervision, logs and exit. The engine owns all state; it is what the daemon is about.
//!
//! One verb, one file: `create`, `start` (and `run`), `stop` (and `kill`, `wait`, `remove`), `restart` (and the restart
//! policies), `pause`, `update`, `exec`, `attach`, `logs`, `health`; `rename` is in `names`. `supervise` is what happens when a container ends, `reconcile` what happens when a daemon begins.
//!
//! **Architecture Invariants**
//! - No HTTP here: the faces translate.
//! - The engine never holds a container's stdio and never forks: shims do, cloned from the zygote.
//! - The exit is announced first, everything else is taken down afterwards.
//! - Only the engine writes the metadata store.

mod ahead;
mod answer;
mod attach;
mod commit;
mod container;
mod create;
mod defaults;
mod diff;
mod error;
mod events;
mod exec;
mod explain;
mod export;
mod exposed;
mod files;
mod fit;
mod frames;
mod health;
mod identity;
mod info;
mod logs;
mod measure;
mod mount;
mod names;
mod networks;
mod pause;
mod prune;
mod reconcile;
mod request;
mod restart;
mod room;
mod rootfs;
mod select;
mod session;
mod signal;
mod size;
mod spec;
mod start;
mod stats;
mod stop;
mod supervise;
mod surroundings;
mod top;
mod update;
mod usage;
mod user;
mod userns;
mod visit;
mod volumes;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cgroup::CgroupPath;
use content::ContentStore;
use image::{ImageUser, Images, PolicyFile};
use metadata::{Store, Table};
use network::Networks;
use oci::ContainerId;
use shim::Zygote;
use snapshot::Snapshotter;
use tokio::sync::Semaphore;
use volumes::Volumes;

pub use attach::AttachOptions;
pub use cgroup::{BlockIo, Stats as CgroupStats};
pub use commit::CommitOptions;
pub use container::{ChangingMounts, Container, Exited, LiveMount, Phase, Process, Record, Running, State};
pub use create::Created;
pub use defaults::{BridgeLayout, Defaults, Registries};
pub use diff::{Change, ChangeKind};
pub use error::EngineError;
pub use events::{Event, EventFilter, EventKind, EventStream};
pub use exec::ExecView;
pub use export::Export;
pub use files::{Destination, ExtractOptions, PathArchive, PathStat};
pub use fit::HostLimits;
pub use health::{CheckKind, CheckStates, Checks, Health, HealthCheck, HealthStatus, HealthTest, Probe, Revived};
pub use image::Threshold;
pub use info::{Info, ProxyNames, System};
pub use logging::{LogChoice, LogLine, LogOptions};
pub use measure::{Counted, Measure};
pub use mount::{BindOptions, Given, ImageMount, Mount, VolumeMount, VolumesFrom, clean as clean_path};
pub use network::{AddressPool, Subnet, Traits};
pub use networks::{
    Attachment, EndpointWish, Ipam, IpamWish, Member, Network, NetworkDriver, NetworkFilters, NetworkSpec, Place,
    PortChanges,
};
pub use prune::{PruneFilters, PrunedContainers};
pub use request::{
    CgroupNamespace, ContainerSpec, DeviceLimit, DeviceMapping, DeviceRequest, Devices, ExecSpec, ExtraHost,
    HostAddress, IpcMode, Isolation, Naming, NetworkMode, PidMode, Resources, RestartPolicy, SeccompChoice, Security,
    Ulimit, UserNamespaceMode,
};
pub use room::{Collection, Room};
pub use select::{ContainerFilters, PortFilter};
pub use session::{Output, Session};
pub use size::Size;
pub use snapshot::Choice as SnapshotterChoice;
pub use spec::defaults::{MASKED_PATHS, READONLY_PATHS, SHM_SIZE};
pub use start::{Ran, RunOptions, StartOutcome};
pub use stats::{Counters, Flow, Sample, Traffic};
pub use stop::{Condition, StopOutcome};
pub use top::Listing;
pub use update::{Changes, MountChanges};
pub use usage::DiskUsage;
pub use userns::{IdRange, Remap, UsernsError};
pub use volumes::{
    ANONYMOUS_LABEL, DRIVER as VOLUME_DRIVER, PrunedVolumes, Volume, VolumeFilters, VolumeSpec, VolumeUsage,
};

/// A container's log, as it is read.
pub type LogStream = logging::LogStream<logs::LogLife>;

/// Containers by id.
pub(crate) const CONTAINERS: Table = Table::new("containers");
/// So many jobs may go on in the background; far more than there are containers to clean up after at once.
const BACKGROUND: u32 = 1 << 16;
/// How long a shutdown waits for them.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);

/// Where an engine keeps its state, and what it calls its kernel objects. Engines side by side differ in all of it.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Images, layers, containers, metadata. Survives a reboot.
    pub data_root: PathBuf,
    /// Shims' directories and sockets. Need not survive a reboot.
    pub exec_root: PathBuf,
    /// The bridge network's interface.
    pub bridge: String,
    /// The nf_tables table.
    pub table: String,
    /// The control group above all containers' groups.
    pub cgroup_parent: CgroupPath,
    /// Network namespaces kept ready.
    pub network_pool: usize,
    /// Where vendors describe devices; a later directory goes first.
    pub cdi_dirs: Vec<PathBuf>,
    /// How layers are kept; `None` for what the kernel allows.
    pub snapshotter: Option<SnapshotterChoice>,
    /// With how little room on the disk things are removed that nobody needs.
    pub gc_threshold: Threshold,
    /// The policy about images' signatures; `None` for the host's, if it has one.
    pub signature_policy: Option<PathBuf>,
    /// How long a registry may say nothing; `None` for the usual 30 s.
    pub registry_timeout: Option<Duration>,
    /// Where the output of containers goes that do not say it.
    pub log: LogChoice,
    /// Containers are in user namespaces with these ids unless they say otherwise.
    pub userns_remap: Option<Remap>,
    /// What else containers have that do not say it.
    pub defaults: Defaults,
    /// How the default bridge is laid out.
    pub bridge_layout: BridgeLayout,
    /// How registries are reached, and how much at a time.
    pub registries: Registries,
    /// Labels of this engine, as `info` shows them.
    pub labels: Vec<String>,
}

/// The engine. Share it in an [`Arc`].
pub struct Engine {
    /// What it is called by those who keep account of several.
    id: String,
    config: EngineConfig,
    cgroups: cgroup::Host,
    /// Ids for user namespaces, where the host gives the usual user none.
    chosen_ids: Option<userns::Run>,
    /// Set by a shutdown: nothing is started again any more.
    closing: AtomicBool,
    events: Arc<events::Bus>,
    execs: Mutex<exec::Execs>,
    handle: tokio::runtime::Handle,
    health: Arc<health::Schedule>,
    images: Images,
    jobs: Arc<Semaphore>,
    kernel: (u32, u32),
    layers: Arc<dyn Snapshotter>,
    log_watch: Arc<logging::Watch>,
    name_servers: networks::NameServers,
    network: Networks,
    networks: networks::Known,
    registry: Mutex<Registry>,
    store: Arc<Store>,
    usual_filter: spec::UsualFilter,
    volumes: Arc<Volumes>,
    zygote: Zygote,
    ahead: ahead::Ahead,
}

/// The containers there are, by id and by name. A name is reserved before its container can be seen.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) by_id: HashMap<ContainerId, Arc<Container>>,
    pub(crate) names: HashMap<String, ContainerId>,
    /// Ids of containers that cannot be seen yet.
    pub(crate) ids_in_the_making: HashMap<ContainerId, IdRange>,
}

impl Engine {
    /// Opens the state under `config`'s roots and takes over the containers that an earlier engine left running. Must
    /// be called within a multi-threaded tokio runtime; `zygote` was started before it.
    ///
    /// # Errors
    /// Roots that cannot be made or read, another daemon that holds them, a kernel without what containers need.
    pub fn open(config: EngineConfig, zygote: Zygote) -> Result<Arc<Engine>, EngineError> {
        config.log.settings()?;
        config.userns_remap.as_ref().map_or(Ok(()), Remap::verify)?;
        config.defaults.validate()?;
        for dir in [&config.data_root, &config.exec_root] {
            fs::create_dir_all(dir).map_err(EngineError::io("create", dir))?;
        }
        for (root, name, mode) in [(&config.data_root, "containers", 0o710), (&config.exec_root, "shims", 0o700)] {
            make_dir(&root.join(name), mode)?;
        }
        let store = Arc::new(Store::open(&config.data_root.join("metadata.redb"))?);
        let settled = config.userns_remap.as_ref().map(|remap| userns::settle(remap, &config.data_root));
        let chosen_ids = settled.transpose()?.flatten();
        let content = Arc::new(ContentStore::open(&config.data_root.join("content"))?);
        let layers = snapshot::open(&config.data_root, config.snapshotter)?;
        let images = Images::open(content, Arc::clone(&layers), Arc::clone(&store), image_options(&config))?;
        let network = Networks::open(network::Config {
            bridge: config.bridge.clone(),
            table: config.table.clone(),
            pool: config.network_pool,
            ..config.bridge_layout.network()
        })?;
        let events = Arc::new(events::Bus::default());
        let volumes = Arc::new(Volumes::open(&config.data_root, Arc::clone(&store), Arc::clone(&events))?);
        let engine = Arc::new(Engine {
            id: identity::read_or_make(&store)?,
            cgroups: cgroup::Host::probe()?,
            chosen_ids,
            closing: AtomicBool::new(false),
            events: Arc::clone(&events),
            execs: Mutex::default(),
            handle: tokio::runtime::Handle::current(),
            health: Arc::default(),
            images,
            jobs: Arc::new(Semaphore::new(BACKGROUND as usize)),
            kernel: kernel_version(),
            layers,
            log_watch: logging::Watch::start().map_err(EngineError::io("watch", &config.data_root))?,
            name_servers: networks::NameServers::new(tokio::runtime::Handle::current()),
            network,
            networks: networks::Known::read(&store)?,
            registry: Mutex::default(),
            store,
            usual_filter: spec::UsualFilter::default(),
            volumes,
            zygote,
            ahead: ahead::Ahead::default(),
            config,
        });
        engine.images.tell(Box::new(move |news| events.tell_of_image(news)));
        engine.name_servers.ask(&engine);
        engine.make_probes();
        engine.reconcile()?;
        engine.have_next();
        let collector = Arc::clone(&engine);
        engine.in_background("collect what no image needs", move || {
            if let Err(error) = collector.images.collect(&|id| collector.image_user(id)) {
                tracing::error!(error = errors::chain(&error), "cannot collect what no image needs");
            }
        });
        engine.make_room_when_full();
        engine.look_after_room();
        engine.start_by_policy();
        Ok(engine)
    }

    /// What happens from now on, as it happens; before that what has happened since `since` and until `until`, of the last
    /// 256 events and only if one of the two is given. Ends with `until`; at once when that has passed.
    pub fn events(
        &self,
        since: Option<jiff::Timestamp>,
        until: Option<jiff::Timestamp>,
        filter: EventFilter,
    ) -> EventStream {
        self.events.listen(since, until, filter)
    }

    /// Ends all streams of events. For a daemon that ends: nobody waits for what they will not hear.
    pub fn end_events(&self) {
        self.events.close();
    }

    /// The images.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// Removes an image, unless a container needs it.
    ///
    /// # Errors
    /// No such image; a container was made from it (a stopped one may be ignored with `force`, a running one never).
    pub async fn remove_image(self: &Arc<Self>, name: &str, force: bool) -> Result<Vec<image::Removed>, EngineError> {
        let (engine, name) = (Arc::clone(self), name.to_owned());
        self.blocking("remove an image", move || Ok(engine.images.remove(&name, force, &|id| engine.image_user(id))?))
            .await
    }

    /// A container that was made from an image; a running one if there is one.
    fn image_user(&self, image: &oci::Digest) -> Option<ImageUser> {
        let registry = self.registry();
        let users = registry.by_id.values().filter_map(|container| {
            container.with_record(|record| {
                let running = record.state.is_active();
                let mut mounted = record.mounts().iter().filter_map(Mount::image);
                let needs = record.image_id == *image || mounted.any(|mount| mount.id == Some(*image));
                needs.then(|| ImageUser { container: record.name.clone(), running })
            })
        });
        users.max_by_key(|user| user.running)
    }

    /// The container that has this name, this id, or an id that begins so.
    ///
    /// # Errors
    /// None has, or several have.
    pub fn container(&self, name: &str) -> Result<Arc<Container>, EngineError> {
        let registry = self.registry();
        let name = name.strip_prefix('/').unwrap_or(name);
        let exact = name.parse().ok().and_then(|id: ContainerId| registry.by_id.get(&id));
        let named = || registry.names.get(name).and_then(|id| registry.by_id.get(id));
        if let Some(container) = exact.or_else(named) {
            return Ok(Arc::clone(container));
        }
        let mut matches = registry.by_id.iter().filter(|(id, _)| !name.is_empty() && id.as_str().starts_with(name));
        match (matches.next(), matches.next()) {
            (Some((_, container)), None) => Ok(Arc::clone(container)),
            (None, _) => Err(EngineError::NoSuchContainer(name.to_owned())),
            (Some(_), Some(_)) => Err(EngineError::AmbiguousId(name.to_owned())),
        }
    }

    /// A container's record.
    ///
    /// # Errors
    /// No such container.
    pub fn inspect(&self, name: &str) -> Result<Record, EngineError> {
        Ok(self.container(name)?.record())
    }

    /// The records of running containers, or of all; the newest first.
    pub fn list(&self, all: bool) -> Vec<Record> {
        let containers: Vec<Arc<Container>> = self.registry().by_id.values().map(Arc::clone).collect();
        let mut records: Vec<Record> = containers
            .iter()
            .filter(|container| all || container.with_record(|record| record.state.is_active()))
            .map(|container| container.record())
            .collect();
        records.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        records
    }

    /// Lets background work finish and removes what no container needs: the bridge, the table, the cgroup above all
    /// containers. Running containers go on.
    pub async fn shutdown(self: &Arc<Self>) {
        self.closing.store(true, Ordering::Release);
        let jobs = tokio::time::timeout(SHUTDOWN_GRACE, self.jobs.acquire_many(BACKGROUND)).await;
        if jobs.is_err() {
            tracing::warn!("clean-up was still going on at shutdown; the next start finishes it");
        }
        let engine = Arc::clone(self);
        let result = self.blocking("shut down", move || {
            engine.end_ahead();
            engine.network.shutdown(true)?;
            engine.cgroups.prune(&engine.config.cgroup_parent)?;
            Ok(())
        });
        if let Err(error) = result.await {
            tracing::error!(error = errors::chain(&error), "something is left behind");
        }
        if let Err(error) = self.images.write_uses() {
            tracing::error!(error = errors::chain(&error), "when images were used last is not on disk");
        }
        if let Err(error) = self.store.flush() {
            tracing::error!(error = errors::chain(&error), "the last changes are not on disk");
        }
    }

    /// Runs `work`, which makes blocking system calls, on a thread that may block.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        tokio::task::spawn_blocking(work).await.map_err(|_| EngineError::Worker(what))?
    }

    /// Does `work` in a task of its own, and so to its end: who asks may go away in the middle, and what was begun must not
    /// stay half done, nor lose its turn while a thread still works at it.
    pub(crate) async fn to_its_end<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Result<T, EngineError> {
        self.handle.spawn(work).await.map_err(|_| EngineError::Worker(what))?
    }

    /// Runs `work` later, off everybody's path. A shutdown waits for it.
    pub(crate) fn in_background(&self, what: &'static str, work: impl FnOnce() + Send + 'static) {
        let jobs = Arc::clone(&self.jobs);
        self.handle.spawn(async move {
            // The semaphore is never closed.
            let Ok(_running) = jobs.acquire_owned().await else { return };
            if tokio::task::spawn_blocking(work).await.is_err() {
                tracing::error!(what, "a background job panicked");
            }
        });
    }

    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        // Every change of the registry is a single insertion or removal: a panic cannot leave it half-changed.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn containers_dir(&self) -> PathBuf {
        self.config.data_root.join("containers")
    }

    pub(crate) fn container_dir(&self, id: &ContainerId) -> PathBuf {
        self.containers_dir().join(id.as_str())
    }

    pub(crate) fn shims_dir(&self) -> PathBuf {
        self.config.exec_root.join("shims")
    }

    pub(crate) fn shim_dir(&self, id: &ContainerId) -> PathBuf {
        self.shims_dir().join(id.as_str())
    }
}

fn image_options(config: &EngineConfig) -> image::Options {
    let policy = config.signature_policy.clone().map(PolicyFile::named).unwrap_or_default();
    let mut options = image::Options { policy, ..image::Options::default() };
    config.registries.apply(&mut options);
    if let Some(timeout) = config.registry_timeout {
        let registry = &mut options.registry;
        // To connect takes less than an answer.
        (registry.idle_timeout, registry.connect_timeout) = (timeout, registry.connect_timeout.min(timeout));
    }
    options
}

pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<(), EngineError> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(EngineError::io("create", path)),
    }
}

/// The running kernel's major and minor version.
fn kernel_version() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
