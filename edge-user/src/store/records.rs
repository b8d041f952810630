//! What records of calls and of messages have in common: how they are asked for, and how long they stay.

use jiff::Timestamp;

use super::{BATCH, Store, StoreError, to_i64, to_us};

/// Which records to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordQuery {
    /// Only this account's.
    pub account: Option<String>,
    /// Calls that ended, messages that were submitted, at this moment or later.
    pub since: Option<Timestamp>,
    /// Only records after this one.
    pub after: u64,
    /// At most this many.
    pub limit: u64,
}

/// Tables of records, and when what they are of was.
const TABLES: [(&str, &str); 2] = [("calls", "end_at_us"), ("messages", "submitted_at_us")];

impl Store {
    /// Forgets records of before a moment, and of each kind the oldest beyond a number, a batch of each; whether there
    /// may be more.
    pub fn prune_records(&mut self, before: Timestamp, most: u64) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let mut full = false;
            for (table, at) in TABLES {
                let old = format!("SELECT seq FROM {table} WHERE {at} < ?1 LIMIT {BATCH}");
                let beyond = format!(
                    "SELECT seq FROM {table} WHERE seq <= (SELECT max(seq) FROM {table}) - ?1
                     ORDER BY seq LIMIT {BATCH}"
                );
                for (chosen, bound) in [(old, to_us(before)), (beyond, to_i64(most))] {
                    let delete = format!("DELETE FROM {table} WHERE seq IN ({chosen})");
                    full |= transaction.prepare_cached(&delete)?.execute([bound])? == BATCH;
                }
            }
            Ok(full)
        })
    }

    /// Whether there is a record of calls of an account. Walks all of them where there is none.
    pub fn has_calls_of(&self, account: &str) -> Result<bool, StoreError> {
        self.has_of("calls", account)
    }

    /// The same of messages.
    pub fn has_messages_of(&self, account: &str) -> Result<bool, StoreError> {
        self.has_of("messages", account)
    }

    fn has_of(&self, table: &str, account: &str) -> Result<bool, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE account = ?1)"))?
                .query_row([account], |row| row.get(0))
        })
    }
}
