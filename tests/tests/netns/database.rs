//! A database that is full, away or not to be made: enforcement and alerts go on, and it is told.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edge_tests::edge::Edge;
use edge_tests::netns::Lab;
use edge_tests::process::wait_until;
use edge_tests::sink::{Manner, SECRET, Sink};
use edge_user::api::types::AlertView;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::{arrived, limited};

const LONG: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_secs(30);
const FIVE: &str = "sip.invite = '1/hour burst 5'";

#[test]
fn a_full_disk_is_told_while_limits_hold_and_alerts_reach_their_receiver() {
    let lab = Lab::make().unwrap();
    let receiver = SocketAddr::from(([127, 0, 0, 1], 9911));
    let sink = Sink::serve(lab.edge.listen(receiver).unwrap(), Manner::Accept).unwrap();
    let mut edge = Edge::prepare(&lab, "").unwrap();
    let disk = Disk::mount(&edge.file("disk"));
    edge.keep_database_at(&disk.path.join("edge.db"));
    let secret = edge.file("webhook.secret");
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    edge.configure(&format!(
        "{}\n[detect.spike]\nenabled = false\n\
         [detect.pumping]\nwindow = '30s'\nmin_messages = 50\nshare = 0.5\nresolve_share = 0.1\n\
         [webhooks.noc]\nurl = 'http://{receiver}/'\nsecret_files = ['{}']\nmin_severity = 'info'\n",
        limited("sip.invite = '1/hour burst 100'"),
        secret.display(),
    ))
    .unwrap();
    edge.start_daemon().unwrap();
    disk.fill();

    let refused = edge.edgectl(&["limits", "set", "acme", "sip.invite", "9/s", "--reason", "test"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("full"), "{said}");
    assert_eq!(arrived(&lab, &edge, 150), 100, "the limit of before holds");
    wait_until("the alert arrives without a database", LONG, || {
        sink.deliveries().iter().any(|delivery| delivery.kind() == "alert.opened")
    });
    wait_until("status tells of the full disk", SOON, || {
        let store = edge.status().unwrap().store;
        store.contains("full") && store.contains("in memory only")
    });

    disk.free();
    wait_until("it is written down once there is room", LONG, || edge.status().unwrap().store == "ok");
    wait_until("the alert too", LONG, || {
        let alerts: Vec<AlertView> = edge.read(&["alerts", "list"]).unwrap_or_default();
        alerts.iter().any(|alert| alert.alert.finding.rule == "pumping")
    });
    edge.ctl(&["limits", "set", "acme", "sip.invite", "9/s", "--reason", "test"]).unwrap();
}

#[test]
fn a_directory_that_is_missing_is_made_and_one_that_cannot_be_is_told() {
    let lab = Lab::make().unwrap();
    let mut edge = Edge::prepare(&lab, "").unwrap();
    let nested = edge.file("not/there/yet/edge.db");
    edge.keep_database_at(&nested);
    edge.configure(&limited(FIVE)).unwrap();
    edge.start_daemon().unwrap();
    assert!(nested.exists());
    assert_eq!(edge.status().unwrap().store, "ok");
    edge.kill().unwrap();

    fs::write(edge.file("file"), "").unwrap();
    edge.keep_database_at(&edge.file("file/edge.db"));
    edge.configure(&limited(FIVE)).unwrap();
    edge.start_daemon().unwrap();
    let store = edge.status().unwrap().store;
    assert!(store.contains("file/edge.db"), "{store}");
    assert_eq!(arrived(&lab, &edge, 10), 5, "limits hold without a database");
}

#[test]
fn a_database_that_is_removed_is_told_and_the_next_start_makes_it_anew() {
    let lab = Lab::make().unwrap();
    let mut edge = Edge::start(&lab, &limited(FIVE)).unwrap();
    fs::remove_file(edge.file("edge.db")).unwrap();
    let refused = edge.edgectl(&["limits", "set", "acme", "sip.invite", "9/s", "--reason", "test"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("removed or replaced"), "{said}");
    assert_eq!(arrived(&lab, &edge, 10), 5);
    edge.kill().unwrap();
    edge.start_daemon().unwrap();
    edge.ctl(&["limits", "set", "acme", "sip.invite", "9/s", "--reason", "test"]).unwrap();
    assert_eq!(edge.status().unwrap().store, "ok");
}

/// A database that does not answer when `edged` starts says nothing of limits that were set by command; the kernel does.
#[test]
fn a_limit_set_by_command_outlives_a_restart_without_the_database() {
    let lab = Lab::make().unwrap();
    let mut edge = Edge::start(&lab, &limited("sip.invite = '1/hour burst 50'")).unwrap();
    edge.ctl(&["limits", "set", "acme", "sip.invite", "1/hour burst 3", "--reason", "test"]).unwrap();
    edge.kill().unwrap();
    let (database, aside) = (edge.file("edge.db"), edge.file("aside.db"));
    fs::rename(&database, &aside).unwrap();
    fs::create_dir(&database).unwrap();
    edge.start_daemon().unwrap();
    assert_ne!(edge.status().unwrap().store, "ok");
    let set = |edge: &Edge<'_>| {
        let limits = edge.account("acme").unwrap().limits;
        limits.into_iter().find(|limit| limit.origin == "override")
    };
    assert_eq!(set(&edge).map(|limit| limit.limit).as_deref(), Some("1/hour burst 3"));
    assert_eq!(arrived(&lab, &edge, 10), 3, "the limit of the configuration is not in force");

    fs::remove_dir(&database).unwrap();
    fs::rename(&aside, &database).unwrap();
    wait_until("the database answers again", SOON, || edge.status().unwrap().store == "ok");
    wait_until("it is known who set the limit", SOON, || set(&edge).is_some_and(|it| it.change.is_some()));
    edge.ctl(&["limits", "unset", "acme", "sip.invite", "--reason", "test"]).unwrap();
    assert_eq!(arrived(&lab, &edge, 10), 10);
}

/// A small file system of its own, gone with this value.
struct Disk {
    path: PathBuf,
}

impl Disk {
    fn mount(path: &Path) -> Self {
        fs::create_dir(path).unwrap();
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some("size=1m")).unwrap();
        Self { path: path.to_owned() }
    }

    /// Writes until there is no room for another byte.
    fn fill(&self) {
        let mut file = File::create(self.path.join("ballast")).unwrap();
        let mut size = 64 * 1024;
        while size > 0 {
            if file.write(&vec![0_u8; size]).is_err() {
                size /= 2;
            }
        }
    }

    fn free(&self) {
        fs::remove_file(self.path.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The daemon, which ends later, keeps what it has open.
        if let Err(error) = umount2(&self.path, MntFlags::MNT_DETACH) {
            eprintln!("warning: {} stays mounted: {error}", self.path.display());
        }
    }
}
