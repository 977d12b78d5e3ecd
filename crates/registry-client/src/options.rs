// SPDX-License-Identifier: Apache-2.0
//! What a client may be told: time limits, retries, credentials and trust.

use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use crate::proxy::Proxies;
use crate::stores::CredentialSource;

/// How a [`Client`](crate::Client) behaves. The defaults are right for everything but tests and private registries.
#[derive(Debug, Clone)]
pub struct Options {
    /// The longest wait for a connection (name lookup, TCP and TLS each). 10 s.
    pub connect_timeout: Duration,
    /// The longest silence of a registry, before its answer and within it. 30 s.
    pub idle_timeout: Duration,
    /// How often a request is repeated after a 429, a 5xx or a broken connection. 3.
    pub retries: u32,
    /// The pause before the first repetition; each further one is twice as long, and of each a
    /// random half is left out. 250 ms.
    pub backoff: Duration,
    /// The longest `Retry-After` that is waited for; a registry that asks for more gets no further request. 30 s.
    pub max_retry_after: Duration,
    /// Where user names and passwords come from. The stores of the user that runs this process.
    pub credentials: CredentialSource,
    /// Registries (`HOST` or `HOST:PORT`) that may be spoken to without TLS. None; loopback addresses always may.
    pub insecure_registries: Vec<String>,
    /// Mirrors of Docker Hub (`HOST[:PORT][/PATH]`), asked in their order where `registries_conf` names none for an image.
    /// None.
    pub hub_mirrors: Vec<String>,
    /// Whether every registry may be spoken to without TLS, and any certificate is taken: for whoever asks for that by
    /// name. No.
    pub unverified: bool,
    /// Certificates of authorities to trust besides the system's. None.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// Directories with a directory `HOST[:PORT]` for each registry that has authorities (`*.crt`) or client
    /// certificates (`NAME.cert`, `NAME.key`) of its own. `/etc/containers/certs.d` and `/etc/docker/certs.d`.
    pub certificate_directories: Vec<PathBuf>,
    /// Where mirrors, other locations and blocked images are listed, with drop-ins in the directory of the same name with
    /// `.d` (containers-registries.conf(5), version 2). `/etc/containers/registries.conf`.
    pub registries_conf: Option<PathBuf>,
    /// Proxies. Those that this process's environment names.
    pub proxies: Proxies,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            retries: 3,
            backoff: Duration::from_millis(250),
            max_retry_after: Duration::from_secs(30),
            credentials: CredentialSource::of_user(),
            insecure_registries: Vec::new(),
            hub_mirrors: Vec::new(),
            unverified: false,
            extra_roots: Vec::new(),
            certificate_directories: vec!["/etc/containers/certs.d".into(), "/etc/docker/certs.d".into()],
            registries_conf: Some("/etc/containers/registries.conf".into()),
            proxies: Proxies::of_environment(),
        }
    }
}
