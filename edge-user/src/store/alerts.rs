//! Alerts, open and over, each with its deliveries.

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::outbox::{self, Delivery};
use super::{BATCH, Store, StoreError, to_i64, to_us, unreadable};
use crate::alert::{Alert, Phase};

/// Which alerts to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertQuery {
    /// Of this account only.
    pub account: Option<String>,
    /// Open ones, or those that are over; both when missing.
    pub open: Option<bool>,
    /// At most so many.
    pub limit: u64,
}

impl Store {
    /// Writes alerts and deliveries as they now stand, in one transaction: what is known by its id is replaced.
    pub fn save(&mut self, alerts: &[Alert], deliveries: &[Delivery]) -> Result<(), StoreError> {
        self.write(|transaction| {
            for alert in alerts {
                insert(transaction, alert)?;
            }
            deliveries.iter().try_for_each(|delivery| outbox::insert(transaction, delivery))
        })
    }

    /// Alerts that are open, oldest first: what [`crate::alert::Book`] starts from.
    pub fn open_alerts(&self) -> Result<Vec<Alert>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT alert FROM alerts WHERE open = 1 ORDER BY opened_at_us, id")?
                .query_map([], alert)?
                .collect()
        })
    }

    /// Alerts by query, the one that opened last first.
    pub fn alerts(&self, query: &AlertQuery) -> Result<Vec<Alert>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT alert FROM alerts
                     WHERE (?1 IS NULL OR account = ?1) AND (?2 IS NULL OR open = ?2)
                     ORDER BY opened_at_us DESC, id DESC LIMIT ?3",
                )?
                .query_map(params![query.account, query.open, to_i64(query.limit)], alert)?
                .collect()
        })
    }

    /// One alert.
    pub fn alert(&self, id: &str) -> Result<Option<Alert>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT alert FROM alerts WHERE id = ?1")?
                .query_row([id], alert)
                .optional()
        })
    }

    /// Forgets a batch of alerts that were over before a moment, and of deliveries that were settled before it; whether
    /// there may be more.
    pub fn prune_alerts(&mut self, before: Timestamp) -> Result<bool, StoreError> {
        self.write(|transaction| {
            // What was over by then was opened before, which is what there is an index of.
            let delete = format!(
                "DELETE FROM alerts WHERE id IN (SELECT id FROM alerts
                 WHERE opened_at_us < ?1 AND open = 0 AND at_us < ?1 LIMIT {BATCH})"
            );
            let alerts = transaction.prepare_cached(&delete)?.execute([to_us(before)])?;
            Ok(alerts.max(outbox::prune(transaction, before)?) == BATCH)
        })
    }
}

fn insert(connection: &Connection, alert: &Alert) -> rusqlite::Result<()> {
    let json = serde_json::to_string(alert)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO alerts (id, account, open, opened_at_us, at_us, alert)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            alert.id,
            alert.finding.account,
            alert.phase != Phase::Resolved,
            to_us(alert.opened_at),
            to_us(alert.at),
            json
        ])?;
    Ok(())
}

fn alert(row: &Row<'_>) -> rusqlite::Result<Alert> {
    serde_json::from_str(row.get_ref(0)?.as_str()?).map_err(|error| unreadable(Type::Text, error))
}
