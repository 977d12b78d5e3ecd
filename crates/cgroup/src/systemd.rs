// SPDX-License-Identifier: Apache-2.0
//! Cgroups made by systemd: a container's processes are a scope, made over D-Bus, and systemd knows its limits.
//!
//! A scope exists only with a process in it, so [`Scope::start`] takes one: whoever calls keeps it alive until the
//! container's own first process is inside. Limits that systemd has no property for, and hierarchies that it does not
//! manage, are done in the control files, as without it.

mod annotation;
pub mod dbus;
mod error;
mod properties;
mod unit;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oci::runtime_spec::LinuxResources;
use serde::{Deserialize, Serialize};

pub use error::SystemdError;
pub use unit::Unit;

use crate::{Cgroup, CgroupPath, Host, Mode};
use dbus::{Address, Bus, BusError, Value};
use properties::{Property, Target, limits};

const NAME: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const SCOPE: &str = "org.freedesktop.systemd1.Scope";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Which systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Instance {
    /// The machine's.
    System,
    /// The calling user's.
    User,
}

impl Instance {
    /// The user's for an unprivileged user, also as root of a user namespace of his own; else the machine's.
    pub fn of_caller() -> Instance {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let whole = map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
        if rustix::process::geteuid().is_root() && whole { Instance::System } else { Instance::User }
    }

    /// The slice of a scope that names none.
    fn default_slice(self) -> &'static str {
        match self {
            Instance::System => "system.slice",
            Instance::User => "user.slice",
        }
    }

    /// Buses on which it may be found, and its own socket.
    fn addresses(self) -> (Vec<Address>, Option<Address>) {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        match self {
            Instance::System => {
                let given = variable("DBUS_SYSTEM_BUS_ADDRESS").map(|text| Address::parse(&text));
                let buses = given.unwrap_or_else(|| vec![Path::new("/run/dbus/system_bus_socket").into()]);
                (buses, Some(Path::new("/run/systemd/private").into()))
            }
            Instance::User => {
                let run = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
                let given = variable("DBUS_SESSION_BUS_ADDRESS").map(|text| Address::parse(&text));
                let default = || run.iter().map(|run| run.join("bus").as_path().into()).collect();
                let private = run.as_ref().map(|run| run.join("systemd/private").as_path().into());
                (given.unwrap_or_else(default), private)
            }
        }
    }
}

/// What a scope is to be like.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The container, for the unit's description.
    pub id: &'a str,
    /// Its limits.
    pub resources: Option<&'a LinuxResources>,
    /// Its annotations, of which `org.systemd.property.…` are properties of the unit.
    pub annotations: Option<&'a HashMap<String, String>>,
}

/// A container's scope: what must be remembered of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The unit.
    pub unit: Unit,
    /// Whose it is.
    pub instance: Instance,
}

impl Scope {
    /// The scope that `linux.cgroupsPath` names, for the container `id`.
    ///
    /// # Errors
    /// [`SystemdError::Path`] when it names none.
    pub fn of(cgroups_path: Option<&str>, id: &str) -> Result<Scope, SystemdError> {
        let instance = Instance::of_caller();
        Ok(Scope { unit: Unit::of(cgroups_path, id, instance.default_slice())?, instance })
    }

    /// Starts the scope with the process `pid` in it, and gives its cgroup: all hierarchies, with the limits.
    ///
    /// # Errors
    /// [`SystemdError`]; the scope is stopped again then.
    pub fn start(&self, host: &Host, wish: &Wish<'_>, pid: u32) -> Result<Cgroup, SystemdError> {
        if self.instance == Instance::User && host.mode() != Mode::V2 {
            return Err(SystemdError::UserUnderV1);
        }
        let annotations = wish.annotations.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()));
        let annotated = annotation::properties(annotations)?;
        let mut manager = Manager::connect(self.instance, host)?;
        let mut properties = self.scope_properties(host, wish.id, pid);
        if let Some(resources) = wish.resources {
            properties.extend(limits(resources, manager.target)?);
        }
        let properties = properties.into_iter().map(|(name, value)| (name.to_owned(), value));
        manager.start(&self.unit, array(properties.chain(annotated)))?;
        let made = manager.control_group(&self.unit).and_then(|path| Ok(host.adopt(&path, wish.resources)?));
        if made.is_err() {
            // The first error is the one to tell.
            drop(manager.stop(&self.unit));
        }
        made
    }

    fn scope_properties(&self, host: &Host, id: &str, pid: u32) -> Vec<Property> {
        let io = if host.mode() == Mode::V2 { "IOAccounting" } else { "BlockIOAccounting" };
        vec![
            ("Description", Value::text(format!("corten container {id}"))),
            ("Slice", Value::text(&self.unit.slice)),
            // Its cgroup is ours: systemd shall neither move what is in it nor take its controllers away.
            ("Delegate", Value::Bool(true)),
            ("PIDs", Value::Array("u".into(), vec![Value::Uint32(pid)])),
            ("MemoryAccounting", Value::Bool(true)),
            ("CPUAccounting", Value::Bool(true)),
            (io, Value::Bool(true)),
            ("TasksAccounting", Value::Bool(true)),
            // Otherwise it would be stopped before the services that a container may need at shutdown.
            ("DefaultDependencies", Value::Bool(false)),
        ]
    }

    /// Tells systemd of changed limits; the control files are the caller's.
    ///
    /// # Errors
    /// When systemd does not answer or refuses.
    pub fn update(&self, host: &Host, resources: &LinuxResources) -> Result<(), SystemdError> {
        let mut manager = Manager::connect(self.instance, host)?;
        let properties = limits(resources, manager.target)?;
        if properties.is_empty() {
            return Ok(());
        }
        // Until the next start: a scope has no other time.
        let properties = array(properties.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let arguments = vec![Value::text(&self.unit.name), Value::Bool(true), properties];
        manager.call("SetUnitProperties", arguments).map(drop)
    }

    /// Ends the scope. One that is gone already, as a scope without processes soon is, is no error.
    ///
    /// # Errors
    /// When systemd does not answer or refuses.
    pub fn stop(&self, host: &Host) -> Result<(), SystemdError> {
        Manager::connect(self.instance, host)?.stop(&self.unit)
    }
}

/// A connection to systemd.
struct Manager {
    bus: Bus,
    target: Target,
}

impl Manager {
    /// The bus first; the private socket, which only root may use, where there is no bus.
    fn connect(instance: Instance, host: &Host) -> Result<Manager, SystemdError> {
        let (buses, private) = instance.addresses();
        let mut tried = Vec::new();
        for address in &buses {
            match Bus::connect(address) {
                Ok(bus) => return Manager::greet(bus, host),
                Err(error) => tried.push(error),
            }
        }
        if let Some(address) = &private {
            match Bus::connect_to_peer(address) {
                Ok(bus) => return Manager::greet(bus, host),
                Err(error) => tried.push(error),
            }
        }
        Err(SystemdError::no_answer(instance, tried))
    }

    fn greet(bus: Bus, host: &Host) -> Result<Manager, SystemdError> {
        let mut manager = Manager { bus, target: Target { v2: host.mode() == Mode::V2, version: 0 } };
        let text = manager.property(OBJECT, MANAGER, "Version")?;
        // `252.36-1~deb12u1`, `v245`, `255`
        let digits: String = text.trim_start_matches('v').chars().take_while(char::is_ascii_digit).collect();
        manager.target.version = digits.parse().map_err(|_| SystemdError::unexpected("Version", &text))?;
        Ok(manager)
    }

    fn call(&mut self, method: &str, arguments: Vec<Value>) -> Result<Vec<Value>, SystemdError> {
        Ok(self.bus.call(NAME, OBJECT, MANAGER, method, arguments)?)
    }

    fn property(&mut self, object: &str, interface: &str, name: &str) -> Result<String, SystemdError> {
        let arguments = vec![Value::text(interface), Value::text(name)];
        let answer = self.bus.call(NAME, object, PROPERTIES, "Get", arguments)?;
        let text = answer.first().and_then(Value::as_text);
        text.map(str::to_owned).ok_or_else(|| SystemdError::unexpected(name, &format!("{answer:?}")))
    }

    /// Calls a method that begins a job, and waits for the job's end.
    fn job(&mut self, method: &str, unit: &Unit, arguments: Vec<Value>) -> Result<(), SystemdError> {
        let rule = format!("type='signal',sender='{NAME}',interface='{MANAGER}',member='JobRemoved'");
        self.bus.add_match(&rule)?;
        self.call("Subscribe", Vec::new()).or_else(already_subscribed)?;
        let answer = self.call(method, arguments)?;
        let job = answer.first().and_then(Value::as_text).unwrap_or_default().to_owned();
        let what = format!("with the end of {method} {}", unit.name);
        // Number, job, unit, result.
        let is_ours = |message: &dbus::Message| {
            message.member == "JobRemoved" && message.body.get(1).and_then(Value::as_text) == Some(&job)
        };
        let removed = self.bus.wait_for(&what, is_ours)?;
        match removed.body.get(3).and_then(Value::as_text) {
            Some("done") => Ok(()),
            result => {
                let (unit, result) = (unit.name.clone(), result.unwrap_or("nothing").to_owned());
                Err(SystemdError::Job { method: method.to_owned(), unit, result })
            }
        }
    }

    fn start(&mut self, unit: &Unit, properties: Value) -> Result<(), SystemdError> {
        let no_other_units = Value::Array("(sa(sv))".into(), Vec::new());
        let arguments = vec![Value::text(&unit.name), Value::text("replace"), properties, no_other_units];
        let started = match self.job("StartTransientUnit", unit, arguments.clone()) {
            // One of this name that failed stays until somebody has been told.
            Err(error) if error.is_refusal("org.freedesktop.systemd1.UnitExists") => {
                self.reset_failed(unit)?;
                self.job("StartTransientUnit", unit, arguments)
            }
            other => other,
        };
        if matches!(started, Err(SystemdError::Job { .. })) {
            self.reset_failed(unit)?;
        }
        started
    }

    fn control_group(&mut self, unit: &Unit) -> Result<CgroupPath, SystemdError> {
        let path = self.property(&unit.object(), SCOPE, "ControlGroup")?;
        path.parse().map_err(|_| SystemdError::unexpected("ControlGroup", &path))
    }

    fn stop(&mut self, unit: &Unit) -> Result<(), SystemdError> {
        let arguments = vec![Value::text(&unit.name), Value::text("replace")];
        match self.job("StopUnit", unit, arguments) {
            Err(error) if error.is_refusal(NO_SUCH_UNIT) => Ok(()),
            stopped => stopped.and_then(|()| self.reset_failed(unit)),
        }
    }

    /// Lets systemd forget a unit that failed. Mostly it has forgotten it already.
    fn reset_failed(&mut self, unit: &Unit) -> Result<(), SystemdError> {
        match self.call("ResetFailedUnit", vec![Value::text(&unit.name)]) {
            Err(error) if !error.is_refusal(NO_SUCH_UNIT) => Err(error),
            _ => Ok(()),
        }
    }
}

const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

fn already_subscribed(error: SystemdError) -> Result<Vec<Value>, SystemdError> {
    if error.is_refusal("org.freedesktop.systemd1.AlreadySubscribed") { Ok(Vec::new()) } else { Err(error) }
}

fn array(properties: impl Iterator<Item = (String, Value)>) -> Value {
    let property = |(name, value): (String, Value)| Value::Struct(vec![Value::text(name), value.in_variant()]);
    Value::Array("(sv)".into(), properties.map(property).collect())
}

impl From<BusError> for SystemdError {
    fn from(error: BusError) -> SystemdError {
        SystemdError::Bus(error)
    }
}
