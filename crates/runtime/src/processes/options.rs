// SPDX-License-Identifier: Apache-2.0
//! The options of ps(1) that choose columns. Those that choose processes are taken where they choose all: only the
//! processes of one container are listed, and always all of them.

use super::Columns;

/// An option that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// It is none, or one that chooses something else.
    #[error("the ps option {0:?} is not understood")]
    Unknown(String),
    /// There is no such column.
    #[error("there is no column {0:?}")]
    Column(String),
    /// `o` without a list behind it.
    #[error("the ps option {0:?} wants a list of columns behind it, as in -o pid,comm")]
    NoList(String),
}

/// What the options have said so far.
#[derive(Default)]
struct Wish {
    named: Option<Columns>,
    full: bool,
    bsd: bool,
    by_user: bool,
}

impl Columns {
    /// The columns that `options` ask for: `-e`, `-A`, `-f`, `a`, `x`, `u` (and `-aux`), `w`, and `o` with a list of
    /// names, in ps's ways of joining them. None at all is `-ef`.
    ///
    /// # Errors
    /// An option or a column that is not known: the error names it.
    pub fn parse(options: &[&str]) -> Result<Columns, OptionError> {
        if options.is_empty() {
            return Ok(Columns::default());
        }
        let mut wish = Wish::default();
        let mut rest = options.iter().copied();
        while let Some(option) = rest.next() {
            wish.hear(option, &mut rest)?;
        }
        Ok(match wish {
            Wish { named: Some(columns), .. } => columns,
            Wish { bsd: true, by_user, .. } => Columns::bsd(by_user),
            Wish { full: true, .. } => Columns::default(),
            Wish { .. } => Columns::short(),
        })
    }
}

impl Wish {
    fn hear<'a>(&mut self, option: &'a str, rest: &mut impl Iterator<Item = &'a str>) -> Result<(), OptionError> {
        let unknown = || OptionError::Unknown(option.to_owned());
        // Taken for `aux` by ps as well, where no user is called x.
        let option = if option == "-aux" { "aux" } else { option };
        let (letters, bsd) = match option.strip_prefix('-') {
            Some(letters) => (letters, false),
            None => (option, true),
        };
        if letters.is_empty() {
            return Err(unknown());
        }
        for (place, letter) in letters.char_indices() {
            match (letter, bsd) {
                ('o', _) => {
                    let joined = Some(&letters[place + 1..]).filter(|list| !list.is_empty());
                    let list = joined.or_else(|| rest.next()).ok_or_else(|| OptionError::NoList(option.to_owned()))?;
                    let columns = Columns::named(list).map_err(OptionError::Column)?;
                    match &mut self.named {
                        Some(named) => named.extend(columns),
                        None => self.named = Some(columns),
                    }
                    return Ok(());
                }
                ('e' | 'A', false) => {}
                ('f', false) => self.full = true,
                ('a' | 'x', true) => self.bsd = true,
                ('u', true) => (self.bsd, self.by_user) = (true, true),
                // Nothing is cut off anyway.
                ('w', _) => {}
                _ => return Err(unknown()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(options: &str) -> Result<String, OptionError> {
        let words: Vec<&str> = options.split_whitespace().collect();
        Columns::parse(&words).map(|columns| columns.titles().join(" "))
    }

    #[test]
    fn options_choose_columns() {
        for (options, expected) in [
            ("", "UID PID PPID C STIME TTY TIME CMD"),
            ("-ef", "UID PID PPID C STIME TTY TIME CMD"),
            ("-A -f -ww", "UID PID PPID C STIME TTY TIME CMD"),
            ("-e", "PID TTY TIME CMD"),
            ("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
            ("-aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
            ("axw", "PID TTY STAT TIME COMMAND"),
            ("-o pid,comm", "PID COMMAND"),
            ("-opid -o comm", "PID COMMAND"),
            ("-eo pid,args", "PID COMMAND"),
            ("axo user,pid", "USER PID"),
        ] {
            assert_eq!(titles(options).as_deref(), Ok(expected), "{options}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for option in ["-", "-eF", "--sort=pid", "-u", "-p", "1", "f", "-é"] {
            assert_eq!(titles(option), Err(OptionError::Unknown(option.to_owned())));
        }
        assert_eq!(titles("-o"), Err(OptionError::NoList("-o".into())));
        for column in ["colour", "pid=PID", ""] {
            assert_eq!(titles(&format!("-o pid,{column}")), Err(OptionError::Column(column.into())));
        }
    }
}
