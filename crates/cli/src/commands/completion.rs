// SPDX-License-Identifier: Apache-2.0
//! `corten completion`: the scripts by which shells complete command lines. They ask `corten __complete`, so that they
//! know names of containers and images, too, and never go out of date.

use std::fmt::Write as _;

use crate::failure::Failure;
use crate::{printer, program};

/// Print the script by which a shell completes command lines
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    /// source <(corten completion bash)
    Bash,
    /// corten completion zsh > "${fpath[1]}/_corten"
    Zsh,
    /// corten completion fish | source
    Fish,
}

const BASH: &str = r#"# bash completion of PROGRAM
_PROGRAM_complete() {
    local line word files='' words
    # Not COMP_WORDS: there the : of an image's name would separate words.
    read -ra words <<< "${COMP_LINE:0:COMP_POINT}"
    [[ ${COMP_LINE:0:COMP_POINT} == *[[:space:]] ]] && words+=('')
    word=${words[-1]}
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :files ]]; then files=1; else COMPREPLY+=("${line%%$'\t'*}"); fi
    done < <(PROGRAM __complete -- "${words[@]:1}" 2>/dev/null)
    if [[ -n $files ]]; then
        compopt -o filenames 2>/dev/null
        while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$word")
    fi
    # What stands before the last : is kept by bash.
    if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*:}"}"}")
    fi
}
complete -F _PROGRAM_complete PROGRAM
"#;

const ZSH: &str = r#"#compdef PROGRAM
_PROGRAM() {
    local line files
    local -a described
    for line in "${(@f)$(PROGRAM __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ $line == :files ]]; then
            files=1
        elif [[ -n $line ]]; then
            described+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
        fi
    done
    (( ${#described} )) && _describe -t values PROGRAM described
    [[ -n $files ]] && _files
}
if [[ $funcstack[1] == _PROGRAM ]]; then _PROGRAM "$@"; else compdef _PROGRAM PROGRAM; fi
"#;

const FISH: &str = r#"# fish completion of PROGRAM
function __PROGRAM_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (PROGRAM __complete -- $words[2..-1] 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c PROGRAM -f -a '(__PROGRAM_complete)'
"#;

pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    let script = match args.shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
    };
    printer::data(script.replace("PROGRAM", program::name()).as_bytes());
    Ok(0)
}

/// A candidate as the scripts read it: the word, and what it is.
pub(crate) fn line(text: &mut String, word: &str, about: &str) {
    // A line is one candidate, whatever stands in it.
    let one_line = |text: &str| text.replace(char::is_control, " ");
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}\t{}", one_line(word), one_line(&program::spoken(about)));
}
