// SPDX-License-Identifier: Apache-2.0
//! The command line as a whole: what it refuses, and what its help lists.

use clap::CommandFactory;

use super::*;

fn refused(line: &str) -> Failure {
    let words = std::iter::once("corten").chain(line.split_whitespace());
    let words: Vec<OsString> = words.map(OsString::from).collect();
    refuse(&parse(&words).unwrap_err(), &words).unwrap_err()
}

#[test]
fn a_slip_of_the_pen_is_told_what_was_meant() {
    for (line, hint) in [
        ("rnu x", "there is run;"),
        ("-H unix:///x pss", "there is ps;"),
        ("container lss", "there is ls;"),
        ("imgaes", "there is images;"),
        ("system pruen", "there is prune;"),
        ("run --detatch x", "there is --detach;"),
        ("context craete x", "there is create;"),
        ("nonsense", "`--help` says"),
        ("xyz", "`--help` says"),
    ] {
        let report = refused(line).report.unwrap();
        assert!(report.hint.as_deref().unwrap_or_default().starts_with(hint), "{line}: {:?}", report.hint);
    }
}

#[test]
fn who_says_nothing_wrong_is_understood_alike_by_the_quick_definition() {
    let mut compared = 0;
    for line in examples::lines().chain([
        "-H unix:///x --tlsverify -c somewhere ps -aq --filter status=exited",
        "container ls -a",
        "image prune -af",
        "daemon --data-root /x --group docker",
        "registry serve --data-root /x",
        "context ls",
    ]) {
        let words: Vec<OsString> =
            std::iter::once("corten").chain(line.split_whitespace()).map(OsString::from).collect();
        // What a shell would take apart otherwise is understood by neither.
        let Ok(whole) = Line::try_parse_from(&words) else { continue };
        let quick = quick_definition().try_get_matches_from(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
        let quick = Line::from_arg_matches(&quick).unwrap();
        assert_eq!(format!("{quick:?}"), format!("{whole:?}"), "{line}");
        compared += 1;
    }
    assert!(compared > 40, "{compared}");
    for wrong in ["corten", "corten nothing", "corten ps --nothing", "corten ps --help", "corten container"] {
        let words: Vec<OsString> = wrong.split(' ').map(OsString::from).collect();
        assert!(quick_definition().try_get_matches_from(&words).is_err(), "{wrong}");
    }
}

#[test]
fn a_value_may_begin_with_a_hyphen() {
    let parsed = |line: &str| parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>());
    parsed("corten run --entrypoint -x --env -y=1 debian -c").unwrap();
    assert!(parsed("corten run --env --rm").is_err(), "there is no image");
}

#[test]
fn a_switch_may_be_told_to_be_off() {
    for (line, code, part) in
        [("run --rm=maybe debian", 125, "'maybe' for '--rm"), ("ps --all=2", 125, "'2' for '--all")]
    {
        let failure = refused(line);
        assert!(failure.code == code && failure.report.unwrap().message.contains(part), "{line}");
    }
    let words =
        "corten run --rm=false -t=false --read-only=1 -d=true --init=false debian".split(' ').map(OsString::from);
    let AnyCommand::OfTheDaemon(command) = parse(&words.collect::<Vec<_>>()).unwrap().command else { panic!("a run") };
    let text = format!("{command:?}");
    for part in ["rm: false", "tty: false", "read_only: true", "detach: true", "init: Some(false)"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn commands_that_docker_has_and_we_have_not_are_refused_by_name() {
    for (line, part) in [("search x", "no search"), ("swarm init", "swarm"), ("volume update x", "swarm")] {
        let failure = refused(line);
        let report = failure.report.unwrap();
        assert!(report.kind == Kind::Unsupported && report.message.contains(part), "{line}: {}", report.message);
    }
}

#[test]
fn the_definition_is_sound() {
    Line::command().debug_assert();
}

#[test]
fn wrong_flags_are_125_and_missing_arguments_1() {
    for (line, code, part) in [
        ("run --nonsense debian", 125, "--nonsense"),
        ("run --memory lots debian", 125, "lots"),
        ("ps --nonsense", 125, "--nonsense"),
        ("rm", 1, "CONTAINER"),
        ("nonsense", 1, "nonsense"),
        ("exec web", 1, "COMMAND"),
        ("run --health-interval -1s debian", 125, "'-1s' for '--health-interval"),
        ("run --memory -x debian", 125, "'-x' for '--memory"),
        ("run --stop-timeout -1 --nonsense debian", 125, "--nonsense"),
    ] {
        let failure = refused(line);
        assert_eq!(failure.code, code, "{line}");
        let report = failure.report.unwrap();
        assert!(report.message.contains(part), "{line}: {}", report.message);
        assert!(!report.message.contains('\n') && report.hint.is_some(), "{line}");
    }
}

/// The commands of `docker image`, without `build`, which is no command here yet.
#[test]
fn every_command_about_images_is_in_the_group_as_well() {
    let root = Line::command();
    let group = root.find_subcommand("image").unwrap();
    for (alone, grouped) in [
        ("history", "history"),
        ("images", "ls"),
        ("import", "import"),
        ("inspect", "inspect"),
        ("load", "load"),
        ("pull", "pull"),
        ("push", "push"),
        ("rmi", "rm"),
        ("save", "save"),
        ("tag", "tag"),
    ] {
        assert!(root.find_subcommand(alone).is_some(), "{alone}");
        assert!(group.find_subcommand(grouped).is_some(), "image {grouped}");
    }
    assert!(group.find_subcommand("prune").is_some());
    let group = root.find_subcommand("container").unwrap();
    for name in group.get_subcommands().map(clap::Command::get_name).filter(|name| !["ls", "prune"].contains(name)) {
        assert!(root.find_subcommand(name).is_some(), "{name}");
    }
    // What Docker has in its group is here with the first version that has it at all.
    assert_eq!(root.find_subcommand("build").is_some(), group.find_subcommand("build").is_some());
}

#[test]
fn the_help_lists_every_command_once_and_below_a_heading() {
    let mut definition = definition();
    let groups =
        ["container", "image", "network", "system"].map(|name| definition.find_subcommand_mut(name).unwrap().clone());
    let helps = std::iter::once(definition).chain(groups);
    for mut command in helps {
        let text = command.render_help().to_string();
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set()) {
            let line = format!("\n  {} ", sub.get_name());
            assert_eq!(text.matches(&line).count(), 1, "{}: {}\n{text}", command.get_name(), sub.get_name());
        }
        assert!(text.contains("ommands:\n") && text.contains("Options:\n"), "{text}");
    }
}

#[test]
fn help_is_no_failure() {
    let error = Line::try_parse_from(["corten", "run", "--help"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DisplayHelp);
}
