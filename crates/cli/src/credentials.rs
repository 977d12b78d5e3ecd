// SPDX-License-Identifier: Apache-2.0
//! What this user is to a registry, for the daemon to ask with.

use errors::{Kind, Report};
use oci::ImageRef;
use registry_client::CredentialStores;

use crate::failure::Failure;
use crate::printer;

/// The registry that a command is about: Docker's where none is named.
pub(crate) fn registry(server: Option<&str>) -> Result<String, Failure> {
    let registry = oci::registry_of(server.unwrap_or_default());
    registry.map_err(|error| Failure::new(Kind::InvalidArgument, error.to_string()))
}

/// The stores of this user.
pub(crate) fn stores() -> CredentialStores {
    CredentialStores::of_user(crate::environment::variable_os)
}

/// The `X-Registry-Auth` header for `registry`. A store that cannot be read is warned of: most images need no login.
pub(crate) fn header(registry: &str) -> Option<String> {
    match stores().find(registry) {
        Ok(credentials) => credentials.map(|credentials| credentials.to_header()),
        Err(error) => {
            let report = Report::from(&error);
            printer::warning(&format!("{registry} is asked without a login: {}", report.message));
            None
        }
    }
}

/// The same for the registry of `image`. What is no image's name is told by whoever needs it.
pub(crate) fn header_for_image(image: &str) -> Option<String> {
    let name: ImageRef = image.parse().ok()?;
    header(name.registry())
}
