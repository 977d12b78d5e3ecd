// SPDX-License-Identifier: Apache-2.0
//! What a container has changed.

use std::sync::Arc;

use api_types::docker::{ChangeType, FilesystemChange};
use axum::Json;
use axum::extract::{Path, State};
use engine::{ChangeKind, Engine};

use crate::error::ApiError;

/// `GET /containers/NAME/changes`.
pub(crate) async fn changes(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
) -> Result<Json<Vec<FilesystemChange>>, ApiError> {
    let changes = engine.changes(&name).await?;
    let told = changes.into_iter().map(|change| {
        let kind = match change.kind {
            ChangeKind::Modified => ChangeType::_0,
            ChangeKind::Added => ChangeType::_1,
            ChangeKind::Deleted => ChangeType::_2,
        };
        FilesystemChange { path: change.path, kind }
    });
    Ok(Json(told.collect()))
}
