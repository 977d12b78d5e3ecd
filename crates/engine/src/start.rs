// SPDX-License-Identifier: Apache-2.0
//! `start` and `run`: a created container gets its root filesystem, its network and a shim that executes its command.
//!
//! Everything up to the shim is one straight recipe on one worker thread ([`Engine::launch`]); what it made is taken
//! down again in reverse when a later step fails.

mod files;
mod steps;

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use jiff::Timestamp;
use network::Endpoint;
use oci::ContainerId;
use runtime::Step;
use shim::{ShimFds, ShimHandle, ShimRequest, Started};
use tokio::net::UnixStream;

use crate::container::{Container, Exited, Phase, Record, Running, State};
use crate::create::Keep;
use crate::error::EngineError;
use crate::frames::{self, Frame};
use crate::request::ContainerSpec;
use crate::session::Session;
use crate::spec::{self, Inputs};
use crate::surroundings::{Surroundings, write_bundle};
use crate::{Engine, rootfs, user};
pub(crate) use files::make_bind_source;
use files::make_bind_sources;
use steps::Steps;

/// How a `run` is attached and traced.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Streams go to the caller from the first byte on. Otherwise the container runs detached.
    pub attach: bool,
    /// Collect the time of each step.
    pub trace: bool,
    /// Steps taken before the engine was asked.
    pub steps: Vec<Step>,
}

/// A container that was created and started in one go.
pub struct Ran {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Its first process, and the steps that led to it when they were asked for.
    pub started: Started,
    /// Its streams, if attached.
    pub session: Option<Session>,
}

/// The answer to `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartOutcome {
    /// It runs now.
    Started,
    /// It ran already.
    AlreadyRunning,
}

/// A shim on its way, before it said whether the command could be executed.
struct Launching {
    shim: ShimHandle,
    endpoints: Vec<Endpoint>,
    attach: Option<StdUnixStream>,
    steps: Steps,
    /// Keeps open what the container is going to join.
    _around: Surroundings,
}

impl Engine {
    /// Starts a created or exited container, detached. Returns when its command has been executed. Its image is judged
    /// again, as the rules and the policy are now; a container that runs already is not asked about.
    ///
    /// # Errors
    /// An image that may not be trusted any more: the container stays what it was. Whatever keeps the command from being
    /// executed: the container is then `exited`, with that reason in its record.
    pub async fn start(self: &Arc<Self>, name: &str) -> Result<StartOutcome, EngineError> {
        let (engine, container) = (Arc::clone(self), self.container(name)?);
        self.to_its_end("start", async move { engine.start_container(&container).await }).await
    }

    async fn start_container(self: &Arc<Self>, container: &Arc<Container>) -> Result<StartOutcome, EngineError> {
        let _turn = container.lifecycle.lock().await;
        match container.with_record(|record| record.state.running().map(|running| running.paused)) {
            Some(false) => return Ok(StartOutcome::AlreadyRunning),
            Some(true) => {
                let name = container.with_record(|record| record.name.clone());
                return Err(EngineError::WrongState { name, status: "paused", verb: "start" });
            }
            None => {}
        }
        // Between the lookup and the turn, a removal may have come first.
        self.container(container.id.as_str())?;
        // Before anything is tried: a refusal leaves the container as it was.
        let (images, (image, id)) =
            (self.images.clone(), container.with_record(|record| (record.spec.image.clone(), record.image_id)));
        let admitted = self.blocking("judge", move || Ok(images.admit_again(&image, id)?)).await;
        admitted.inspect_err(|_| container.call_off_start())?;
        container.waits_no_more();
        container.update(|record| {
            (record.restarts, record.stopped) = (0, false);
            record.revived = None;
        });
        self.start_with_turn(container).await.inspect_err(|error| self.give_up(container, error))?;
        self.remember_later(container);
        Ok(StartOutcome::Started)
    }

    /// Starts a container that does not run. The caller has the turn, and decides what a failure means.
    pub(crate) async fn start_with_turn(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), EngineError> {
        let (engine, target) = (Arc::clone(self), Arc::clone(container));
        let steps = Steps { wanted: false, taken: Vec::new() };
        let launching = self.blocking("start", move || engine.launch(&target, false, steps)).await?;
        self.supervise_start(container, launching).await.map(drop)
    }

    /// Creates and starts a container in one go: the short way of `corten run`.
    ///
    /// # Errors
    /// Those of `create` and `start`. A container with `auto_remove` is gone then.
    pub async fn run(self: &Arc<Self>, spec: ContainerSpec, options: RunOptions) -> Result<Ran, EngineError> {
        let engine = Arc::clone(self);
        self.to_its_end("run", async move { engine.create_and_start(spec, options).await }).await
    }

    async fn create_and_start(
        self: &Arc<Self>,
        mut spec: ContainerSpec,
        options: RunOptions,
    ) -> Result<Ran, EngineError> {
        let RunOptions { attach, trace, steps } = options;
        let mut steps = Steps { wanted: trace, taken: steps };
        steps.note("daemon: request read");
        let engine = Arc::clone(self);
        let (container, _turn, launching, warnings) = self
            .blocking("run", move || {
                let warnings = engine.fit(&mut spec)?;
                let keep = if spec.auto_remove { Keep::Ephemeral } else { Keep::Durable };
                let (container, turn) = engine.create_blocking(spec, keep, &mut |step| steps.note(step))?;
                if attach {
                    container.tell("attach", []);
                }
                steps.note("daemon: container created");
                let launching = engine.launch(&container, attach, steps);
                Ok((container, turn, launching, warnings))
            })
            .await?;
        let started = match launching {
            Ok(launching) => self.supervise_start(&container, launching).await,
            Err(error) => Err(error),
        };
        match started {
            Ok((started, stream)) => {
                let name = container.with_record(|record| record.name.clone());
                if !container.with_record(|record| record.spec.auto_remove) {
                    self.remember_later(&container);
                }
                let session = stream.map(|stream| Session::of_container(stream, Arc::clone(&container)).told());
                Ok(Ran { id: container.id.clone(), name, warnings, started, session })
            }
            Err(error) => {
                self.give_up(&container, &error);
                Err(error)
            }
        }
    }

    /// Everything from the container's record to a running shim. On failure all of it is taken down again.
    fn launch(&self, container: &Container, attach: bool, mut steps: Steps) -> Result<Launching, EngineError> {
        if let Some(shim) = container.leaving() {
            self.await_shim(&shim);
        }
        // Of this run, before anybody can read it.
        let record = container.update(|record| {
            record.begin_checks();
            record.clone()
        });
        let mut user_namespace = self.user_namespace(&record)?;
        let root = self.mount_root(container, &record, user_namespace.as_ref())?;
        steps.note("snapshot: root filesystem mounted");
        let identity = user::look_up(root.as_fd(), &record.process.user, &record.spec.isolation.groups)?;
        record.ids.map_or(Ok(()), |ids| ids.check(&identity))?;
        rootfs::make_working_directory(root.as_fd(), &record.process.cwd, &identity, record.ids)?;
        make_bind_sources(&record)?;
        self.mount_volumes(container, &record)?;
        let result = (|| {
            let mut around = self.look_around(&record)?;
            let own = user_namespace.as_mut().and_then(|namespace| namespace.network.take());
            around.user_namespace = user_namespace;
            let (netns, endpoints) = self.join_networks(&record, own)?;
            self.tell_of_places("connect", &container.id, &endpoints);
            let give_back = || self.give_networks_back(&container.id, &endpoints);
            self.hold_ports_back(&record, &endpoints).inspect_err(|_| give_back())?;
            steps.note("network: namespace and address leased");
            match self.spawn_shim(container, &record, &identity, &around, root, netns, &endpoints, attach, &mut steps) {
                Ok((shim, attach)) => Ok((shim, attach, endpoints, around)),
                Err(error) => {
                    give_back();
                    Err(error)
                }
            }
        })();
        match result {
            Ok((shim, attach, endpoints, _around)) => Ok(Launching { shim, endpoints, attach, steps, _around }),
            Err(error) => {
                self.end_names(&container.id);
                self.unmount_volumes(container);
                Err(error)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where everything a shim needs comes together")]
    fn spawn_shim(
        &self,
        container: &Container,
        record: &Record,
        identity: &user::Identity,
        around: &Surroundings,
        root: OwnedFd,
        netns: Option<OwnedFd>,
        endpoints: &[Endpoint],
        attach: bool,
        steps: &mut Steps,
    ) -> Result<(ShimHandle, Option<StdUnixStream>), EngineError> {
        let owner = self.network_owner(record)?;
        let (files, hostname) = match &owner {
            Some(owner) => (&owner.dir, owner.with_record(spec::hostname)),
            None => (&container.dir, spec::hostname(record)),
        };
        if owner.is_none() {
            rootfs::write_network_files(&container.dir, &hostname, record, endpoints)?;
        }
        let cgroup = self.cgroup_path(&record.id, &record.spec).to_string();
        let (hostname, cgroup, kernel) = (&hostname, &cgroup, self.kernel);
        let inputs = Inputs { record, identity, dir: files, hostname, cgroup, kernel, around };
        let (spec, filter) = spec::for_shim(&inputs, &self.usual_filter)?;
        write_bundle(&container.dir, &spec)?;
        let log = record.spec.log.path(&container.dir, &record.id);
        let settings = record.spec.log.settings()?;
        let log = log.map(|path| settings.file(path, &crate::logs::subject(record)));
        let dir = self.shim_dir(&record.id);
        self.make_shim_dir(&record.id, container.awaits_start())?;
        write_record(&dir.join(crate::reconcile::SHIM_RECORD), record, endpoints.to_vec())?;
        let request = ShimRequest {
            id: record.id.clone(),
            dir: dir.clone(),
            spec,
            filter,
            bundle: container.dir.clone(),
            log,
            open_stdin: record.spec.open_stdin,
            stdin_once: record.spec.stdin_once,
            init: record.spec.init == Some(true),
            trace: steps.wanted,
            terminal_size: record.spec.console_size,
        };
        let spawned = (|| {
            self.make_shared_memory(record)?;
            self.mount_images(record, around.user_namespace.as_ref())?;
            let (ours, theirs) = if attach {
                let (ours, theirs) = socket_pair(&dir)?;
                (Some(ours), Some(theirs))
            } else {
                (None, container.take_offered())
            };
            let theirs = theirs.map(OwnedFd::from);
            steps.note("daemon: configuration made");
            let waiting = container.take_shim();
            let shim = self.zygote.spawn(waiting, &request, ShimFds { rootfs: Some(root), netns, attach: theirs })?;
            steps.note("zygote: shim cloned");
            Ok((shim, ours))
        })();
        if spawned.is_err() {
            self.remove_shim_dir(&record.id);
        }
        spawned
    }

    /// Waits for the shim's word, makes the container running, and leaves a task behind that waits for its exit.
    async fn supervise_start(
        self: &Arc<Self>,
        container: &Arc<Container>,
        launching: Launching,
    ) -> Result<(Started, Option<UnixStream>), EngineError> {
        let Launching { shim, endpoints, attach, mut steps, _around } = launching;
        let mut control = frames::adopt(shim.control)?;
        let word = frames::read(&mut control).await;
        let word = match word {
            Ok(Frame::Started(started)) => Ok(started),
            Ok(Frame::Failed(report)) => Err(EngineError::Launch(report)),
            Ok(_) | Err(_) => Err(EngineError::ShimGone { id: container.id.short().to_owned() }),
        };
        let mut started = match word {
            Ok(started) => started,
            Err(error) => {
                self.have_next();
                self.end_names(&container.id);
                let (engine, container) = (Arc::clone(self), Arc::clone(container));
                self.in_background("clean up a failed start", move || {
                    engine.give_networks_back(&container.id, &endpoints);
                    engine.await_shim(&shim.pidfd);
                    engine.unmount_volumes(&container);
                    let _turn = container.lifecycle.blocking_lock();
                    // Another start may have come first; these names are its own then.
                    if container.with_record(|record| record.state.running().is_none()) {
                        engine.remove_cgroup(&container.id, &engine.cgroup_of(&container));
                        engine.remove_shim_dir(&container.id);
                    }
                });
                return Err(error);
            }
        };
        steps.note("daemon: started");
        steps.taken.append(&mut started.steps);
        steps.taken.sort_by_key(|step| step.at_ns);
        started.steps = steps.taken;
        let running = Running {
            pid: started.pid,
            start_time: started.start_time,
            started: Timestamp::now(),
            endpoints,
            paused: false,
            live: Vec::new(),
            changing: None,
        };
        container.update(|record| {
            let state = std::mem::replace(&mut record.state, State::Created);
            record.state = state.into_running(running)?;
            Ok::<(), EngineError>(())
        })?;
        container.stops(false);
        container.heals(false);
        container.tell("start", []);
        container.announce(Phase::Running);
        self.forward_log(container);
        self.watch_health(container);
        self.supervise(Arc::clone(container), control, shim.pidfd);
        let stream = attach.map(frames::adopt).transpose()?;
        Ok((started, stream))
    }

    /// What a container that could not be started becomes: an exited one that says why; or nothing, when it was to be
    /// removed after its exit, so that whoever waits for its removal does not wait for ever.
    fn give_up(self: &Arc<Self>, container: &Arc<Container>, error: &EngineError) {
        container.update(|record| record.state = State::Exited(failed_start(error)));
        self.layers.unmounted(&container.dir);
        self.end_waiting_shim(container);
        if container.with_record(|record| record.spec.auto_remove) {
            self.forget(container, None, true);
            return;
        }
        // Who has attached for this start still waits where no shim was reached.
        container.call_off_start();
        self.remember_later(container);
    }

    /// Puts a running container's record beside its shim again, as it is now: a new daemon believes that one first.
    pub(crate) fn rewrite_shim_record(&self, container: &Container) -> Result<(), EngineError> {
        let _turn = container.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let record = container.record();
        let Some(running) = record.state.running() else { return Ok(()) };
        let path = self.shim_dir(&record.id).join(crate::reconcile::SHIM_RECORD);
        let new = path.with_extension("new");
        let written = write_record(&new, &record, running.endpoints.clone())
            .and_then(|()| fs::rename(&new, &path).map_err(EngineError::io("replace", &path)));
        match written {
            // It ended meanwhile: the directory has gone, and the store's record says all of it.
            Err(_) if container.with_record(|record| record.state.running().is_none()) => Ok(()),
            other => other,
        }
    }
}

fn write_record(path: &Path, record: &Record, endpoints: Vec<Endpoint>) -> Result<(), EngineError> {
    let kept = crate::reconcile::ShimRecord { record: record.clone(), endpoints };
    let json = serde_json::to_vec(&kept).map_err(|error| EngineError::io("encode", path)(error.into()))?;
    fs::write(path, json).map_err(EngineError::io("write", path))
}

/// How a container that could not be started has ended.
pub(crate) fn failed_start(error: &EngineError) -> Exited {
    use errors::Classify;
    Exited {
        code: i32::from(error.kind().run_exit_code()),
        oom_killed: false,
        started: None,
        finished: Timestamp::now(),
        error: Some(errors::chain(error)),
    }
}

fn socket_pair(dir: &PathBuf) -> Result<(StdUnixStream, StdUnixStream), EngineError> {
    StdUnixStream::pair().map_err(EngineError::io("make a socket pair for", dir))
}
