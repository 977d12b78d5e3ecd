// SPDX-License-Identifier: Apache-2.0
//! Other published ports for a container.

use std::sync::Arc;

use api_types::PortChangeRequest;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use engine::{Engine, PortChanges};

use crate::convert::to_spec;
use crate::error::ApiError;
use crate::extract::Body;

pub(crate) async fn change(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    Body(request): Body<PortChangeRequest>,
) -> Result<StatusCode, ApiError> {
    let changes = PortChanges {
        publish: to_spec::ports(Some(&request.publish))?,
        withdraw: to_spec::ports(Some(&request.withdraw))?,
    };
    engine.change_ports(&name, changes).await?;
    Ok(StatusCode::NO_CONTENT)
}
