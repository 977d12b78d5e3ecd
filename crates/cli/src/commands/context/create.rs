// SPDX-License-Identifier: Apache-2.0
//! `corten context create`: give a daemon a name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use client::contexts::{DEFAULT_CONTEXT, StoredContext};
use client::{Address, TlsFiles, Wish};
use errors::Kind;

use super::{default_endpoint, in_use, store};
use crate::failure::Failure;
use crate::printer;

/// Give a daemon a name
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What it is, for those who list contexts
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// The daemon: host=ADDRESS[,ca=FILE][,cert=FILE][,key=FILE], or from=CONTEXT
    #[arg(long, value_name = "SETTINGS")]
    docker: Option<String>,
    /// Copy another context's daemon [default: the one in use]
    #[arg(long, value_name = "CONTEXT", conflicts_with = "docker")]
    from: Option<String>,
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
}

pub(super) fn run(args: Args, wish: &Wish) -> Result<u8, Failure> {
    let (host, tls) = match (&args.docker, &args.from) {
        (Some(settings), _) => parse(settings, wish)?,
        (None, Some(from)) => endpoint_of(from, wish)?,
        // As Docker has it.
        (None, None) => endpoint_of(&in_use(wish)?, wish)?,
    };
    store().create(&args.name, &StoredContext::new(&args.name, &host, &args.description), &tls)?;
    printer::line(&args.name);
    printer::note(&format!("Successfully created context \"{}\"", args.name));
    Ok(0)
}

/// The daemon of the context `name`.
fn endpoint_of(name: &str, wish: &Wish) -> Result<(String, TlsFiles), Failure> {
    if name == DEFAULT_CONTEXT {
        return default_endpoint(wish);
    }
    let context = store().read(name)?;
    let tls = store().tls_of(&context)?.unwrap_or_default();
    Ok((context.host()?.to_owned(), tls))
}

/// `host=ADDRESS[,ca=FILE][,cert=FILE][,key=FILE]` or `from=CONTEXT`.
pub(super) fn parse(settings: &str, wish: &Wish) -> Result<(String, TlsFiles), Failure> {
    let wrong = |text: String| Failure::new(Kind::InvalidArgument, format!("--docker {settings}: {text}"));
    let mut all = BTreeMap::new();
    for setting in settings.split(',').filter(|setting| !setting.is_empty()) {
        let (name, value) = setting.split_once('=').ok_or_else(|| wrong(format!("\"{setting}\" has no value")))?;
        if !["host", "ca", "cert", "key", "from", "skip-tls-verify"].contains(&name) {
            return Err(
                wrong(format!("there is no setting \"{name}\"")).with_hint("there are host, ca, cert, key and from")
            );
        }
        if all.insert(name, value).is_some() {
            return Err(wrong(format!("\"{name}\" is given twice")));
        }
    }
    if let Some(from) = all.remove("from") {
        return if all.is_empty() { endpoint_of(from, wish) } else { Err(wrong("from stands alone".into())) };
    }
    if !matches!(all.get("skip-tls-verify"), None | Some(&"false")) {
        return Err(Failure::new(Kind::Unsupported, "skip-tls-verify would trust any server, and is not supported"));
    }
    let host = all.get("host").ok_or_else(|| wrong("it names no host".into()))?;
    // Refused here rather than by whoever uses the context.
    if host.parse::<Address>()? == Address::Inherited {
        return Err(wrong("fd:// is no address to connect to".into()));
    }
    let file = |name: &str| all.get(name).map(PathBuf::from);
    let identity = match (file("cert"), file("key")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err(wrong("cert and key belong together".into())),
    };
    Ok(((*host).to_owned(), TlsFiles { authority: file("ca"), identity }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_nothing_is_passed_over() {
        let parse = |settings: &str| parse(settings, &Wish::default());
        let (host, tls) = parse("host=tcp://a:1,ca=/a,cert=/c,key=/k").unwrap();
        assert_eq!((host.as_str(), tls.authority), ("tcp://a:1", Some("/a".into())));
        assert_eq!(tls.identity, Some(("/c".into(), "/k".into())));
        assert!(parse("host=ssh://a,skip-tls-verify=false").is_ok());
        for bad in [
            "",
            "ca=/a",
            "host",
            "host=nonsense",
            "host=fd://",
            "host=tcp://a,cert=/c",
            "host=tcp://a,host=tcp://b",
            "host=tcp://a,skip-tls-verify=true",
            "host=tcp://a,colour=red",
            "from=x,host=tcp://a",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
