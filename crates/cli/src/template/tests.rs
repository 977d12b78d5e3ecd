// SPDX-License-Identifier: Apache-2.0
//! Templates as people write them, and what is not understood of them.

use serde_json::json;

use super::*;

fn render(template: &str) -> Result<String, TemplateError> {
    let value = json!({
        "Name": "/x",
        "Nothing": null,
        "Args": ["-c", "sleep 1"],
        "State": {"OOMKilled": true, "Pid": 7, "Error": "", "ExitCode": 0, "Share": 1.5},
        "Config": {"Labels": {"b": "2", "a.b": "1"}, "Env": ["A=1", "PATH=/bin"]},
        "Mounts": [{"Source": "/s", "Destination": "/d"}, {"Source": "/t", "Destination": "/e"}],
        "NetworkSettings": {
            "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "90/tcp": null},
            "Networks": {"bridge": {"IPAddress": "10.0.0.2"}, "mine": {"IPAddress": "10.1.0.2"}},
        },
    });
    template.parse::<Template>()?.render(&value)
}

#[track_caller]
fn renders(template: &str, expected: &str) {
    assert_eq!(render(template).as_deref(), Ok(expected), "{template}");
}

#[test]
fn paths_lead_to_values() {
    for (template, expected) in [
        ("{{.State.OOMKilled}}", "true"),
        ("{{ .Name }}: {{.State.Pid}}\\t!", "/x: 7\t!"),
        ("{{json .Name}}", "\"/x\""),
        ("{{json .State}}", r#"{"Error":"","ExitCode":0,"OOMKilled":true,"Pid":7,"Share":1.5}"#),
        ("{{.Nothing}}", "<no value>"),
        ("plain", "plain"),
        ("{{.Args}}", "[-c sleep 1]"),
        ("{{.Config.Labels}}", "map[a.b:1 b:2]"),
        ("{{(index .Mounts 1).Source}}{{$.Name}}", "/t/x"),
        ("{{.Config.Labels.b}}{{.Config.Labels.nope}}", "2<no value>"),
        // What the JSON leaves out where there is nothing to say is there to a template.
        ("{{json .State.Health}}|{{json .Config.Healthcheck}}|{{.Config.StopSignal}}", "null|null|"),
        // Go's name and that of the JSON are one; in a map there is no other case.
        ("{{.State.PID}}{{.NAME}}{{.Config.Labels.B}}", "7/x<no value>"),
    ] {
        renders(template, expected);
    }
}

/// What stands in every guide to `docker inspect`.
#[test]
fn the_formats_that_people_use() {
    for (template, expected) in [
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", "10.0.0.2 10.1.0.2 "),
        (
            "{{range $p, $conf := .NetworkSettings.Ports}}{{$p}} -> {{if $conf}}{{(index $conf 0).HostPort}}{{else}}-{{end}};{{end}}",
            "80/tcp -> 8080;90/tcp -> -;",
        ),
        (r#"{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}"#, "8080"),
        (r#"{{index .Config.Labels "a.b"}}|{{index .Config.Labels "nope"}}"#, "1|"),
        ("{{range .Mounts}}{{.Source}}:{{.Destination}}{{println}}{{end}}", "/s:/d\n/t:/e\n"),
        (r#"{{if eq .State.ExitCode 0}}well{{else if .State.OOMKilled}}oom{{else}}ill{{end}}"#, "well"),
        ("{{with .State.Health}}{{.Status}}{{else}}none{{end}}", "none"),
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}no check{{end}}", "no check"),
        (r#"{{if and .State.Health (eq .State.Health.Status "healthy")}}yes{{else}}no{{end}}"#, "no"),
        (r#"{{join .Args ","}} {{.Name | upper | printf "%-5s|"}}"#, "-c,sleep 1 /X   |"),
        (r#"{{range $i, $e := split "a,b,c" ","}}{{if $i}}-{{end}}{{$e}}{{end}}"#, "a-b-c"),
        (
            r#"{{slice .Name 1}} {{len .Mounts}} {{title "one two"}} {{truncate "abc" 2}}{{pad "x" 1 2}}|"#,
            "x 2 One Two ab x  |",
        ),
        ("{{range .Config.Env}}{{if eq (slice . 0 2) \"A=\"}}{{continue}}{{end}}{{.}}{{break}}{{end}}", "PATH=/bin"),
        ("a  {{- /* nothing */ -}}  b {{- 1 -}} c", "ab1c"),
        ("{{$x := 1}}{{range .Args}}{{$x = len .}}{{end}}{{$x}}", "7"),
        (
            r#"{{or .Nothing "else"}} {{not .Nothing}} {{print 1 2 "a"}} {{ge .State.Pid 7}} {{ne "a" "b"}}"#,
            "else true 1 2a true true",
        ),
        (
            r#"{{printf "%5.1f|%03d|%q|%v|%t|%%" .State.Share .State.Pid .Name .Args true}}"#,
            "  1.5|007|\"/x\"|[-c sleep 1]|true|%",
        ),
        (r#"{{"}}"}}{{`\n`}}"#, "}}\\n"),
    ] {
        renders(template, expected);
    }
}

#[test]
fn what_is_not_understood_is_said() {
    for (template, part) in [
        ("{{upper2 .A}}", "no function upper2"),
        ("{{.Name | .Name}}", "to a function only"),
        ("{{.Name \"x\"}}", "to a function only"),
        ("{{}}", "missing"),
        ("{{State}}", "no function State"),
        ("{{(.Name}}", "without its )"),
        ("{{.Name)}}", "without its ("),
        ("{{.Name", "without its }}"),
        ("{{if .Name}}", "without its {{end}}"),
        ("{{end}}", "without a block"),
        ("{{else}}", "without a block"),
        ("{{break}}", "no range"),
        ("{{template \"x\"}}", "not supported"),
        ("{{\"x}}", "{{"),
        ("{{'ab'}}", "one character"),
        ("{{.Name = 1}}", "variable"),
        ("{{$y}}", "$y"),
        ("{{.Name ! 1}}", "there is a !"),
        ("{{.State.Nope}}", "the format names .State.Nope, and there is no Nope in it"),
        ("{{range .Nope}}{{end}}", "Nope"),
        ("{{.State.Health.Status}}", "no Status"),
        ("{{range .Name}}{{end}}", "range"),
        ("{{index .Args 5}}", "no element 5"),
        ("{{index .Name 0}}", "index"),
        ("{{eq .Name 1}}", "compare"),
        ("{{printf \"%d\" .Name}}", "%d"),
        ("{{printf \"%99999d\" 1}}", "width"),
        ("{{printf \"%s\"}}", "no value"),
        ("{{truncate .Name -1}}", "truncate"),
        ("{{slice .Name 5}}", "slice"),
        ("{{join .Name \",\"}}", "list of texts"),
        ("{{lower 1}}", "a text"),
        ("{{.Label \"x\"}}", "Label"),
    ] {
        let error = render(template).expect_err(template).to_string();
        assert!(error.contains(part), "{template}: {error}");
    }
    // However deep, it is an error and no end of the stack.
    let deep = format!("{{{{{}1{}}}}}", "(".repeat(5000), ")".repeat(5000));
    assert!(render(&deep).unwrap_err().to_string().contains("too deep"));
    let blocks = format!("{}{}", "{{if 1}}".repeat(5000), "{{end}}".repeat(5000));
    assert!(render(&blocks).unwrap_err().to_string().contains("too deep"));
}

#[test]
fn a_row_has_labels_and_headings_stay_what_they_are() {
    let template: Template = r#"{{lower .Name}}{{"\t"}}{{.Label "org.example.my-tier"}}"#.parse().unwrap();
    let labels = json!({"org.example.my-tier": "web"});
    assert_eq!(template.render_row(&json!({"Name": "A"}), Some(&labels)).unwrap(), "a\tweb");
    assert_eq!(template.render_headings(&json!({"Name": "NAMES"})).unwrap(), "NAMES\tmy tier");
    assert!(template.names("Name") && template.names("Label") && !template.names("Size"));
}
