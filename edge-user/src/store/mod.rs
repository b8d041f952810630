//! What must last: one SQLite database, one concern a file.
//!
//! A change and its audit record are one transaction, and so are an alert and its deliveries. Write-ahead log
//! with `synchronous=FULL`: what was answered as done survives a power cut. The database is never deleted,
//! moved or made anew by us: one that is damaged is reported and left as it is.

mod alerts;
mod audit;
mod calls;
mod error;
mod history;
mod kept;
mod limits;
mod measures;
mod messages;
mod outbox;
mod records;
mod schema;
mod shared;
mod suspensions;
#[cfg(test)]
mod tests;

use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

pub use alerts::AlertQuery;
pub use error::StoreError;
pub use history::{HistoryQuery, HistoryRow};
pub use limits::LimitOverride;
pub use outbox::{Delivery, DeliveryState};
pub use records::RecordQuery;
pub use shared::Shared;

/// How long a call waits for another process (a backup, a shell) to let go of the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// Rows of a kind that are forgotten in one transaction: tens of milliseconds, in which others wait.
const BATCH: usize = 5_000;

/// The database. One connection; `Send`, so that it can be used from a blocking task ([`Shared`]).
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// The file that is open; `None` if it is none.
    file: Option<FileId>,
}

/// Device and inode.
type FileId = (u64, u64);

impl Store {
    /// Opens the database, makes it when it is not there (readable by its owner only), and brings its tables up
    /// to date.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // SQLite would make the file with the umask's permissions; what is in it concerns nobody else.
        // That it exists already, or cannot be made, is for SQLite to find out and say.
        let _ = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(path, flags).map_err(|error| StoreError::new(path, error))?;
        Self::prepare(connection, path)
    }

    /// A second connection to a database that is there, which reads beside the first: a long question keeps nobody who
    /// writes waiting.
    fn open_to_read(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            Ok(connection)
        };
        let connection = open().map_err(|error| StoreError::new(path, error))?;
        Ok(Self { connection, path: path.to_owned(), file: file_id(path) })
    }

    /// A database that lives as long as the value: for tests.
    pub fn in_memory() -> Result<Self, StoreError> {
        let path = Path::new(":memory:");
        let connection = Connection::open_in_memory().map_err(|error| StoreError::new(path, error))?;
        Self::prepare(connection, path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fails when the file was removed or another put in its place: SQLite would go on writing to a file that
    /// nobody will find again.
    fn check_place(&self) -> Result<(), StoreError> {
        if self.file.is_none() || self.file == file_id(&self.path) {
            return Ok(());
        }
        let reason = "it was removed or replaced while in use: start edged again".to_owned();
        Err(StoreError::Unwritable { path: self.path.clone(), reason })
    }

    fn prepare(mut connection: Connection, path: &Path) -> Result<Self, StoreError> {
        let settings = |connection: &Connection| {
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "full")
        };
        settings(&connection).map_err(|error| StoreError::new(path, error))?;
        schema::MIGRATIONS
            .to_latest(&mut connection)
            .map_err(|error| StoreError::from_migration(path, error))?;
        Ok(Self { connection, path: path.to_owned(), file: file_id(path) })
    }

    /// Runs `change` in one transaction: all of it, or nothing.
    fn write<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let run = |connection: &mut Connection| {
            // Immediate, because a transaction that becomes a writer half-way may fail without waiting.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let answer = change(&transaction)?;
            transaction.commit()?;
            Ok(answer)
        };
        run(&mut self.connection).map_err(|error| StoreError::new(&self.path, error))
    }

    fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        query(&self.connection).map_err(|error| StoreError::new(&self.path, error))
    }
}

fn file_id(path: &Path) -> Option<FileId> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn to_us(at: Timestamp) -> i64 {
    at.as_microsecond()
}

fn from_us(us: i64) -> rusqlite::Result<Timestamp> {
    Timestamp::from_microsecond(us).map_err(|error| unreadable(Type::Integer, error))
}

/// A stored value that does not read as what it should be.
fn unreadable(kind: Type, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, kind, Box::new(error))
}

fn unknown_word(word: &str) -> rusqlite::Error {
    unreadable(Type::Text, std::io::Error::other(format!("unknown word {word:?}")))
}

/// SQLite's integers are signed; no counter of ours comes near the limit.
fn to_i64(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn from_i64(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
