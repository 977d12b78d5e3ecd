// SPDX-License-Identifier: Apache-2.0
//! `create`: a wish and an image become a container with a name, a directory and a record. Nothing runs yet.

mod validate;

use std::fs;
use std::sync::Arc;

use image::Image;
use jiff::Timestamp;
use oci::ContainerId;

use crate::ahead::Next;
use crate::container::{Container, Process, Record, State};
use crate::error::EngineError;
use crate::mount::{Given, Mount, clean};
use crate::request::{ContainerSpec, NetworkMode, RestartPolicy};
use crate::volumes::Held;
use crate::{CONTAINERS, Engine, exposed, health, names, signal};

/// A container that was created.
#[derive(Debug, Clone)]
pub struct Created {
    /// Its id.
    pub id: ContainerId,
    /// What the user should know: settings that this host cannot honour.
    pub warnings: Vec<String>,
}

/// The right to start, stop or remove one container, until it is dropped.
pub(crate) type Turn = tokio::sync::OwnedMutexGuard<()>;

/// Whether a container's record must outlive a power cut before the caller is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Written and synced: what an API caller was told exists, exists.
    Durable,
    /// Not in the metadata store at all: a `run --rm` container ends with its process. Its record lies in the shim's
    /// directory, which a new daemon reads.
    Ephemeral,
}

impl Engine {
    /// Creates a container. Its record is durable when this returns.
    ///
    /// # Errors
    /// An unknown image, one that may not be trusted, a name in use, a field that cannot be, a full disk. Nothing is left behind then.
    pub async fn create(self: &Arc<Self>, mut spec: ContainerSpec) -> Result<Created, EngineError> {
        let engine = Arc::clone(self);
        let (container, warnings) = self
            .blocking("create", move || {
                let warnings = engine.fit(&mut spec)?;
                let (container, _turn) = engine.create_blocking(spec, Keep::Durable, &mut |_| {})?;
                engine.note_created(&container);
                Ok((container, warnings))
            })
            .await?;
        self.have_next();
        Ok(Created { id: container.id.clone(), warnings })
    }

    /// The container, and the turn to act on it: nobody else can start or remove it before the caller is done. `note` is told
    /// of each step that is done.
    pub(crate) fn create_blocking(
        &self,
        mut spec: ContainerSpec,
        keep: Keep,
        note: &mut dyn FnMut(&str),
    ) -> Result<(Arc<Container>, Turn), EngineError> {
        spec.log = spec.log.or(&self.config.log);
        validate(&spec)?;
        let attachments = self.attachments(&mut spec)?;
        // The image must not go before the container can be seen to need it.
        let (image, _held) = self.images.hold(&spec.image)?;
        note("image: found");
        self.images.admit(&spec.image, &image)?;
        note("image: its signatures judged by the policy");
        let (health, shell) = self.check_of(&spec, &image)?;
        health::is_possible(&spec, health.as_ref())?;
        let process = Process { health, shell, ..merge(&spec, &image)? };
        let mut volumes = Held::none(&self.volumes);
        let mounts = self.resolve_mounts(&spec, &process.volumes, &mut volumes)?;
        note("volumes: found or reserved");
        if spec.publish_all {
            exposed::publish_all(&mut spec.ports, &process.exposed)?;
        }
        let taken = self.take_next();
        let id = taken.as_ref().map_or_else(|| self.new_id(), |next| Ok(next.id.clone()))?;
        // The ids are held until others can see that the container has them.
        let reserved =
            self.reserve_ids(&spec, &id).and_then(|ids| Ok((ids, self.reserve_name(spec.name.as_deref(), &id)?)));
        let (ids, name) = match reserved {
            Ok(reserved) => reserved,
            Err(error) => {
                taken.into_iter().for_each(|next| self.give_next_back(next));
                return Err(error);
            }
        };
        let record = Record {
            id: id.clone(),
            name: name.clone(),
            created: Timestamp::now(),
            image_id: image.id,
            layers: image.layers,
            spec,
            process,
            mounts: Some(mounts),
            state: State::Created,
            restarts: 0,
            stopped: false,
            health: None,
            checks: None,
            revived: None,
            attachments,
            ids: ids.range,
        };
        self.establish(record, keep, &volumes, taken).inspect_err(|_| self.release_name(&name, &id))
    }

    /// Makes the directory, fills the volumes, writes the record, and lets others see the container; in this order, so that a
    /// failure leaves nothing that anyone could have seen. `taken`: what was made ahead, if anything was.
    fn establish(
        &self,
        record: Record,
        keep: Keep,
        volumes: &Held,
        taken: Option<Next>,
    ) -> Result<(Arc<Container>, Turn), EngineError> {
        let dir = self.container_dir(&record.id);
        self.make_container_dir(&record.id, taken.is_some())?;
        let fits = if taken.is_some() { self.drop_unfit(&record) } else { Ok(()) };
        let goes_with = record.spec.auto_remove.then_some(&record.id);
        let written = fits
            .and_then(|()| self.fill_volumes(record.mounts(), &record.layers, &dir.join("volumes")))
            .and_then(|()| match keep {
                Keep::Durable => {
                    self.volumes.make_durable(volumes, goes_with, |tx| tx.put(CONTAINERS, record.id.as_str(), &record))
                }
                Keep::Ephemeral if volumes.is_empty() => Ok(()),
                Keep::Ephemeral => self.volumes.make_durable(volumes, goes_with, |_| Ok(())),
            });
        if let Err(error) = written {
            if let Some(next) = taken {
                self.let_go(next);
                return Err(error);
            }
            // The directory is empty; if even that fails the next start removes what no record names.
            if let Err(error) = fs::remove_dir(&dir) {
                tracing::warn!(dir = %dir.display(), %error, "an empty container directory stays until the next start");
            }
            return Err(error);
        }
        let container = Arc::new(Container::new(record, dir, Arc::clone(&self.events)));
        if let Some(next) = taken {
            container.give_shim(next.shim);
        }
        let turn = Arc::clone(&container.lifecycle).blocking_lock_owned();
        self.registry().by_id.insert(container.id.clone(), Arc::clone(&container));
        container.tell("create", []);
        Ok((container, turn))
    }

    pub(crate) fn reserve_name(&self, wanted: Option<&str>, id: &ContainerId) -> Result<String, EngineError> {
        let mut registry = self.registry();
        let name = match wanted.map(|name| name.strip_prefix('/').unwrap_or(name)) {
            Some(name) => {
                names::check(name)?;
                if let Some(holder) = registry.names.get(name) {
                    return Err(EngineError::NameInUse { name: name.to_owned(), holder: holder.short().to_owned() });
                }
                name.to_owned()
            }
            None => names::invent(id, |name| registry.names.contains_key(name)),
        };
        registry.names.insert(name.clone(), id.clone());
        Ok(name)
    }

    /// Frees a name, if it is still that container's.
    pub(crate) fn release_name(&self, name: &str, id: &ContainerId) {
        let mut registry = self.registry();
        if registry.names.get(name) == Some(id) {
            registry.names.remove(name);
        }
    }
}

/// What can be said about a wish without looking anything up.
pub(crate) fn validate(spec: &ContainerSpec) -> Result<(), EngineError> {
    if spec.image.is_empty() {
        return Err(EngineError::invalid("image", "no image was named"));
    }
    let has_own_network = matches!(spec.network, NetworkMode::Bridge | NetworkMode::User(_));
    if !spec.ports.is_empty() && !has_own_network {
        let reason = format!("with --network {} there is nothing to publish ports of", spec.network.docker());
        return Err(EngineError::invalid("--publish", reason));
    }
    if spec.hostname.is_some() && matches!(spec.network, NetworkMode::Container(_)) {
        return Err(EngineError::invalid("--hostname", "the container whose network is shared has the host name"));
    }
    if spec.auto_remove && spec.restart != RestartPolicy::No {
        return Err(EngineError::invalid(
            "--restart",
            "a container cannot be removed at its end (--rm) and start again",
        ));
    }
    spec.log.settings()?;
    spec.naming.check(&spec.network)?;
    if spec.publish_all && !has_own_network {
        let reason = format!("with --network {} there is nothing to publish ports of", spec.network.docker());
        return Err(EngineError::invalid("--publish-all", reason));
    }
    for port in &spec.exposed {
        exposed::parse(port)?;
    }
    if let Some(hostname) = &spec.hostname {
        let label = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        if hostname.is_empty() || hostname.len() > 64 || !hostname.bytes().all(label) {
            return Err(EngineError::invalid("--hostname", format!("{hostname:?} is not a host name")));
        }
    }
    if spec.annotations.contains_key("") {
        return Err(EngineError::invalid("--annotation", "an annotation needs a key"));
    }
    if let Some(directory) = &spec.working_dir {
        absolute("--workdir", directory)?;
    }
    for entry in &spec.env {
        if entry.is_empty() || entry.starts_with('=') || entry.contains('\0') {
            return Err(EngineError::invalid("--env", format!("{entry:?} is not NAME=value")));
        }
    }
    let mut targets = Vec::new();
    for mount in &spec.mounts {
        absolute("--volume", mount.target())?;
        if mount.target().split('/').all(|part| matches!(part, "" | "." | "..")) {
            return Err(EngineError::invalid("--volume", "the destination cannot be the container's root"));
        }
        // Where something is mounted a declared volume is none: docker-py and compose name the places of binds so as well.
        if mount.given() != Given::Declared {
            let target = clean(mount.target());
            if targets.contains(&target) {
                return Err(EngineError::invalid("--volume", format!("Duplicate mount point: {target}")));
            }
            targets.push(target);
        }
        if let Mount::Bind { source, .. } = mount
            && !source.is_absolute()
        {
            return Err(EngineError::invalid("--volume", format!("{} is not an absolute path", source.display())));
        }
    }
    validate::limits(spec)?;
    validate::devices(&spec.devices)?;
    validate::isolation(spec)
}

fn absolute(field: &'static str, path: &str) -> Result<(), EngineError> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(EngineError::invalid(field, format!("{path:?} is not an absolute path")));
    }
    Ok(())
}

/// The user's wish over the image's configuration, by Docker's rules.
fn merge(spec: &ContainerSpec, image: &Image) -> Result<Process, EngineError> {
    let config = image.config.config().clone().unwrap_or_default();
    let command = spec.command.clone().filter(|command| !command.is_empty());
    let mut args = match (&spec.entrypoint, command) {
        (Some(entrypoint), command) => [entrypoint.clone(), command.unwrap_or_default()].concat(),
        (None, Some(command)) => [config.entrypoint().clone().unwrap_or_default(), command].concat(),
        (None, None) => {
            [config.entrypoint().clone().unwrap_or_default(), config.cmd().clone().unwrap_or_default()].concat()
        }
    };
    args.shrink_to_fit();
    if args.first().is_none_or(String::is_empty) {
        return Err(EngineError::NoCommand(spec.image.clone()));
    }
    let mut labels: std::collections::BTreeMap<String, String> =
        config.labels().clone().unwrap_or_default().into_iter().collect();
    labels.extend(spec.labels.clone());
    let image_stop = config.stop_signal().as_deref();
    let image_directory = config.working_dir().as_deref().filter(|directory| !directory.is_empty());
    let cwd = spec.working_dir.as_deref().or(image_directory).unwrap_or("/");
    absolute("the image's WorkingDir", cwd)?;
    Ok(Process {
        args,
        env: merge_env(config.env().as_deref().unwrap_or_default(), &spec.env),
        cwd: cwd.to_owned(),
        user: spec.user.clone().or_else(|| config.user().clone()).unwrap_or_default(),
        stop_signal: match spec.stop_signal.as_deref().or(image_stop) {
            Some(name) => signal::parse(name)?,
            None => rustix::process::Signal::TERM.as_raw(),
        },
        labels,
        exposed: exposed::merge(config.exposed_ports().as_deref().unwrap_or_default(), &spec.exposed),
        health: None,
        shell: Vec::new(),
        volumes: config.volumes().clone().unwrap_or_default(),
    })
}

/// Later entries replace earlier ones of the same name, in place; a bare name removes.
pub(crate) fn merge_env(base: &[String], over: &[String]) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut merged = base.to_vec();
    for entry in over {
        let place = merged.iter().position(|old| name(old) == name(entry));
        match (place, entry.contains('=')) {
            (Some(place), true) => merged[place].clone_from(entry),
            (Some(place), false) => drop(merged.remove(place)),
            (None, true) => merged.push(entry.clone()),
            (None, false) => {}
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_merged_in_place() {
        let list = |entries: &[&str]| entries.iter().map(|&entry| entry.to_owned()).collect::<Vec<_>>();
        let merged = merge_env(&list(&["A=1", "B=2", "C=3"]), &list(&["B=x=y", "C", "D=4", "E"]));
        assert_eq!(merged, list(&["A=1", "B=x=y", "D=4"]));
    }

    #[test]
    fn wishes_that_cannot_be_are_refused_before_anything_is_made() {
        let refused = |change: fn(&mut ContainerSpec)| {
            let mut spec = ContainerSpec { image: "x".into(), ..ContainerSpec::default() };
            change(&mut spec);
            validate(&spec).is_err()
        };
        assert!(!refused(|_| ()));
        assert!(refused(|spec| spec.image.clear()));
        assert!(refused(|spec| spec.working_dir = Some("relative".into())));
        assert!(refused(|spec| (spec.auto_remove, spec.restart) = (true, RestartPolicy::Always)));
        assert!(refused(|spec| spec.hostname = Some("a b".into())));
        assert!(refused(|spec| spec.env = vec!["=x".into()]));
        assert!(refused(|spec| spec.resources.memory = Some(1 << 20)));
        assert!(refused(|spec| spec.resources.memory_swap = Some(1 << 30)));
        assert!(refused(|spec| spec.resources.nano_cpus = Some(1)));
        assert!(refused(|spec| spec.stop_signal = Some("SIGNONSENSE".into())));
        let tmpfs = |target: &str| Mount::Tmpfs { target: target.into(), options: vec![], given: Given::Short };
        let mut spec = ContainerSpec { image: "x".into(), mounts: vec![tmpfs("/a/../..")], ..Default::default() };
        assert!(validate(&spec).is_err() || spec.mounts[0].target() != "/");
        spec.mounts = vec![tmpfs("/a"), tmpfs("/a")];
        assert!(validate(&spec).is_err());
    }
}
