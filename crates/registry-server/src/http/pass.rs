// SPDX-License-Identifier: Apache-2.0
//! `/v2/_token`: passes, by the protocol of token services ("Docker Registry v2 authentication via central service").

use std::sync::Arc;

use http::header::{CACHE_CONTROL, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_json::json;

use super::answer;
use super::body::Body;
use super::exchange::Exchange;
use crate::auth::{Door, PASS_SECONDS};
use crate::error::ApiError;
use crate::registry::Registry;

/// GET: with a name and a password a pass of that user's, otherwise one of nobody's. What it is asked to be for does not
/// matter: it says who somebody is, and no more.
pub(crate) async fn give(
    registry: &Arc<Registry>,
    request: &Request<Incoming>,
    door: &Door,
    exchange: &mut Exchange,
) -> Result<Response<Body>, ApiError> {
    let (user, pass) = registry.options.access.pass(request.headers(), door).await?.ok_or(ApiError::NoRoute)?;
    exchange.user = user;
    // Some clients know the one name, some the other.
    let body = json!({
        "token": pass, "access_token": pass, "expires_in": PASS_SECONDS, "issued_at": Timestamp::now().to_string(),
    });
    let mut response = answer::json("application/json", body.to_string());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
