// SPDX-License-Identifier: Apache-2.0
//! The drivers that send lines elsewhere: their options, and what each makes of a container's lines.

mod address;
mod fluentd;
mod gelf;
mod journald;
mod parts;
mod syslog;
mod tls;
mod transport;

use std::time::Duration;

use serde_json::{Map, Value};

use self::address::Address;
use self::fluentd::Fluentd;
use self::gelf::Gelf;
use self::parts::Parts;
use self::syslog::Syslog;
use self::tls::{Tls, TlsFiles};
use self::transport::{Batch, Patience, Transport};
use crate::choice::Driver;
use crate::error::LoggingError;
use crate::options::{CACHE_DISABLED, Options, invalid};
use crate::pick::Pick;
use crate::read::LogLine;
use crate::subject::Subject;
use crate::tag::Tag;

/// How long is waited before a server is asked again, the first time.
const RETRY_WAIT: Duration = Duration::from_millis(100);

/// Where lines are sent, and how.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    kind: Kind,
    tls: Option<TlsFiles>,
    /// How many bytes of the log may wait for the server before the oldest are left out; without it, all of the log.
    pub(super) keep: Option<u64>,
    pub(super) retry_wait: Duration,
    /// How long the server is waited for.
    patience: Patience,
    /// Whether nothing of what was sent is to stay on this host.
    pub(super) sent_goes: bool,
    /// How often is tried again before lines are left out; without end where it is absent.
    pub(super) max_retries: Option<u32>,
}

#[derive(Debug, Clone)]
enum Kind {
    Syslog(Syslog),
    Gelf(Gelf),
    Fluentd(Fluentd),
    Journald,
}

/// A driver at work for one container.
pub(super) struct Sender {
    format: Format,
    parts: Parts,
    pub(super) address: Address,
    pub(super) transport: Transport,
}

#[derive(Debug)]
enum Format {
    Syslog(syslog::Format),
    Gelf(gelf::Format),
    Fluentd(fluentd::Format),
    Journald(journald::Format),
}

impl Remote {
    /// The options of `driver`; `None` for one that sends nothing anywhere.
    pub(super) fn parse(driver: Driver, options: &mut Options<'_>) -> Result<Option<Remote>, LoggingError> {
        let kind = match driver {
            Driver::JsonFile | Driver::Local | Driver::None => return Ok(None),
            Driver::Syslog => Kind::Syslog(Syslog::parse(options)?),
            Driver::Gelf => Kind::Gelf(Gelf::parse(options)?),
            Driver::Fluentd => Kind::Fluentd(Fluentd::parse(options)?),
            Driver::Journald => Kind::Journald,
        };
        let mut remote = Remote {
            kind,
            tls: None,
            keep: options.mode()?,
            retry_wait: RETRY_WAIT,
            patience: Patience::default(),
            sent_goes: options.flag(CACHE_DISABLED)?.unwrap_or(false),
            max_retries: None,
        };
        let (wait, retries) = match &remote.kind {
            Kind::Gelf(Gelf { address: Address::Tcp { .. }, .. }) => {
                ("gelf-tcp-reconnect-delay", "gelf-tcp-max-reconnect")
            }
            Kind::Fluentd(fluentd) => {
                remote.keep = remote.keep.or(fluentd.buffer_limit);
                remote.patience = fluentd.patience;
                ("fluentd-retry-wait", "fluentd-max-retries")
            }
            _ => ("", ""),
        };
        if let Some(wait) = options.time(wait)? {
            remote.retry_wait = wait;
        }
        if let Some(text) = options.take(retries) {
            let number = text.parse().map_err(|_| invalid(retries, format!("{text:?} is no number")))?;
            remote.max_retries = Some(number);
        }
        remote.tls = remote.tls_files(options)?;
        Ok(Some(remote))
    }

    fn tls_files(&self, options: &mut Options<'_>) -> Result<Option<TlsFiles>, LoggingError> {
        let mut files = TlsFiles::default();
        if matches!(self.kind, Kind::Syslog(_)) {
            files.authority = options.take("syslog-tls-ca-cert").map(Into::into);
            files.client = match (options.take("syslog-tls-cert"), options.take("syslog-tls-key")) {
                (None, None) => None,
                (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
                _ => return Err(invalid("syslog-tls-cert", "needs syslog-tls-key, and the other way round")),
            };
            files.unverified = options.flag("syslog-tls-skip-verify")?.unwrap_or(false);
        }
        let wanted = matches!(self.address(), Address::Tcp { tls: true, .. });
        if wanted {
            // Whether it can be read is said now rather than in the daemon's log later.
            Tls::read(&files).map_err(|why| invalid("TLS", why))?;
        } else if files.authority.is_some() || files.client.is_some() || files.unverified {
            return Err(invalid(
                "syslog-tls-ca-cert, -cert, -key, -skip-verify",
                "there is no TLS without syslog-address=tcp+tls://HOST:PORT",
            ));
        }
        Ok(wanted.then_some(files))
    }

    fn address(&self) -> Address {
        match &self.kind {
            Kind::Syslog(Syslog { address, .. })
            | Kind::Gelf(Gelf { address, .. })
            | Kind::Fluentd(Fluentd { address, .. }) => address.clone(),
            Kind::Journald => journald::address(),
        }
    }

    /// The driver, for the container that `subject` is.
    ///
    /// # Errors
    /// Files of TLS that can no longer be read.
    pub(super) fn sender(
        &self,
        subject: &Subject<'_>,
        tag: Option<&Tag>,
        labels: &Pick,
        env: &Pick,
    ) -> Result<Sender, String> {
        let tag = tag.map_or_else(|| Tag::usual().render(subject), |tag| tag.render(subject));
        let mut fields = subject.attributes(labels, env);
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let format = match &self.kind {
            Kind::Syslog(syslog) => Format::Syslog(syslog.format(&host, &tag)),
            Kind::Gelf(gelf) => {
                let mut said: Map<String, Value> = Map::new();
                for (name, value) in fields {
                    let name = if name.starts_with('_') { name } else { format!("_{name}") };
                    said.insert(name, value.into());
                }
                for (name, value) in [
                    ("_container_id", subject.id.to_string()),
                    ("_container_name", subject.name.to_owned()),
                    ("_image_id", subject.image_id.to_string()),
                    ("_image_name", subject.image.to_owned()),
                    ("_command", subject.args.join(" ")),
                    ("_tag", tag),
                    ("_created", subject.created.to_string()),
                ] {
                    said.insert(name.to_owned(), value.into());
                }
                Format::Gelf(gelf.format(&host, said, random()?))
            }
            Kind::Fluentd(fluentd) => {
                fields.insert("container_id".to_owned(), subject.id.to_string());
                // With a slash before it, as Docker sends it.
                fields.insert("container_name".to_owned(), format!("/{}", subject.name));
                Format::Fluentd(fluentd.format(&tag, fields))
            }
            Kind::Journald => {
                let mut said: std::collections::BTreeMap<String, String> =
                    fields.into_iter().map(|(name, value)| (journald::field_name(&name), value)).collect();
                for (name, value) in [
                    ("CONTAINER_ID", subject.id.short().to_owned()),
                    ("CONTAINER_ID_FULL", subject.id.to_string()),
                    ("CONTAINER_NAME", subject.name.to_owned()),
                    ("CONTAINER_TAG", tag.clone()),
                    ("IMAGE_NAME", subject.image.to_owned()),
                    ("SYSLOG_IDENTIFIER", tag),
                ] {
                    said.insert(name.to_owned(), value);
                }
                Format::Journald(journald::Format::new(&said))
            }
        };
        let tls = self.tls.as_ref().map(Tls::read).transpose()?;
        let (address, transport) = (self.address(), Transport::new(self.address(), tls, self.patience));
        Ok(Sender { format, parts: Parts::default(), address, transport })
    }
}

impl Sender {
    /// The messages for lines that follow those of the last call.
    pub(super) fn encode(&mut self, lines: &[LogLine]) -> Result<Batch, String> {
        let parts = self.parts.of(lines, || Ok(format!("{:016x}{:016x}", random()?, random()?)))?;
        Ok(match &self.format {
            Format::Syslog(format) => format.encode(lines),
            Format::Gelf(format) => format.encode(lines),
            Format::Fluentd(format) => format.encode(lines, &parts, &format!("{:016x}{:08x}", random()?, lines.len())),
            Format::Journald(format) => format.encode(lines, &parts),
        })
    }
}

fn random() -> Result<u64, String> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| format!("random numbers: {errno}"))?;
    Ok(u64::from_ne_bytes(bytes))
}
