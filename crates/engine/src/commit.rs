// SPDX-License-Identifier: Apache-2.0
//! `commit`: what a container changed becomes a layer of a new image.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use cgroup::Cgroup;
use image::{Commit, Image, Overrides};
use oci::ImageRef;

use crate::Engine;
use crate::container::{Container, Record};
use crate::error::EngineError;
use crate::health::HealthCheck;
use crate::stats::has_ended;

/// What an image that is made of a container shall be.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// Its name, if it gets one.
    pub name: Option<ImageRef>,
    /// Who made it.
    pub author: Option<String>,
    /// What its maker wants to say.
    pub comment: Option<String>,
    /// What it shall have instead of the container's configuration.
    pub config: Overrides,
    /// Instructions of the Dockerfile language that change its configuration after that.
    pub changes: Vec<String>,
    /// Whether the container's processes stand still meanwhile, so that no file is caught half-written.
    pub pause: bool,
}

impl Engine {
    /// Makes an image of what the container changed on top of its own. The container's configuration, as far as the user
    /// chose it, becomes the image's.
    ///
    /// # Errors
    /// No such container; its image is gone; a change that is not understood; a container that cannot be paused.
    pub async fn commit(self: &Arc<Self>, name: &str, options: CommitOptions) -> Result<Image, EngineError> {
        let container = self.container(name)?;
        // No start, stop or removal in between.
        let turn = Arc::clone(&container.lifecycle).lock_owned().await;
        let engine = Arc::clone(self);
        self.blocking("commit", move || {
            let _turn = turn;
            let comment = options.comment.clone().unwrap_or_default();
            let name = options.name.as_ref().map(ImageRef::to_string).unwrap_or_default();
            let _standing = if options.pause { Standing::still(&engine, &container)? } else { None };
            let image = engine.commit_blocking(&container, options)?;
            container.tell("commit", [("comment", comment), ("imageID", image.id.to_string()), ("imageRef", name)]);
            Ok(image)
        })
        .await
    }

    fn commit_blocking(&self, container: &Container, options: CommitOptions) -> Result<Image, EngineError> {
        let record = container.record();
        let changed = self.layers.changes(&container.dir)?;
        let commit = Commit {
            base: record.image_id,
            name: options.name,
            overrides: replaced(overrides(&record), options.config),
            changes: options.changes,
            author: options.author,
            comment: options.comment,
            created_by: record.process.args.join(" "),
            mount_points: snapshot::MOUNT_POINTS.map(str::to_owned).into(),
        };
        Ok(self.images.commit(&commit, changed.as_ref().map(|changed| changed.as_fd()))?)
    }
}

/// What the user chose, and the image did not say.
fn overrides(record: &Record) -> Overrides {
    let (spec, process) = (&record.spec, &record.process);
    Overrides {
        user: spec.user.clone(),
        env: Some(process.env.clone()),
        // An entrypoint discards the image's command.
        cmd: spec.command.clone().or(spec.entrypoint.as_ref().map(|_| Vec::new())),
        entrypoint: spec.entrypoint.clone(),
        working_dir: spec.working_dir.clone(),
        stop_signal: spec.stop_signal.clone(),
        labels: process.labels.clone(),
        exposed_ports: process.exposed.clone(),
        volumes: Vec::new(),
        // What the user said of it stands over the image's, field by field.
        healthcheck: spec.health.as_ref().and(process.health.as_ref()).map(HealthCheck::of_new_image),
    }
}

/// The container's configuration with what an image of it shall have instead, by Docker's rules: variables by name, labels,
/// ports and volumes in addition, and with another entrypoint no command of the old one.
fn replaced(of: Overrides, by: Overrides) -> Overrides {
    let cmd = match (&by.entrypoint, by.cmd) {
        (Some(_), cmd) => Some(cmd.unwrap_or_default()),
        (None, cmd) => cmd.or(of.cmd),
    };
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let new: BTreeSet<String> = by.env.iter().flatten().map(|entry| name(entry)).collect();
    let kept = of.env.into_iter().flatten().filter(|entry| !new.contains(&name(entry)));
    Overrides {
        user: by.user.or(of.user),
        env: Some(kept.chain(by.env.into_iter().flatten()).collect()),
        entrypoint: by.entrypoint.or(of.entrypoint),
        cmd,
        working_dir: by.working_dir.or(of.working_dir),
        stop_signal: by.stop_signal.or(of.stop_signal),
        labels: of.labels.into_iter().chain(by.labels).collect(),
        exposed_ports: [of.exposed_ports, by.exposed_ports].concat(),
        volumes: [of.volumes, by.volumes].concat(),
        healthcheck: by.healthcheck.or(of.healthcheck),
    }
}

/// A container that is paused until this is dropped, or until somebody ends it.
struct Standing<'e> {
    engine: &'e Engine,
    container: &'e Container,
    cgroup: Cgroup,
}

impl<'e> Standing<'e> {
    /// Pauses a container that runs. One that stands still already goes on doing so.
    fn still(engine: &'e Engine, container: &'e Container) -> Result<Option<Standing<'e>>, EngineError> {
        if !container.with_record(|record| record.state.running().is_some_and(|running| !running.paused)) {
            return Ok(None);
        }
        let cgroup = engine.cgroups.open(&engine.cgroup_of(container))?;
        cgroup.freeze()?;
        engine.note_pause(container, true);
        Ok(Some(Standing { engine, container, cgroup }))
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        let running = self.container.with_record(|record| record.state.running().cloned());
        // Who ended it has let it go on.
        let Some(running) = running.filter(|running| running.paused) else { return };
        match self.cgroup.thaw() {
            Ok(()) => self.engine.note_pause(self.container, false),
            Err(_) if has_ended(&running) => {}
            Err(error) => {
                tracing::error!(container = %self.container.id, error = errors::chain(&error), "it stands still after a commit");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_the_image_goes_before_the_containers() {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let container = || Overrides {
            user: Some("worker".to_owned()),
            env: Some(list(&["A=1", "B=2"])),
            entrypoint: Some(list(&["/start"])),
            cmd: Some(list(&["old"])),
            exposed_ports: list(&["80/tcp"]),
            ..Overrides::default()
        };
        let said = Overrides { env: Some(list(&["B=3", "C"])), cmd: Some(list(&["new"])), ..Overrides::default() };
        let made = replaced(container(), said);
        assert_eq!(made.env, Some(list(&["A=1", "B=3", "C"])));
        assert_eq!((made.entrypoint, made.cmd), (Some(list(&["/start"])), Some(list(&["new"]))));
        assert_eq!((made.user.as_deref(), made.exposed_ports), (Some("worker"), list(&["80/tcp"])));
        let made = replaced(container(), Overrides { entrypoint: Some(list(&["/other"])), ..Overrides::default() });
        assert_eq!((made.entrypoint, made.cmd), (Some(list(&["/other"])), Some(Vec::new())));
        assert_eq!(replaced(container(), Overrides::default()), container());
    }
}
