// SPDX-License-Identifier: Apache-2.0
//! What is measured for images: one of four layers and about 900 MB goes from a registry to a daemon, from there to an
//! archive and to another registry, and back from the archive; by Corten and by Docker.
//!
//! Whoever had something already would have less to do: each pull and each load begins without the image, and each push
//! goes to a registry that is empty.

use std::error::Error;
use std::path::Path;

use testkit::fixtures::registry::Registry;

use super::pair::Pair;
use super::sample::{Row, Samples, Unit};
use super::{image, memory};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ROUNDS: usize = 3;

/// What a pull may need of memory, in bytes.
const PULL_MEMORY: f64 = 1e8;

/// Everything, in the order of the table.
pub(super) fn measure() -> Result<Vec<Row>> {
    let pair = Pair::start()?;
    let layout = image::four_layers();
    let mut rows = Vec::new();
    let name = pair.pull(&layout, &mut rows)?;
    rows.push(pair.push("pulled", &name)?);
    let archive = pair.save(&name, &mut rows)?;
    rows.push(pair.load(&name, &archive)?);
    // It came uncompressed, and neither leaves it so.
    rows.push(pair.push("loaded", &name)?);
    Ok(rows)
}

impl Pair {
    /// From a registry on this machine, each time from nothing; the name.
    fn pull(&self, layout: &Path, rows: &mut Vec<Row>) -> Result<String> {
        let [ours_registry, theirs_registry] = self.registries("full");
        let name = ours_registry.push(layout, "four");
        theirs_registry.push(layout, "four");
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        let mut peak = Samples::default();
        for round in 0..ROUNDS {
            if round > 0 {
                self.remove(&name)?;
            }
            memory::forget_peak(self.corten.pid())?;
            ours.push(self.corten_takes(&["pull", "-q", &name])?);
            peak.push(memory::peak(self.corten.pid()));
            theirs.push(self.docker_takes(&["pull", "-q", &name])?);
        }
        rows.push(row("`pull` of 4 gzip layers from this machine's registry", ours, theirs, 1.0 / 6.0));
        rows.push(Row {
            job: "the most memory that the daemon had resident during these pulls".to_owned(),
            unit: Unit::Memory,
            peer: "100 MB",
            ours: peak,
            theirs: Samples::one(PULL_MEMORY),
            goal: Some(1.0),
        });
        Ok(name)
    }

    /// Of what was `pulled` or `loaded`, to a registry that has nothing.
    fn push(&self, what: &str, name: &str) -> Result<Row> {
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        for round in 0..ROUNDS {
            let _registries = self.registries(&format!("empty-{what}-{round}"));
            ours.push(self.corten_takes(&["push", "-q", name])?);
            theirs.push(self.docker_takes(&["push", "-q", name])?);
        }
        Ok(row(&format!("`push` of what was {what}, to an empty registry"), ours, theirs, 0.5))
    }

    /// To a file; the one that Docker wrote last.
    fn save(&self, name: &str, rows: &mut Vec<Row>) -> Result<String> {
        let file = |directory: &Path| directory.join("saved.tar").to_string_lossy().into_owned();
        let [our_file, their_file] = [file(self.corten.path()), file(self.docker.path())];
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        for _ in 0..ROUNDS {
            ours.push(self.corten_takes(&["save", "-o", &our_file, name])?);
            theirs.push(self.docker_takes(&["save", "-o", &their_file, name])?);
        }
        std::fs::remove_file(&our_file)?;
        rows.push(row("`save` to a file", ours, theirs, 0.5));
        Ok(their_file)
    }

    /// From the file that Docker wrote, each time without the image.
    fn load(&self, name: &str, file: &str) -> Result<Row> {
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        for _ in 0..ROUNDS {
            self.remove(name)?;
            ours.push(self.corten_takes(&["load", "-q", "-i", file])?);
            theirs.push(self.docker_takes(&["load", "-q", "-i", file])?);
        }
        Ok(row("`load` of the file that Docker saved", ours, theirs, 0.5))
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.corten.ok(&["rmi", name]);
        self.docker.run(&["rmi", name])?;
        Ok(())
    }

    /// Debian's registry in the sandbox of each daemon, with its content in a directory of this name.
    fn registries(&self, directory: &str) -> [Registry<'_>; 2] {
        [(self.corten.sandbox(), self.corten.path()), (self.docker.sandbox(), self.docker.path())]
            .map(|(sandbox, path)| Registry::serve(sandbox, &path.join(directory)))
    }
}

fn row(job: &str, ours: Samples, theirs: Samples, goal: f64) -> Row {
    Row { job: job.to_owned(), unit: Unit::Time, peer: "Docker", ours, theirs, goal: Some(goal) }
}
