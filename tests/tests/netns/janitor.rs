//! A test that is killed leaves nothing behind.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use edge_tests::edge::Edge;
use edge_tests::netns::Lab;
use edge_tests::process::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Set for the test that is to be killed.
const VICTIM: &str = "EDGE_TEST_VICTIM";
const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_killed_test_leaves_no_namespace_no_process_and_no_pin() {
    if std::env::var_os(VICTIM).is_some() {
        return wait_to_be_killed();
    }
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGKILL] {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "janitor::a_killed_test_leaves_no_namespace_no_process_and_no_pin",
                "--nocapture",
            ])
            .env(VICTIM, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map(Result::unwrap);
        let made = lines.find_map(|line| Some(line.strip_prefix("made ")?.to_owned())).unwrap();
        let made: Vec<&Path> = made.split(' ').map(Path::new).collect();
        assert_eq!(made.len(), 4, "{made:?}");
        assert!(made.iter().all(|path| path.exists()), "{made:?}");
        kill(Pid::from_raw(i32::try_from(victim.id()).unwrap()), signal).unwrap();
        victim.wait().unwrap();
        wait_until(&format!("everything is gone after {signal}: {made:?}"), SOON, || {
            made.iter().all(|path| !path.exists())
        });
    }
}

fn wait_to_be_killed() {
    let lab = Lab::make().unwrap();
    let mut edge = Edge::start(&lab, "").unwrap();
    let namespaces = [&lab.edge, &lab.peer].map(|namespace| format!("/run/netns/{}", namespace.name()));
    let daemon = format!("/proc/{}", edge.daemon().unwrap().id());
    println!("made {} {} {daemon}", namespaces.join(" "), edge.pins().display());
    loop {
        std::thread::park();
    }
}
