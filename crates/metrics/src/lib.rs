// SPDX-License-Identifier: Apache-2.0
//! Figures as Prometheus reads them: its text format, version 0.0.4, and histograms of durations. What is counted, and
//! under which names, is the business of who counts.

mod histogram;
mod text;

pub use histogram::Histogram;
pub use text::{Kind, Text};

/// What an answer in this format calls itself.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
