// SPDX-License-Identifier: Apache-2.0
//! End-to-end tests live in `tests/tests/`.
