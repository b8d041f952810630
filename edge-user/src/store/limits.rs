//! Limits that were set by command: they replace those of plan and account file until they are unset or expire.

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::{Store, StoreError, audit, from_us, to_us, unknown_word};
use crate::api::types::{AuditEntry, LimitChange, Scope};

/// One limit set by command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitOverride {
    /// Account.
    pub account: String,
    /// Whose bucket.
    pub scope: Scope,
    /// Name of the class.
    pub class: String,
    /// In the rate syntax.
    pub limit: String,
    /// Who set it, when, why, until when.
    pub change: LimitChange,
}

impl LimitOverride {
    /// `acme sip.invite (account)`: how the audit names it.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("{} {} ({})", self.account, self.class, self.scope.name())
    }
}

impl Store {
    /// All overrides, by account, scope and class.
    pub fn limits(&self) -> Result<Vec<LimitOverride>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT account, scope, class, limit_text, actor, reason, set_at_us, expires_at_us
                     FROM limits ORDER BY account, scope, class",
                )?
                .query_map([], limit_override)?
                .collect()
        })
    }

    /// Sets an override in place of an earlier one, with its audit entry.
    pub fn set_limit(&mut self, limit: &LimitOverride, entry: &AuditEntry) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO limits
                     (account, scope, class, limit_text, actor, reason, set_at_us, expires_at_us)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                )?
                .execute(params![
                    limit.account,
                    limit.scope.name(),
                    limit.class,
                    limit.limit,
                    limit.change.actor,
                    limit.change.reason,
                    to_us(limit.change.set_at),
                    limit.change.expires_at.map(to_us),
                ])?;
            audit::insert(transaction, entry)
        })
    }

    /// Lifts an override, with its audit entry; false, and no entry, when there is none.
    pub fn unset_limit(
        &mut self,
        account: &str,
        scope: Scope,
        class: &str,
        entry: &AuditEntry,
    ) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let removed = transaction
                .prepare_cached("DELETE FROM limits WHERE account = ?1 AND scope = ?2 AND class = ?3")?
                .execute(params![account, scope.name(), class])?;
            if removed > 0 {
                audit::insert(transaction, entry)?;
            }
            Ok(removed > 0)
        })
    }

    /// Lifts the overrides whose time is over, each with an audit entry `limit.expired` by `edge`, and answers
    /// with them.
    pub fn expire_limits(&mut self, now: Timestamp) -> Result<Vec<LimitOverride>, StoreError> {
        self.write(|transaction| {
            let expired: Vec<LimitOverride> = transaction
                .prepare_cached(
                    "DELETE FROM limits WHERE expires_at_us <= ?1
                     RETURNING account, scope, class, limit_text, actor, reason, set_at_us, expires_at_us",
                )?
                .query_map([to_us(now)], limit_override)?
                .collect::<rusqlite::Result<_>>()?;
            for limit in &expired {
                let entry = AuditEntry {
                    at: now,
                    actor: "edge".to_owned(),
                    action: "limit.expired".to_owned(),
                    subject: limit.subject(),
                    reason: format!("set by {} with an expiry: {}", limit.change.actor, limit.change.reason),
                    before: limit.limit.clone(),
                    after: "as configured".to_owned(),
                };
                audit::insert(transaction, &entry)?;
            }
            Ok(expired)
        })
    }
}

fn limit_override(row: &Row<'_>) -> rusqlite::Result<LimitOverride> {
    Ok(LimitOverride {
        account: row.get(0)?,
        scope: {
            let word = row.get_ref(1)?.as_str()?;
            Scope::from_name(word).ok_or_else(|| unknown_word(word))?
        },
        class: row.get(2)?,
        limit: row.get(3)?,
        change: LimitChange {
            actor: row.get(4)?,
            reason: row.get(5)?,
            set_at: from_us(row.get(6)?)?,
            expires_at: row.get::<_, Option<i64>>(7)?.map(from_us).transpose()?,
        },
    })
}
