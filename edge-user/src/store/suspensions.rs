//! Suspended accounts.

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::{Store, StoreError, audit, from_us, to_us};
use crate::api::types::{AuditEntry, Suspension};

impl Store {
    /// All suspensions, by account.
    pub fn suspensions(&self) -> Result<Vec<Suspension>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT account, actor, reason, set_at_us, expires_at_us FROM suspensions ORDER BY account",
                )?
                .query_map([], suspension)?
                .collect()
        })
    }

    /// Suspends an account, in place of an earlier suspension, with its audit entry.
    pub fn set_suspension(&mut self, suspension: &Suspension, entry: &AuditEntry) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO suspensions (account, actor, reason, set_at_us, expires_at_us)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![
                    suspension.account,
                    suspension.actor,
                    suspension.reason,
                    to_us(suspension.set_at),
                    suspension.expires_at.map(to_us),
                ])?;
            audit::insert(transaction, entry)
        })
    }

    /// Ends a suspension, with its audit entry.
    pub fn unset_suspension(&mut self, account: &str, entry: &AuditEntry) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.prepare_cached("DELETE FROM suspensions WHERE account = ?1")?.execute([account])?;
            audit::insert(transaction, entry)
        })
    }

    /// Ends the suspensions whose time is over, each with an audit entry `account.expired` by `edge`, and answers
    /// with them.
    pub fn expire_suspensions(&mut self, now: Timestamp) -> Result<Vec<Suspension>, StoreError> {
        self.write(|transaction| {
            let expired: Vec<Suspension> = transaction
                .prepare_cached(
                    "DELETE FROM suspensions WHERE expires_at_us <= ?1
                     RETURNING account, actor, reason, set_at_us, expires_at_us",
                )?
                .query_map([to_us(now)], suspension)?
                .collect::<rusqlite::Result<_>>()?;
            for suspension in &expired {
                let entry = AuditEntry {
                    at: now,
                    actor: "edge".to_owned(),
                    action: "account.expired".to_owned(),
                    subject: suspension.account.clone(),
                    reason: format!("set by {} with an expiry: {}", suspension.actor, suspension.reason),
                    before: "suspended".to_owned(),
                    after: "in service".to_owned(),
                };
                audit::insert(transaction, &entry)?;
            }
            Ok(expired)
        })
    }
}

fn suspension(row: &Row<'_>) -> rusqlite::Result<Suspension> {
    Ok(Suspension {
        account: row.get(0)?,
        actor: row.get(1)?,
        reason: row.get(2)?,
        set_at: from_us(row.get(3)?)?,
        expires_at: row.get::<_, Option<i64>>(4)?.map(from_us).transpose()?,
    })
}
