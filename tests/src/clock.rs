// SPDX-License-Identifier: Apache-2.0
//! A clock that is set while containers run. Only a machine of our own has a clock that may be set.

use std::time::{Duration, Instant};

use testkit::Daemon;
use testkit::process::command;

const HOUR: i64 = 3600;

/// Sets the machine's clock by so many seconds.
fn step(seconds: i64) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let then = i64::try_from(now).expect("a time") + seconds;
    let set = command("/bin/busybox").args(["date", "-s", &format!("@{then}")]).output().expect("busybox");
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
}

/// Stops take as long as they should, restarts come when they should, nothing is lost, and a new daemon knows its
/// containers, whichever way the clock went.
pub fn a_clock_that_is_set_confuses_nobody() {
    let daemon = Daemon::with_busybox();
    let deaf = ["run", "-d", "busybox", "sh", "-c", "trap '' TERM; while :; do echo tick; sleep 0.1; done"];
    for seconds in [HOUR, -2 * HOUR] {
        let id = daemon.ok(&deaf);
        let pid = daemon.inspect(&id)["State"]["Pid"].clone();
        let again = daemon.ok(&["run", "-d", "--restart", "on-failure:2", "busybox", "sh", "-c", "sleep 0.2; exit 3"]);
        step(seconds);
        assert_eq!(daemon.inspect(&id)["State"]["Running"], true);
        daemon.kill();
        daemon.start();
        assert_eq!(daemon.inspect(&id)["State"]["Pid"], pid, "{seconds}: it is taken for another process");
        assert!(daemon.ok(&["ps"]).contains("Up "), "{seconds}");
        let before = daemon.ok(&["logs", &id]).lines().count();
        let begun = Instant::now();
        while daemon.ok(&["logs", "--tail", "all", &id]).lines().count() <= before {
            assert!(begun.elapsed() < Duration::from_secs(20), "{seconds}: it is heard no more");
        }
        let begun = Instant::now();
        daemon.ok(&["stop", "-t", "1", &id]);
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(20), "{seconds}: {took:?}");
        let begun = Instant::now();
        while daemon.inspect(&again)["State"]["Status"] != "exited" || daemon.inspect(&again)["RestartCount"] != 2 {
            assert!(begun.elapsed() < Duration::from_secs(30), "{seconds}: {}", daemon.inspect(&again));
            std::thread::sleep(Duration::from_millis(50));
        }
        daemon.ok(&["rm", &id, &again]);
    }
    step(HOUR);
    daemon.assert_no_container_left();
}
