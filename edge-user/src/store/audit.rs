//! Who changed what, when and why. What people did stays for ever; what Edge did by itself, for which packets may be the
//! cause, stays as long as the history does.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::{BATCH, Store, StoreError, from_us, to_i64, to_us};
use crate::api::types::AuditEntry;

impl Store {
    /// Adds an entry for something that leaves no other trace here: a reload, a detach.
    pub fn record(&mut self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.write(|transaction| insert(transaction, entry))
    }

    /// Forgets a batch of what Edge itself did before a moment; whether there may be more.
    pub fn prune_audit(&mut self, before: Timestamp) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let delete = format!(
                "DELETE FROM audit WHERE seq IN
                 (SELECT seq FROM audit WHERE actor = 'edge' AND at_us < ?1 LIMIT {BATCH})"
            );
            Ok(transaction.prepare_cached(&delete)?.execute([to_us(before)])? == BATCH)
        })
    }

    /// The latest entries, newest first.
    pub fn audit(&self, limit: u64) -> Result<Vec<AuditEntry>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT at_us, actor, action, subject, reason, before, after
                     FROM audit ORDER BY seq DESC LIMIT ?1",
                )?
                .query_map([to_i64(limit)], entry)?
                .collect()
        })
    }
}

/// Adds an entry within the transaction of the change it is about.
pub(super) fn insert(connection: &Connection, entry: &AuditEntry) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO audit (at_us, actor, action, subject, reason, before, after)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            to_us(entry.at),
            entry.actor,
            entry.action,
            entry.subject,
            entry.reason,
            entry.before,
            entry.after
        ])?;
    Ok(())
}

fn entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    Ok(AuditEntry {
        at: from_us(row.get(0)?)?,
        actor: row.get(1)?,
        action: row.get(2)?,
        subject: row.get(3)?,
        reason: row.get(4)?,
        before: row.get(5)?,
        after: row.get(6)?,
    })
}
