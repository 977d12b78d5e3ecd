// SPDX-License-Identifier: Apache-2.0
//! The docker command line as a client of Corten: its commands about images, word for word.

use end_to_end::docker_cli::finish;
use serde_json::{Value, json};
use testkit::fixtures::debian::Form;
use testkit::fixtures::image::{Image, Layer};
use testkit::fixtures::registry::Registry;
use testkit::process::command;
use testkit::{Daemon, Finished};

/// What `docker` prints, asked of this daemon.
#[track_caller]
fn docker(daemon: &Daemon, arguments: &[&str]) -> String {
    finish(daemon, arguments).ok().stdout.trim().to_owned()
}

#[test]
fn the_docker_command_line_works_on_images() {
    let daemon = Daemon::with_busybox();
    let at = |name: &str| daemon.path().join(name).to_string_lossy().into_owned();
    docker(&daemon, &["tag", "busybox", "other:1"]);
    assert_eq!(
        docker(&daemon, &["images", "--filter", "reference=other", "--format", "{{.Repository}}:{{.Tag}}"]),
        "other:1"
    );
    let id = docker(&daemon, &["image", "inspect", "-f", "{{.Id}}", "other:1"]);
    assert_eq!(docker(&daemon, &["images", "-q", "--no-trunc", "other"]), id);
    let history = docker(&daemon, &["history", "--no-trunc", "--format", "{{.ID}} {{.Comment}}", "other:1"]);
    assert_eq!(history, format!("{id} imported"));
    docker(&daemon, &["save", "-o", &at("saved.tar"), "other:1"]);
    assert_eq!(docker(&daemon, &["rmi", "other:1"]), "Untagged: other:1");
    assert_eq!(docker(&daemon, &["load", "-i", &at("saved.tar")]), "Loaded image: other:1");

    daemon.ok(&["run", "--name", "changed", "busybox", "sh", "-c", "echo new > /new"]);
    docker(&daemon, &["commit", "-m", "a word", "-c", "CMD cat /new", "changed", "made:1"]);
    assert_eq!(daemon.ok(&["run", "--rm", "made:1"]), "new");
    docker(&daemon, &["export", "-o", &at("exported.tar"), "changed"]);
    docker(&daemon, &["import", "-c", "CMD cat /new", &at("exported.tar"), "again:1"]);
    assert_eq!(daemon.ok(&["run", "--rm", "again:1"]), "new");

    let df = docker(&daemon, &["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"]);
    assert!(df.contains("Images 3 1") && df.contains("Containers 1 0"), "{df}");
    docker(&daemon, &["system", "df", "-v"]);
    let Finished { code, stderr, .. } = finish(&daemon, &["rmi", "busybox", "nothing"]);
    assert!(code == 1 && stderr.contains("nothing"), "{stderr}");
    docker(&daemon, &["rm", "changed"]);
    let pruned = docker(&daemon, &["image", "prune", "-af"]);
    assert!(pruned.contains("untagged: made:1") && pruned.contains("Total reclaimed space:"), "{pruned}");
    assert_eq!(docker(&daemon, &["images", "-q"]), "");
}

/// An image of one layer for this architecture, as an OCI image layout.
fn layout(daemon: &Daemon, architecture: &str) -> String {
    let path = daemon.path().join(architecture);
    let layer = Layer::default().file("for", architecture);
    Image::default()
        .architecture(architecture)
        .layer(layer.tar(), Form::Gzip)
        .config(json!({"Cmd": ["/for"]}))
        .write(&path);
    path.to_string_lossy().into_owned()
}

#[track_caller]
fn skopeo(daemon: &Daemon, arguments: &[&str]) {
    let mut skopeo = command("skopeo");
    skopeo.args(arguments);
    let output = daemon.sandbox().run(move || skopeo.output()).expect("skopeo is installed");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_image_for_another_platform_is_kept_as_it_came() {
    let daemon = Daemon::builder().start();
    let registry = Registry::start(&daemon);
    let name = registry.name("far");
    for (architecture, format) in [("s390x", "v2s2"), ("arm64", "oci")] {
        let source = format!("oci:{}:latest", layout(&daemon, architecture));
        let target = format!("docker://{name}:{architecture}");
        skopeo(&daemon, &["copy", "--quiet", "--format", format, "--dest-tls-verify=false", &source, &target]);
        let image = format!("{name}:{architecture}");
        daemon.fails(&["pull", &image], 1).saying(&format!("linux/{architecture}"));
        daemon.ok(&["pull", "--platform", &format!("linux/{architecture}"), &image]);
        let shown = daemon.inspect(&image);
        assert_eq!(shown["Architecture"], architecture);
        let expected = if format == "oci" { "vnd.oci.image.manifest" } else { "vnd.docker.distribution.manifest" };
        assert!(shown["Descriptor"]["mediaType"].as_str().unwrap().contains(expected), "{shown}");
        let digest = shown["Descriptor"]["digest"].as_str().unwrap();
        assert_eq!(shown["RepoDigests"], json!([format!("{name}@{digest}")]));

        let archive = daemon.path().join("saved.tar");
        daemon
            .fails(&["save", "--platform", "linux/mips64", "-o", &archive.to_string_lossy(), &image], 1)
            .saying(architecture);
        daemon.ok(&["save", "--platform", &format!("linux/{architecture}"), "-o", &archive.to_string_lossy(), &image]);
        let blob = format!("blobs/{}", digest.replace(':', "/"));
        let manifest = command("tar").arg("-xOf").arg(&archive).arg(blob).output().expect("tar").stdout;
        assert_eq!(testkit::fixtures::image::digest(&manifest), digest, "byte for byte");
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        assert!(manifest["mediaType"].as_str().unwrap().contains(expected), "{manifest}");
        if format == "oci" {
            // Of the other kind of manifest skopeo's reader of image layouts knows nothing.
            let source = format!("oci-archive:{}:{architecture}", archive.display());
            let copy = format!("dir:{}", daemon.path().join("copy").display());
            skopeo(&daemon, &["copy", "--quiet", "--preserve-digests", &source, &copy]);
        }
        daemon.ok(&["rmi", &image]);
        daemon.ok(&["load", "--platform", &format!("linux/{architecture}"), "-i", &archive.to_string_lossy()]);
        assert_eq!(daemon.inspect(&image)["Descriptor"]["digest"], digest);
    }
    assert_eq!(daemon.ok(&["images", "-q"]).lines().count(), 2, "both are listed");
}
