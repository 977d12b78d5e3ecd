// SPDX-License-Identifier: Apache-2.0
//! What requests are changed by, for those who try what a daemon makes of them.

use serde_json::Value;

/// Texts that mean something somewhere: in an address, a filter, a size, a time, a name.
pub const TEXTS: [&str; 65] = [
    "",
    "/",
    "..",
    "-",
    "-1",
    "0",
    "0-0",
    "65536",
    "1-65535",
    "80/tcp",
    "/tcp",
    "80/",
    "a=b",
    "=",
    ":",
    "::",
    "[",
    "a:",
    "container:",
    "container:box",
    "host",
    "none",
    "default",
    "box",
    "mine",
    "1m",
    "24h",
    "-24h",
    "9223372036854775807",
    "99999999999999999999",
    "1e400",
    "9999-99-99",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z",
    "10.0.0.0/33",
    "::1",
    "host-gateway",
    "ctrl-",
    "ctrl-@,",
    "linux/",
    "linux/amd64/v8/x",
    "a\0b",
    "\u{fffd}",
    "\u{1f980}",
    "../../etc",
    "{",
    "{}",
    "[]",
    "[\"x\"]",
    "[{\"os\":\"linux\"}]",
    "null",
    "{\"os\":7}",
    "{\"os\":\"linux\",\"architecture\":\"\"}",
    "{\"label\":[\"a\"]}",
    "{\"label\":null}",
    "sha256:",
    "seccomp={",
    "seccomp={}",
    "label=",
    "no-new-privileges:perhaps",
    "c 1:3",
    "%00",
    "a|b",
    "^$",
    "a:latest:",
];

/// All places in a value, as JSON pointers; the first is the value itself.
#[must_use]
pub fn places(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    visit(value, String::new(), &mut found);
    found
}

fn visit(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            found.push(at.clone());
            items.iter().enumerate().for_each(|(index, item)| visit(item, format!("{at}/{index}"), found));
        }
        Value::Object(fields) => {
            found.push(at.clone());
            fields.iter().for_each(|(name, field)| {
                visit(field, format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            });
        }
        _ => found.push(at),
    }
}
