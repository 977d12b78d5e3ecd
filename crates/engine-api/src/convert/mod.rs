// SPDX-License-Identifier: Apache-2.0
//! Between Docker's models and the engine's words. Pure: values in, values out.

pub(crate) mod by_version;
pub(crate) mod complete;
pub(crate) mod endpoints;
mod from_host;
pub(crate) mod from_image;
pub(crate) mod from_info;
pub(crate) mod from_record;
pub(crate) mod from_sample;
pub(crate) mod from_store;
pub(crate) mod from_volume;
mod labels;
pub(crate) mod naming;
pub(crate) mod networks;
pub(crate) mod old_wishes;
pub(crate) mod refuse;
mod to_host;
pub(crate) mod to_spec;
