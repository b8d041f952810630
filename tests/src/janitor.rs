//! Cleaning up that happens whatever becomes of us: a process of its own waits for our end, so that not even
//! SIGKILL leaves a namespace or a pinned program behind.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

/// Runs a shell command once: when this value is dropped, or when this process ends in any way.
#[derive(Debug)]
pub struct Janitor {
    child: Child,
    what: String,
}

impl Janitor {
    /// `script` is for `sh`, and finds `what` in `$1`. Where this process dies, it runs a second later, so that
    /// processes that would undo it are gone by then.
    pub fn new(script: &str, what: &str) -> Result<Self> {
        let child = Command::new("sh")
            .args(["-c", &format!("read -r _ || sleep 1; {script}"), "janitor", what])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Who interrupts our process group means the test, not its cleaning up.
            .process_group(0)
            .spawn()
            .context("cannot start a shell")?;
        Ok(Self { child, what: what.to_owned() })
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.child.stdin.take() {
            let _ = stdin.write_all(b"now\n");
        }
        if !self.child.wait().is_ok_and(|status| status.success()) {
            eprintln!("warning: cannot remove {}", self.what);
        }
    }
}

/// A directory in bpffs that is removed with all pins in it; that detaches the programs too.
#[derive(Debug)]
pub struct Pins {
    path: PathBuf,
    _janitor: Janitor,
}

impl Pins {
    /// A place of this name, where nothing is yet.
    pub fn new(name: &str) -> Result<Self> {
        let path = Path::new("/sys/fs/bpf").join(name);
        let janitor = Janitor::new(r#"[ ! -e "$1" ] || rm -r "$1""#, &path.to_string_lossy())?;
        Ok(Self { path, _janitor: janitor })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
