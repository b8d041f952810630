//! What can go wrong with the database, in sentences for an operator.

use std::path::PathBuf;

use rusqlite::ffi::ErrorCode;

/// Why the database did not answer. Enforcement does not depend on it: the kernel keeps the limits it has.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds it for longer than we wait.
    #[error(
        "the database {} is locked by another process; see who holds it with `fuser {}`",
        path.display(), path.display()
    )]
    Locked {
        /// Database.
        path: PathBuf,
    },
    /// The file is not a database, or is damaged. It is left as it is.
    #[error(
        "the database {} is damaged or is not an SQLite database; it was left untouched: move it away to start \
         with an empty one, or restore a copy",
        path.display()
    )]
    Corrupt {
        /// Database.
        path: PathBuf,
    },
    /// The file cannot be opened or written.
    #[error(
        "the database {} cannot be opened or written ({reason}); its directory must exist and both must be \
         writable",
        path.display()
    )]
    Unwritable {
        /// Database.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// No room on the disk.
    #[error("the disk is full: the database {} cannot grow", path.display())]
    Full {
        /// Database.
        path: PathBuf,
    },
    /// A later version of Edge has written it.
    #[error(
        "the database {} was written by a later version of Edge; it was left untouched: use that version, or move \
         the file away",
        path.display()
    )]
    NewerSchema {
        /// Database.
        path: PathBuf,
    },
    /// A stored row does not read as what it should be.
    #[error("the database {} holds {what} that cannot be read: {reason}", path.display())]
    Unreadable {
        /// Database.
        path: PathBuf,
        /// What the row should be.
        what: &'static str,
        /// Why it is not.
        reason: String,
    },
    /// Anything else that SQLite said.
    #[error("the database {} failed: {source}", path.display())]
    Sqlite {
        /// Database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The task that was to use the database died.
    #[error("the task that uses the database {} died", path.display())]
    TaskDied {
        /// Database.
        path: PathBuf,
    },
}

impl StoreError {
    /// SQLite's error in our words. Result codes: <https://www.sqlite.org/rescode.html>.
    pub(super) fn new(path: &std::path::Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt { path },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(
                ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::SystemIoFailure,
            ) => Self::Unwritable { path, reason: source.to_string() },
            _ => match source {
                rusqlite::Error::FromSqlConversionFailure(_, _, reason) => {
                    Self::Unreadable { path, what: "a value", reason: reason.to_string() }
                }
                source => Self::Sqlite { path, source },
            },
        }
    }

    pub(super) fn from_migration(path: &std::path::Path, error: rusqlite_migration::Error) -> Self {
        use rusqlite_migration::{Error, MigrationDefinitionError};
        match error {
            Error::RusqliteError { err, .. } => Self::new(path, err),
            Error::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead) => {
                Self::NewerSchema { path: path.to_owned() }
            }
            other => Self::Unreadable {
                path: path.to_owned(),
                what: "a schema version",
                reason: other.to_string(),
            },
        }
    }
}
