// SPDX-License-Identifier: Apache-2.0
//! Mounts that come into a container and go, while it runs or not.
//!
//! In a container that runs the order is: what comes is made, attached nowhere; the change is recorded, with the numbers
//! that the kernel gave it; then a thread that visits the container's mount namespace takes out what goes and attaches
//! what comes. What fails is undone by that thread. A daemon that was killed in between leaves a record of what it was
//! about to do, and the next one makes the record say what the kernel says ([`Engine::settle_changed_mounts`]).

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use runtime::live::{Detached, Known, LiveMountError, TakenOut, Visit};
use rustix::fs::{Mode, OFlags, open};

use crate::container::{ChangingMounts, Container, LiveMount, Record, Running, State};
use crate::error::EngineError;
use crate::mount::{self, Mount, clean};
use crate::request::ContainerSpec;
use crate::surroundings::Surroundings;
use crate::userns::IdRange;
use crate::volumes::{Held, InUse};
use crate::{Engine, answer, create, spec, start, userns, visit};

/// What shall be mounted into a container beside what is, and what no longer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MountChanges {
    /// What comes.
    pub add: Vec<Mount>,
    /// What goes, by where it is in the container.
    pub remove: Vec<String>,
}

/// A change of a container's mounts that is possible.
pub(super) struct Exchange {
    /// All that is mounted then.
    mounts: Vec<Mount>,
    /// What comes, those above first.
    added: Vec<Mount>,
    /// What goes, those below first.
    removed: Vec<Mount>,
    /// The volumes do not go before the record names them.
    held: Held,
    /// Volumes that there were not.
    made: Vec<String>,
    run: Option<Run>,
}

/// What the change needs of a container that runs.
struct Run {
    running: Running,
    /// The container's root, where it is not the host's.
    owner: Option<(u32, u32)>,
    comes: Vec<Detached>,
    numbers: Vec<LiveMount>,
    goes: Vec<(String, Known)>,
    taken: Vec<(String, TakenOut)>,
    /// What was taken out and is there again, with its new number.
    back: Vec<LiveMount>,
    carried_out: bool,
    in_use: InUse,
}

/// Why an exchange failed, and what it has put back.
struct Undone {
    error: LiveMountError,
    back: Vec<LiveMount>,
}

impl Exchange {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

impl Engine {
    /// Finds out whether a change can be; `wish` then has it. Volumes are claimed, nothing else is done.
    pub(super) fn plan_exchange(
        &self,
        record: &Record,
        wish: &mut ContainerSpec,
        changes: &MountChanges,
    ) -> Result<Exchange, EngineError> {
        let mut kept = record.mounts().to_vec();
        let mut removed = Vec::new();
        for target in changes.remove.iter().map(|target| clean(target)) {
            let Some(at) = kept.iter().position(|mount| clean(mount.target()) == target) else {
                let reason = format!("the container has nothing mounted on {target}");
                return Err(EngineError::invalid("--unmount", reason));
            };
            removed.push(kept.remove(at));
            wish.mounts.retain(|mount| clean(mount.target()) != target);
        }
        if record.ids.is_none() {
            userns::no_idmap_without(&changes.add)?;
        }
        let mut added = changes.add.clone();
        for new in &added {
            let target = clean(new.target());
            if kept.iter().any(|mount| clean(mount.target()) == target) {
                let reason = format!("{target} is mounted on already: to exchange what is there, --unmount it as well");
                return Err(EngineError::invalid("--mount", reason));
            }
        }
        wish.mounts.extend(added.iter().cloned());
        create::validate(wish)?;
        if record.state.running().is_some() {
            hides_nothing(&kept, &added, &removed)?;
        }
        let mut held = Held::none(&self.volumes);
        added.iter_mut().try_for_each(|mount| self.settle_mount(mount, &mut held))?;
        let mut mounts = [kept, added.clone()].concat();
        [&mut mounts, &mut added, &mut removed].into_iter().for_each(|mounts| mount::order(mounts));
        removed.reverse();
        Ok(Exchange { mounts, added, removed, held, made: Vec::new(), run: None })
    }

    /// Makes what the change needs: new volumes, and where the container runs, what is going to be attached.
    pub(super) fn ready_exchange(
        &self,
        container: &Container,
        record: &Record,
        exchange: &mut Exchange,
    ) -> Result<(), EngineError> {
        if exchange.is_empty() {
            return Ok(());
        }
        let volumes: Vec<String> =
            exchange.added.iter().filter_map(Mount::volume).map(|one| one.name.clone()).collect();
        self.fill_volumes(&exchange.added, &record.layers, &container.dir.join("volumes"))?;
        if !exchange.held.is_empty() {
            let made = volumes.iter().filter(|name| self.volumes.get(name).is_err()).cloned().collect();
            let goes_with = record.spec.auto_remove.then_some(&record.id);
            self.volumes.make_durable(&exchange.held, goes_with, |_| Ok(()))?;
            exchange.made = made;
        }
        let Some(running) = record.state.running() else { return Ok(()) };
        let in_use = self.volumes.take_into_use(volumes.into_iter())?;
        let (mut comes, mut numbers, mut goes) = (Vec::new(), Vec::new(), Vec::new());
        let namespace = self.user_namespace_for_files(record)?;
        for mount in &exchange.added {
            start::make_bind_source(mount)?;
            let bound = self.bound(mount)?;
            let made = spec::user_mount(&with_outer_ids(mount, record.ids)?, &Surroundings::default())?;
            let made = Detached::make(&made, bound.as_ref().map(|bound| bound.as_fd()))?;
            if let Some(namespace) = namespace.as_ref().filter(|_| mount.volume().is_some() || mount.is_idmapped()) {
                made.map_ids(namespace.for_mounts().namespace)?;
            }
            numbers.push(LiveMount { target: clean(mount.target()), number: made.id()? });
            comes.push(made);
        }
        for mount in &exchange.removed {
            goes.push((clean(mount.target()), self.known(running, mount)?));
        }
        let (running, owner) = (running.clone(), record.ids.and_then(|ids| ids.outside(0, 0)));
        exchange.run = Some(Run {
            running,
            owner,
            comes,
            numbers,
            goes,
            taken: Vec::new(),
            back: Vec::new(),
            carried_out: false,
            in_use,
        });
        Ok(())
    }

    /// Makes the record say what is about to be.
    pub(super) fn record_exchange(&self, container: &Container, wish: ContainerSpec, exchange: &Exchange) {
        container.update(|record| {
            let before = record.mounts().to_vec();
            let wishes = std::mem::replace(&mut record.spec, wish).mounts;
            if exchange.is_empty() {
                return;
            }
            record.mounts = Some(exchange.mounts.clone());
            if let (State::Running(running), Some(run)) = (&mut record.state, &exchange.run) {
                let added = run.numbers.clone();
                running.changing = Some(Box::new(ChangingMounts { wishes, mounts: before, added }));
            }
        });
    }

    /// Does it, in a container that runs. If that fails the container has the mounts that it had.
    pub(super) fn carry_out_exchange(&self, exchange: &mut Exchange) -> Result<(), EngineError> {
        let Some(run) = &mut exchange.run else { return Ok(()) };
        let host = Visit::prepare()?;
        let (comes, goes, owner) = (std::mem::take(&mut run.comes), std::mem::take(&mut run.goes), run.owner);
        let change = Arc::new((host, goes, comes));
        let look = Arc::clone(&change);
        // A file system in the container that hangs is found before anything is done. One that has just ended has the new
        // mounts when it is started again.
        let look = move || {
            let (host, goes, comes) = &*look;
            goes.iter().for_each(|(_, known)| host.look_at(known));
            comes.iter().for_each(Detached::look);
        };
        let work = move || {
            let (host, goes, comes) = &*change;
            Ok(swap(host, goes, comes, owner))
        };
        match visit::mounts_then(&run.running, look, work)? {
            None => Ok(()),
            Some(Ok(taken)) => {
                (run.taken, run.carried_out) = (taken, true);
                Ok(())
            }
            Some(Err(Undone { error, back })) => {
                run.back = back;
                Err(error.into())
            }
        }
    }

    /// It is done: says so, and lets go of what has gone.
    pub(super) fn end_exchange(&self, container: &Container, exchange: Exchange) {
        if exchange.is_empty() {
            return;
        }
        let Some(run) = exchange.run else { return };
        container.update(|record| {
            if let State::Running(running) = &mut record.state {
                running.changing = None;
                let gone = |live: &LiveMount| exchange.removed.iter().any(|mount| clean(mount.target()) == live.target);
                running.live.retain(|live| !gone(live));
                running.live.extend(run.numbers);
            }
        });
        if let Err(error) = self.rewrite_shim_record(container) {
            // A new daemon asks the kernel then.
            tracing::warn!(container = %container.id, error = errors::chain(&error), "that its mounts have changed is not noted");
        }
        run.in_use.leave_to_run();
        for volume in exchange.added.iter().filter_map(Mount::volume) {
            self.tell_volume_mounted(container, volume);
        }
        for volume in exchange.removed.iter().filter_map(Mount::volume) {
            self.leave_volume(container, &volume.name);
        }
    }

    /// It is not to be: what was done of it is undone, and the record is what it was.
    pub(super) fn undo_exchange(&self, container: &Container, before: &Record, mut exchange: Exchange) {
        let warn = |error: &EngineError| {
            tracing::error!(container = %container.id, error = errors::chain(error), "a change of mounts is not wholly undone");
        };
        let mut back = Vec::new();
        if let Some(run) = &mut exchange.run {
            back = std::mem::take(&mut run.back);
            if let Err(error) = take_back(run, &mut back) {
                warn(&error);
            }
        }
        container.update(|record| {
            record.spec.clone_from(&before.spec);
            record.mounts.clone_from(&before.mounts);
            if let State::Running(running) = &mut record.state {
                running.changing = None;
                running.live.retain(|live| !back.iter().any(|other| other.target == live.target));
                running.live.append(&mut back);
            }
        });
        if let Err(error) = self.keep(container) {
            warn(&error);
        }
        let Exchange { made, run, held, .. } = exchange;
        drop((run, held));
        for name in made {
            if let Err(error) = self.volumes.remove(&name, &|name| self.volume_users(name)) {
                warn(&error);
            }
        }
    }

    /// What a bind or a volume shows, open; `None` for a tmpfs.
    fn bound(&self, mount: &Mount) -> Result<Option<OwnedFd>, EngineError> {
        match mount {
            Mount::Bind { source, .. } => {
                let path = source.clone();
                let opened = answer::in_time(&format!("the bind mount's source {}", source.display()), move || {
                    open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                })?;
                opened.map(Some).map_err(|errno| EngineError::io("open the bind mount's source", source)(errno.into()))
            }
            Mount::Volume(volume) => {
                let (volumes, volume) = (Arc::clone(&self.volumes), volume.clone());
                answer::in_time(&format!("the volume {}", volume.name.clone()), move || volumes.open_source(&volume))?
                    .map(Some)
            }
            Mount::Tmpfs { .. } => Ok(None),
            Mount::Image(image) => Err(EngineError::invalid(
                "--mount",
                format!("the image at {} can be mounted and go only while the container does not run", image.target),
            )),
        }
    }

    /// How a mount that goes is known.
    fn known(&self, running: &Running, mount: &Mount) -> Result<Known, EngineError> {
        let target = clean(mount.target());
        if let Some(live) = running.live.iter().find(|live| live.target == target) {
            return Ok(Known::Number(live.number));
        }
        let destination = target.into();
        let Some(bound) = self.bound(mount)? else { return Ok(Known::Tmpfs { destination }) };
        Ok(Known::shows(destination, &bound)?)
    }

    /// A daemon begins, and the last one may have been killed while it changed a running container's mounts: the record
    /// then says what is mounted, by the kernel's word.
    pub(crate) fn settle_changed_mounts(&self, record: &mut Record, running: &mut Running) {
        let Some(known) = record.state.running().filter(|known| known.start_time == running.start_time) else { return };
        running.live.clone_from(&known.live);
        let Some(changing) = known.changing.as_deref().cloned() else { return };
        match self.look_at_changed(record, running, &changing) {
            Ok(Some((wishes, mounts, live))) => {
                record.spec.mounts = wishes;
                record.mounts = Some(mounts);
                running.live = live;
                tracing::warn!(container = %record.id, "a change of its mounts was interrupted: its record says what is mounted");
            }
            // It has ended: the change holds from its next start on.
            Ok(None) => {}
            Err(error) => {
                tracing::error!(container = %record.id, error = errors::chain(&error), "it cannot be told whether its mounts were changed");
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "wishes, mounts and numbers, taken apart at once by the one caller")]
    fn look_at_changed(
        &self,
        record: &Record,
        running: &Running,
        changing: &ChangingMounts,
    ) -> Result<Option<(Vec<Mount>, Vec<Mount>, Vec<LiveMount>)>, EngineError> {
        let is_added = |target: &str| changing.added.iter().any(|live| live.target == target);
        let after = record.mounts();
        let kept = |mount: &&Mount| after.contains(*mount) && !is_added(&clean(mount.target()));
        let mut questions: Vec<(Mount, Known)> = Vec::new();
        for mount in changing.mounts.iter().filter(|mount| !kept(mount)) {
            questions.push((mount.clone(), self.known(running, mount)?));
        }
        for live in &changing.added {
            if let Some(mount) = after.iter().find(|mount| clean(mount.target()) == live.target) {
                questions.push((mount.clone(), Known::Number(live.number)));
            }
        }
        let (host, asked) = (Visit::prepare()?, questions.iter().map(|(_, known)| known.clone()).collect::<Vec<_>>());
        let answers = visit::mounts(running, move || {
            asked.iter().map(|known| Ok(host.has(known)?)).collect::<Result<Vec<bool>, EngineError>>()
        })?;
        let Some(answers) = answers else { return Ok(None) };
        let mut mounts: Vec<Mount> = changing.mounts.iter().filter(kept).cloned().collect();
        let mut live: Vec<LiveMount> = running
            .live
            .iter()
            .filter(|live| mounts.iter().any(|mount| clean(mount.target()) == live.target))
            .cloned()
            .collect();
        for ((mount, known), _) in questions.into_iter().zip(answers).filter(|(_, there)| *there) {
            if let Known::Number(number) = known {
                live.push(LiveMount { target: clean(mount.target()), number });
            }
            mounts.push(mount);
        }
        mount::order(&mut mounts);
        let is_mounted = |wish: &Mount| mounts.iter().any(|mount| same_wish(mount, wish));
        let mut wishes = changing.wishes.clone();
        wishes.extend(record.spec.mounts.iter().filter(|wish| !changing.wishes.contains(wish)).cloned());
        wishes.retain(is_mounted);
        Ok(Some((wishes, mounts, live)))
    }
}

/// Refuses what would hide a mount of the container's, or take it away with another: until the next start only.
fn hides_nothing(kept: &[Mount], added: &[Mount], removed: &[Mount]) -> Result<(), EngineError> {
    for (field, changed) in [("--mount", added), ("--unmount", removed)] {
        for mount in changed {
            let above = format!("{}/", clean(mount.target()));
            if let Some(below) = kept.iter().find(|other| clean(other.target()).starts_with(&above)) {
                let below = clean(below.target());
                let reason = format!(
                    "{below} is mounted below {}: --unmount it as well, and --mount it again if it shall stay",
                    clean(mount.target())
                );
                return Err(EngineError::invalid(field, reason));
            }
        }
    }
    Ok(())
}

/// On a visit: takes out what goes, then attaches what comes. What fails is undone.
fn swap(
    host: &Visit,
    goes: &[(String, Known)],
    comes: &[Detached],
    owner: Option<(u32, u32)>,
) -> Result<Vec<(String, TakenOut)>, Undone> {
    let (mut taken, mut attached) = (Vec::new(), Vec::new());
    let done = (|| {
        for (target, known) in goes {
            // What the container has unmounted itself is gone already.
            taken.extend(host.take_out(known)?.map(|tree| (target.clone(), tree)));
        }
        for mount in comes {
            mount.attach(owner)?;
            attached.push(mount.id()?);
        }
        Ok(())
    })();
    done.map_err(|error| Undone { error, back: restore(host, &attached, &taken) }).map(|()| taken)
}

/// On a visit: takes out what came, the last first, and puts back what went; with its new numbers.
fn restore(host: &Visit, attached: &[u64], taken: &[(String, TakenOut)]) -> Vec<LiveMount> {
    let failed = |error: LiveMountError| {
        tracing::error!(
            error = errors::chain(&error),
            "a running container's mounts are not what they were until its next start"
        );
    };
    for number in attached.iter().rev() {
        if let Err(error) = host.take_out(&Known::Number(*number)) {
            failed(error);
        }
    }
    let put_back = |(target, tree): &(String, TakenOut)| {
        let number = tree.put_back().map_err(failed).ok()?;
        Some(LiveMount { target: target.clone(), number })
    };
    taken.iter().rev().filter_map(put_back).collect()
}

/// Undoes an exchange that was carried out; what is put back is added to `back`.
fn take_back(run: &mut Run, back: &mut Vec<LiveMount>) -> Result<(), EngineError> {
    if !run.carried_out {
        return Ok(());
    }
    let taken = std::mem::take(&mut run.taken);
    let attached: Vec<u64> = run.numbers.iter().map(|live| live.number).collect();
    let host = Visit::prepare()?;
    let work = move || Ok(restore(&host, &attached, &taken));
    back.extend(visit::mounts_then(&run.running, || (), work)?.unwrap_or_default());
    Ok(())
}

/// A tmpfs is made outside of the container's user namespace: its options name the host's ids, its root's where they say
/// nothing.
fn with_outer_ids(mount: &Mount, ids: Option<IdRange>) -> Result<Mount, EngineError> {
    let (Some(ids), Mount::Tmpfs { target, options, given }) = (ids, mount) else { return Ok(mount.clone()) };
    let inner = |name: &str| {
        let text = options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
        text.unwrap_or("0").parse::<u32>().map_err(|_| EngineError::invalid("--mount", format!("{name} is no number")))
    };
    let (uid, gid) = (inner("uid")?, inner("gid")?);
    let nobody =
        || EngineError::invalid("--mount", format!("there is no {uid}:{gid} in the container's user namespace"));
    let (uid, gid) = ids.outside(uid, gid).ok_or_else(nobody)?;
    let mut options = options.clone();
    options.retain(|option| !option.starts_with("uid=") && !option.starts_with("gid="));
    options.extend([format!("uid={uid}"), format!("gid={gid}")]);
    Ok(Mount::Tmpfs { target: target.clone(), options, given: *given })
}

/// Whether a mount is what has become of a wish.
fn same_wish(mount: &Mount, wish: &Mount) -> bool {
    let same = match (mount, wish) {
        (Mount::Volume(volume), Mount::Volume(wish)) => {
            (wish.name.is_empty() || wish.name == volume.name) && wish.read_only == volume.read_only
        }
        (mount, wish) => mount == wish,
    };
    same && clean(mount.target()) == clean(wish.target())
}
