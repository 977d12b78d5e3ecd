// SPDX-License-Identifier: Apache-2.0
//! Why a spec cannot be planned. Every message names the field.

use errors::{Classify, Kind};

/// A spec that cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A field without which there is no container.
    #[error("the container's configuration has no {field}")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field whose value cannot be.
    #[error("{field} in the container's configuration is {value:?}, expected {expected}")]
    Invalid {
        /// The field.
        field: String,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A field that this version does not implement.
    #[error("{field} in the container's configuration is not supported")]
    Unsupported {
        /// The field.
        field: String,
    },
    /// A field for something that this kernel lacks or has not enabled.
    #[error("{field} in the container's configuration needs {needs}, which this host has not enabled")]
    NotOnThisHost {
        /// The field.
        field: String,
        /// What it needs.
        needs: &'static str,
    },
    /// The one who launches is not root, and the container has no user namespace in which it would be.
    #[error("linux.namespaces in the container's configuration has no user namespace, and only root can do without")]
    NotRoot,
    /// A setting for which the launcher needs rights over the host.
    #[error("{field} in the container's configuration needs a runtime that is started by root")]
    NeedsRoot {
        /// The field.
        field: String,
    },
    /// A setting that would change the host because the container shares the namespace it belongs to.
    #[error("{field} in the container's configuration needs a {namespace} namespace of the container's own")]
    NeedsNamespace {
        /// The field.
        field: String,
        /// The kind of namespace.
        namespace: &'static str,
    },
}

impl Classify for PlanError {
    fn kind(&self) -> Kind {
        match self {
            PlanError::Unsupported { .. } | PlanError::NotOnThisHost { .. } => Kind::Unsupported,
            _ => Kind::InvalidArgument,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            PlanError::NotRoot => Some(
                "add one, with linux.uidMappings and linux.gidMappings (`spec --rootless` writes an example)".into(),
            ),
            _ => None,
        }
    }
}
