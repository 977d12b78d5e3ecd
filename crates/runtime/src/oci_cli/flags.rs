// SPDX-License-Identifier: Apache-2.0
//! Reading flags as runc does: `--flag value`, `--flag=value`, `-f value`, one dash for long ones too; they end at the
//! first word that is none where a command or its options follow, otherwise at `--` only.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::error::CliError;

/// A flag that a command takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flag {
    long: &'static str,
    short: Option<char>,
    takes_value: bool,
}

impl Flag {
    pub(super) const fn value(long: &'static str) -> Flag {
        Flag { long, short: None, takes_value: true }
    }

    pub(super) const fn switch(long: &'static str) -> Flag {
        Flag { long, short: None, takes_value: false }
    }

    pub(super) const fn short(mut self, short: char) -> Flag {
        self.short = Some(short);
        self
    }

    fn is(&self, name: &[u8]) -> bool {
        self.long.as_bytes() == name || self.short.is_some_and(|short| [short as u8] == name)
    }
}

/// The flags given, and the words after them.
#[derive(Debug, Default)]
pub(super) struct Flags {
    given: Vec<(&'static str, OsString)>,
    pub(super) rest: Vec<OsString>,
}

impl Flags {
    /// Flags before the first word.
    pub(super) fn leading(args: Vec<OsString>, known: &[Flag]) -> Result<Flags, CliError> {
        Flags::parse(args, known, false)
    }

    /// Flags before and after the words, as in `update ID --memory 1G`.
    pub(super) fn read(args: Vec<OsString>, known: &[Flag]) -> Result<Flags, CliError> {
        Flags::parse(args, known, true)
    }

    fn parse(args: Vec<OsString>, known: &[Flag], mixed: bool) -> Result<Flags, CliError> {
        let mut flags = Flags::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let bytes = arg.as_bytes();
            if bytes == b"--" {
                break;
            }
            if bytes.len() < 2 || bytes[0] != b'-' {
                flags.rest.push(arg);
                if mixed {
                    continue;
                }
                break;
            }
            let name = bytes.strip_prefix(b"--").unwrap_or(&bytes[1..]);
            let (name, inline) = match name.iter().position(|byte| *byte == b'=') {
                Some(at) => (&name[..at], Some(OsString::from_vec(name[at + 1..].to_vec()))),
                None => (name, None),
            };
            let unknown = || CliError::UnknownFlag { flag: arg.to_string_lossy().into_owned() };
            let flag = known.iter().find(|flag| flag.is(name)).ok_or_else(unknown)?;
            let value = match (flag.takes_value, inline) {
                (_, Some(value)) => value,
                (false, None) => "true".into(),
                (true, None) => args.next().ok_or(CliError::MissingValue { flag: flag.long })?,
            };
            let is_truth = |value: &OsString| value == "true" || value == "false";
            if !flag.takes_value && !is_truth(&value) {
                let value = value.to_string_lossy().into_owned();
                return Err(CliError::InvalidValue { flag: flag.long, value, expected: "true or false" });
            }
            flags.given.push((flag.long, value));
        }
        flags.rest.extend(args);
        Ok(flags)
    }

    fn last(&self, flag: &str) -> Option<&OsString> {
        self.given.iter().rev().find(|(name, _)| *name == flag).map(|(_, value)| value)
    }

    /// Whether the flag was given at all.
    pub(super) fn given(&self, flag: &str) -> bool {
        self.last(flag).is_some()
    }

    pub(super) fn switch(&self, flag: &str) -> bool {
        self.last(flag).is_some_and(|value| value == "true")
    }

    pub(super) fn path(&self, flag: &str) -> Option<PathBuf> {
        self.last(flag).map(PathBuf::from)
    }

    pub(super) fn text(&self, flag: &'static str) -> Result<Option<String>, CliError> {
        Ok(self.texts(flag)?.pop())
    }

    /// All values of a flag that may be given more than once.
    pub(super) fn texts(&self, flag: &'static str) -> Result<Vec<String>, CliError> {
        let given = self.given.iter().filter(|(name, _)| *name == flag);
        given
            .map(|(_, value)| {
                value.clone().into_string().map_err(|value| CliError::InvalidValue {
                    flag,
                    value: value.to_string_lossy().into_owned(),
                    expected: "UTF-8 text",
                })
            })
            .collect()
    }

    pub(super) fn number(&self, flag: &'static str) -> Result<Option<u32>, CliError> {
        let Some(text) = self.text(flag)? else { return Ok(None) };
        let number = text.parse();
        number.map(Some).map_err(|_| CliError::InvalidValue { flag, value: text, expected: "a number" })
    }

    /// The one word that a command takes: a container's id.
    pub(super) fn id(&self) -> Result<oci::ContainerId, CliError> {
        match self.rest.as_slice() {
            [id] => Ok(id.to_string_lossy().parse()?),
            _ => Err(CliError::Usage { expected: "one container id" }),
        }
    }

    /// The container's id and the words after it.
    pub(super) fn id_and_more(&self) -> Result<(oci::ContainerId, &[OsString]), CliError> {
        match self.rest.split_first() {
            Some((id, more)) => Ok((id.to_string_lossy().parse()?, more)),
            None => Err(CliError::Usage { expected: "a container id" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Flag] = &[Flag::value("bundle").short('b'), Flag::switch("detach").short('d')];

    fn read(args: &[&str]) -> Result<Flags, CliError> {
        Flags::leading(args.iter().map(OsString::from).collect(), KNOWN)
    }

    #[test]
    fn flags_after_the_id_were_taken_for_words() {
        let read = |args: &[&str]| Flags::read(args.iter().map(OsString::from).collect(), KNOWN);
        let flags = read(&["id", "--bundle", "/b", "-d"]).unwrap();
        assert_eq!((flags.path("bundle"), flags.switch("detach")), (Some("/b".into()), true));
        assert_eq!(flags.id().unwrap().as_str(), "id");
        assert_eq!(read(&["id", "--", "-d"]).unwrap().rest, ["id", "-d"]);
        assert!(read(&["id", "--no-such"]).is_err());
    }

    #[test]
    fn flags_are_read_in_every_spelling_until_the_first_word() {
        for args in
            [&["--bundle", "/b", "-d", "id"][..], &["-b=/b", "--detach=true", "id"], &["-bundle=/b", "-d", "id"]]
        {
            let flags = read(args).unwrap();
            assert_eq!(flags.path("bundle"), Some("/b".into()));
            assert!(flags.switch("detach"));
            assert_eq!(flags.id().unwrap().as_str(), "id");
        }
        assert_eq!(read(&["id", "-d"]).unwrap().rest.len(), 2);
        assert_eq!(read(&["--", "-d"]).unwrap().rest, ["-d"]);
    }

    #[test]
    fn what_is_unknown_or_incomplete_is_an_error() {
        assert!(matches!(read(&["--no-such"]), Err(CliError::UnknownFlag { flag }) if flag == "--no-such"));
        assert!(matches!(read(&["--bundle"]), Err(CliError::MissingValue { flag: "bundle" })));
        assert!(matches!(read(&["-d=perhaps"]), Err(CliError::InvalidValue { .. })));
    }
}
