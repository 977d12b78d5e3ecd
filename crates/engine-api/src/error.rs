// SPDX-License-Identifier: Apache-2.0
//! The one place where an error becomes an HTTP answer: `{"message", "kind", "hint"}` with the kind's status.

use api_types::ErrorBody;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::EngineError;
use errors::{Classify, Kind, Report};
use image::ImageError;

use crate::server::AuthorizationError;

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The engine's answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A command that is not there, in the words by which Docker's clients choose the exit code 127.
    #[error("{0}: executable file not found in the container")]
    CommandNotFound(Report),
    /// The image store's answer.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A name that can be no image's.
    #[error(transparent)]
    Name(#[from] oci::ReferenceError),
    /// A text that is no platform.
    #[error(transparent)]
    Platform(#[from] oci::PlatformError),
    /// An image of another platform than the one that is asked about.
    #[error("the image is here for {is}, not for {wanted}")]
    OtherPlatform {
        /// Its platform.
        is: String,
        /// The one that is asked about.
        wanted: String,
    },
    /// The body is not the JSON that the route wants.
    #[error("the request's body is not understood")]
    Body(#[source] serde_json::Error),
    /// The body is too large, or its sender broke off.
    #[error("the request's body cannot be read")]
    Unreadable(#[source] axum::extract::rejection::BytesRejection),
    /// The body is too large, or its sender broke off.
    #[error("the request's body cannot be read")]
    Broken(#[source] axum::Error),
    /// An authorization hook's answer.
    #[error(transparent)]
    Authorization(#[from] AuthorizationError),
    /// The body's sender stalled.
    #[error("the request's body did not come within a minute")]
    SlowBody,
    /// A container that would have to run, and does not.
    #[error("container {name} is {status}, so there is nothing to attach to")]
    Stopped {
        /// Its name.
        name: String,
        /// Its state.
        status: &'static str,
    },
    /// A query that is none.
    #[error("the request's query is not understood")]
    Query(#[source] axum::extract::rejection::QueryRejection),
    /// A field or parameter with a value that cannot be.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field or parameter.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A label of Corten's own that cannot be.
    #[error("the label {name}: {problem}")]
    Label {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A field or parameter that Docker knows and Corten does not, or not yet.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// A stream that goes both ways was asked for without `Upgrade`.
    #[error("input needs a stream that goes both ways: ask with `Connection: Upgrade`")]
    NoUpgrade,
    /// Something of a swarm's, on a node that is in none.
    #[error("{0}: Corten runs containers on one machine, and has no swarm mode")]
    NoSwarm(&'static str),
    /// No plugin has this name: there are none.
    #[error("plugin {0:?} not found")]
    NoPlugin(String),
    /// A page of another site wants to open a WebSocket here.
    #[error("a WebSocket is not opened for a page of {0}")]
    ForeignOrigin(String),
    /// A repository that its registry knows, and that has no tag.
    #[error("the repository {0} has no tag in its registry")]
    NoTags(String),
    /// Some tags of a repository could not be pulled.
    #[error("{0}")]
    Tags(Report),
    /// No such route.
    #[error("page not found: {0}")]
    NoRoute(String),
    /// A version of the API that is not spoken.
    #[error("{0}")]
    Version(String),
    /// The answer cannot be written.
    #[error("the answer cannot be written as JSON")]
    Answer(#[source] serde_json::Error),
    /// There is no thread for the work.
    #[error("the daemon cannot start a thread for {what}")]
    Thread {
        /// The work.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A thread of the daemon's ended without an answer.
    #[error("the daemon's worker for {0} panicked")]
    Worker(&'static str),
}

impl ApiError {
    pub(crate) fn invalid(field: &'static str, problem: impl Into<String>) -> ApiError {
        ApiError::Invalid { field, problem: problem.into() }
    }

    pub(crate) fn label(name: &str, problem: impl Into<String>) -> ApiError {
        ApiError::Label { name: name.to_owned(), problem: problem.into() }
    }
}

impl Classify for ApiError {
    fn kind(&self) -> Kind {
        match self {
            ApiError::Engine(error) => error.kind(),
            ApiError::Image(error) => error.kind(),
            ApiError::Authorization(error) => error.kind(),
            ApiError::CommandNotFound(_) => Kind::CommandNotFound,
            ApiError::NoRoute(_) | ApiError::NoPlugin(_) | ApiError::NoTags(_) | ApiError::OtherPlatform { .. } => {
                Kind::NotFound
            }
            ApiError::Tags(report) => report.kind,
            ApiError::NoSwarm(_) => Kind::Unavailable,
            ApiError::ForeignOrigin(_) => Kind::PermissionDenied,
            ApiError::Unsupported(_) => Kind::Unsupported,
            ApiError::Stopped { .. } => Kind::Conflict,
            ApiError::Worker(_) | ApiError::Thread { .. } | ApiError::Answer(_) => Kind::Internal,
            _ => Kind::InvalidArgument,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ApiError::Engine(error) => error.hint(),
            ApiError::Image(error) => error.hint(),
            ApiError::Tags(report) | ApiError::CommandNotFound(report) => report.hint.clone(),
            ApiError::Stopped { name, .. } => Some(format!("start it: corten start -a {name}")),
            _ => None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let report = Report::from(&self);
        let status = StatusCode::from_u16(report.kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Clients ask of every daemon whether it has a swarm, or can do what this one cannot: that is no failure of its own.
        let asked_too_much = report.kind == Kind::Unsupported || matches!(self, ApiError::NoSwarm(_));
        if status.is_server_error() && !asked_too_much {
            tracing::error!(error = report.message, "a request failed");
        } else {
            tracing::debug!(error = report.message, status = status.as_u16(), "a request was refused");
        }
        (status, Json(ErrorBody::from(report))).into_response()
    }
}
