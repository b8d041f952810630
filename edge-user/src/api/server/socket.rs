//! The Unix socket: made, named and guarded.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Why there is no socket to serve on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process answers on this path.
    #[error("{} is in use: another edged serves there; stop it first, or set another `socket`", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is not a socket is in the way; it is not ours to remove.
    #[error("{} exists and is not a socket; move it away, or set another `socket`", path.display())]
    NotASocket {
        /// What is in the way.
        path: PathBuf,
    },
    /// The system refused one of the steps.
    #[error("cannot {step} {}: {source}", path.display())]
    System {
        /// What was tried: `create the directory`, …
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

/// Makes the socket at `path` with permission bits `mode` (such as `0o660`) and listens on it.
///
/// Creates the parent directory. Takes over a socket that nobody answers on (its owner died); refuses one that
/// somebody does. The socket gets its name only after its permissions, so that nobody slips in before.
/// Must be called within a tokio runtime.
pub fn bind(path: &Path, mode: u32) -> Result<UnixListener, BindError> {
    let system = |step, path: &Path| {
        let path = path.to_owned();
        move |source| BindError::System { step, path, source }
    };

    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(system("create the directory", parent))?;
    }
    refuse_occupied(path)?;

    let mut unborn = path.as_os_str().to_owned();
    unborn.push(".new");
    let unborn = PathBuf::from(unborn);
    match std::fs::remove_file(&unborn) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(system("remove", &unborn)(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&unborn).map_err(system("make the socket", &unborn))?;
    std::fs::set_permissions(&unborn, std::fs::Permissions::from_mode(mode))
        .map_err(system("set the permissions of", &unborn))?;
    std::fs::rename(&unborn, path).map_err(system("name the socket", path))?;
    Ok(listener)
}

/// `Ok` when `path` is free or a socket that nobody answers on.
fn refuse_occupied(path: &Path) -> Result<(), BindError> {
    let system = |step| move |source| BindError::System { step, path: path.to_owned(), source };
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system("look at")(error)),
    };
    if !kind.is_socket() {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        // A full backlog answers EAGAIN: somebody listens, however slowly.
        Ok(_) => Err(BindError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(BindError::InUse { path: path.to_owned() })
        }
        Err(error) => Err(system("see who answers on")(error)),
    }
}
