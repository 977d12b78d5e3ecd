// SPDX-License-Identifier: Apache-2.0
//! `corten context inspect`: all about contexts, in docker's JSON.

use client::contexts::DEFAULT_CONTEXT;
use client::{TlsFiles, Wish};
use serde_json::{Map, Value, json};

use super::{default_endpoint, in_use, store};
use crate::failure::Failure;
use crate::printer;
use crate::printer::json;
use crate::template::Template;

/// Print all about contexts, as JSON
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print: json, or a template like '{{.Endpoints.docker.Host}}'
    #[arg(short, long, value_name = "FORMAT", default_value = "json")]
    format: String,
    /// Their names [default: the one in use]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

pub(super) fn run(args: Args, wish: &Wish) -> Result<u8, Failure> {
    let template = match args.format.as_str() {
        "json" => None,
        template => Some(template.parse::<Template>()?),
    };
    let names = if args.names.is_empty() { vec![in_use(wish)?] } else { args.names };
    let (mut found, mut failed) = (Vec::new(), false);
    for name in &names {
        match about(name, wish) {
            Ok(value) => found.push(value),
            Err(failure) => {
                failed = true;
                failure.report.iter().for_each(printer::failure);
            }
        }
    }
    match template {
        None => printer::line(&json::indent(&Value::from(found).to_string())),
        Some(template) => {
            for value in &found {
                printer::line(&template.render(value)?);
            }
        }
    }
    if failed { Err(Failure::told()) } else { Ok(0) }
}

fn about(name: &str, wish: &Wish) -> Result<Value, Failure> {
    if name == DEFAULT_CONTEXT {
        let (host, tls) = default_endpoint(wish)?;
        let endpoints = json!({"docker": {"Host": host, "SkipTLSVerify": false}});
        let nowhere = ("<IN MEMORY>".to_owned(), "<IN MEMORY>".to_owned());
        return Ok(object(name, Map::new(), endpoints, &tls, nowhere));
    }
    let store = store();
    let context = store.read(name)?;
    let tls = store.tls_of(&context)?.unwrap_or_default();
    let (meta, certificates) = store.places(name)?;
    let places = (meta.display().to_string(), certificates.display().to_string());
    Ok(object(name, context.metadata, context.endpoints.into(), &tls, places))
}

fn object(
    name: &str,
    metadata: Map<String, Value>,
    endpoints: Value,
    tls: &TlsFiles,
    places: (String, String),
) -> Value {
    let identity = tls.identity.as_ref().map(|_| ["cert.pem", "key.pem"]);
    let files: Vec<&str> =
        tls.authority.as_ref().map(|_| "ca.pem").into_iter().chain(identity.into_iter().flatten()).collect();
    let material = if files.is_empty() { json!({}) } else { json!({"docker": files}) };
    json!({
        "Name": name,
        "Metadata": metadata,
        "Endpoints": endpoints,
        "TLSMaterial": material,
        "Storage": {"MetadataPath": places.0, "TLSPath": places.1},
    })
}
