//! Bans and allowances of source prefixes, set by hand or by Edge.

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::{Store, StoreError, audit, from_us, to_us, unknown_word};
use crate::api::types::{AuditEntry, Measure, MeasureKind};

impl Store {
    /// All measures, by prefix. A prefix has one at most.
    pub fn measures(&self) -> Result<Vec<Measure>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT prefix, kind, actor, reason, set_at_us, expires_at_us FROM measures ORDER BY prefix",
                )?
                .query_map([], measure)?
                .collect()
        })
    }

    /// Sets measures, each in place of an earlier one of the same prefix and with its audit entry: all or none.
    pub fn set_measures(&mut self, measures: &[(Measure, AuditEntry)]) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut insert = transaction.prepare_cached(
                "INSERT OR REPLACE INTO measures (prefix, kind, actor, reason, set_at_us, expires_at_us)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for (measure, entry) in measures {
                insert.execute(params![
                    measure.prefix,
                    kind_name(measure.kind),
                    measure.actor,
                    measure.reason,
                    to_us(measure.set_at),
                    measure.expires_at.map(to_us),
                ])?;
                audit::insert(transaction, entry)?;
            }
            Ok(())
        })
    }

    /// Lifts a measure, with its audit entry; false, and no entry, when there is none.
    pub fn unset_measure(&mut self, prefix: &str, entry: &AuditEntry) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let removed =
                transaction.prepare_cached("DELETE FROM measures WHERE prefix = ?1")?.execute([prefix])?;
            if removed > 0 {
                audit::insert(transaction, entry)?;
            }
            Ok(removed > 0)
        })
    }

    /// Lifts the measures whose time is over, each with an audit entry `measure.expired` by `edge`, and answers
    /// with them.
    pub fn expire_measures(&mut self, now: Timestamp) -> Result<Vec<Measure>, StoreError> {
        self.write(|transaction| {
            let expired: Vec<Measure> = transaction
                .prepare_cached(
                    "DELETE FROM measures WHERE expires_at_us <= ?1
                     RETURNING prefix, kind, actor, reason, set_at_us, expires_at_us",
                )?
                .query_map([to_us(now)], measure)?
                .collect::<rusqlite::Result<_>>()?;
            for measure in &expired {
                let entry = AuditEntry {
                    at: now,
                    actor: "edge".to_owned(),
                    action: "measure.expired".to_owned(),
                    subject: measure.prefix.clone(),
                    reason: format!("set by {} with an expiry: {}", measure.actor, measure.reason),
                    before: kind_name(measure.kind).to_owned(),
                    after: "none".to_owned(),
                };
                audit::insert(transaction, &entry)?;
            }
            Ok(expired)
        })
    }
}

fn measure(row: &Row<'_>) -> rusqlite::Result<Measure> {
    Ok(Measure {
        prefix: row.get(0)?,
        kind: match row.get_ref(1)?.as_str()? {
            "ban" => MeasureKind::Ban,
            "allow" => MeasureKind::Allow,
            word => return Err(unknown_word(word)),
        },
        actor: row.get(2)?,
        reason: row.get(3)?,
        set_at: from_us(row.get(4)?)?,
        expires_at: row.get::<_, Option<i64>>(5)?.map(from_us).transpose()?,
    })
}

const fn kind_name(kind: MeasureKind) -> &'static str {
    match kind {
        MeasureKind::Ban => "ban",
        MeasureKind::Allow => "allow",
    }
}
