//! What records of calls and of messages have in common: how they are asked for, and how long they stay.

use jiff::Timestamp;

use super::{Store, StoreError, to_i64, to_us};

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
    /// Forgets records of before a moment, and of each kind the oldest beyond a number.
    pub fn prune_records(&mut self, before: Timestamp, most: u64) -> Result<(), StoreError> {
        self.write(|transaction| {
            for (table, at) in TABLES {
                transaction.execute(&format!("DELETE FROM {table} WHERE {at} < ?1"), [to_us(before)])?;
                transaction.execute(
                    &format!("DELETE FROM {table} WHERE seq <= (SELECT max(seq) FROM {table}) - ?1"),
                    [to_i64(most)],
                )?;
            }
            Ok(())
        })
    }
}
