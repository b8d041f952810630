//! `edgectl detach`: through the daemon; when none runs, directly at the pins.

use std::path::Path;

use edge_user::api::client::Client;
use edge_user::api::types::{Detach, Detached};
use edge_user::dataplane;
use nix::unistd::Uid;

use crate::cli::DetachArgs;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) async fn run(args: DetachArgs, socket: &Path, output: Output) -> Result<(), Failure> {
    let request = Detach { reason: args.reason };
    match Client::new(socket)?.detach(&request).await.map_err(Failure::from) {
        Ok(detached) => output.show(&detached, |detached, _| render(detached, None)),
        Err(unreachable @ Failure::Unreachable(_)) => {
            let detached = without_daemon(&args.pin_dir, unreachable)?;
            output.show(&detached, |detached, _| render(detached, Some(&args.pin_dir)))
        }
        Err(failure) => Err(failure),
    }
}

/// Nothing is written into the audit: the database is the daemon's. A daemon that runs but cannot be reached
/// holds the pins' lock, and is left alone.
fn without_daemon(pin_dir: &Path, unreachable: Failure) -> Result<Detached, Failure> {
    // Only root sees what is pinned: anybody else would be told that there is nothing.
    if !Uid::effective().is_root() {
        return Err(unreachable);
    }
    let report = dataplane::detach(pin_dir).map_err(|error| {
        let message = format!("no daemon answers, and the pins under {} stay: {error}", pin_dir.display());
        Failure::failed("detach_failed", message, "")
    })?;
    Ok(Detached { interfaces: report.interfaces })
}

fn render(detached: &Detached, pin_dir: Option<&Path>) -> String {
    let how = match pin_dir {
        None => String::new(),
        Some(path) => format!(" (no daemon answered; pins were looked for under {})", path.display()),
    };
    if detached.interfaces.is_empty() {
        return format!("nothing was attached{how}");
    }
    format!("detached from {}: nothing is limited any more{how}", detached.interfaces.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_detached_is_named_and_how() {
        let some = Detached { interfaces: vec!["eth0".to_owned(), "eth1".to_owned()] };
        assert_eq!(render(&some, None), "detached from eth0, eth1: nothing is limited any more");
        assert_eq!(
            render(&Detached::default(), Some(Path::new("/sys/fs/bpf/edge"))),
            "nothing was attached (no daemon answered; pins were looked for under /sys/fs/bpf/edge)"
        );
    }
}
