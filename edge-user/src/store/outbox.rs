//! Deliveries: one step of an alert for one endpoint, with the very bytes that are signed.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::{BATCH, Store, StoreError, from_us, to_us, unknown_word};
use crate::alert::Phase;
use crate::api::types::DeliveryView;

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// To be sent, or sent again.
    Pending,
    /// Answered with 2xx.
    Delivered,
    /// Given up.
    Failed,
}

/// One step of an alert for one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Message id (`webhook-id`), the same over all attempts. Ids sort in the order in which they were made.
    pub id: String,
    /// Endpoint's name.
    pub endpoint: String,
    /// Alert.
    pub alert_id: String,
    /// Step of the alert.
    pub phase: Phase,
    /// The body, byte for byte as it is signed.
    pub body: Vec<u8>,
    /// What became of it.
    pub state: DeliveryState,
    /// Attempts made.
    pub attempts: u32,
    /// When the next attempt is due; once settled, when that was.
    pub at: Timestamp,
    /// The last failure.
    pub last_error: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl DeliveryState {
    /// The word used in the API and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        Self {
            id: delivery.id,
            endpoint: delivery.endpoint,
            phase: delivery.phase.name().to_owned(),
            state: delivery.state.name().to_owned(),
            attempts: delivery.attempts,
            last_error: delivery.last_error,
            at: delivery.at,
        }
    }
}

const COLUMNS: &str =
    "id, endpoint, alert_id, phase, body, state, attempts, at_us, last_error, created_at_us";

impl Store {
    /// The oldest pending deliveries, in the order in which they were made.
    pub fn pending_deliveries(&self, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM outbox WHERE state = 'pending' ORDER BY id LIMIT ?1"
                ))?
                .query_map([limit], delivery)?
                .collect()
        })
    }

    /// Deliveries of one alert, in the order in which they were made.
    pub fn deliveries(&self, alert_id: &str) -> Result<Vec<DeliveryView>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM outbox WHERE alert_id = ?1 ORDER BY id"))?
                .query_map([alert_id], |row| delivery(row).map(DeliveryView::from))?
                .collect()
        })
    }
}

pub(super) fn insert(connection: &Connection, delivery: &Delivery) -> rusqlite::Result<()> {
    connection
        .prepare_cached(&format!(
            "INSERT OR REPLACE INTO outbox ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
        ))?
        .execute(params![
            delivery.id,
            delivery.endpoint,
            delivery.alert_id,
            delivery.phase.name(),
            delivery.body,
            delivery.state.name(),
            delivery.attempts,
            to_us(delivery.at),
            delivery.last_error,
            to_us(delivery.created_at),
        ])?;
    Ok(())
}

/// Forgets deliveries that are settled and were made before a moment.
pub(super) fn prune(connection: &Connection, before: Timestamp) -> rusqlite::Result<usize> {
    let delete = format!(
        "DELETE FROM outbox WHERE id IN
         (SELECT id FROM outbox WHERE created_at_us < ?1 AND state <> 'pending' LIMIT {BATCH})"
    );
    connection.prepare_cached(&delete)?.execute([to_us(before)])
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let phase = row.get_ref(3)?.as_str()?;
    Ok(Delivery {
        id: row.get(0)?,
        endpoint: row.get(1)?,
        alert_id: row.get(2)?,
        phase: Phase::from_name(phase).ok_or_else(|| unknown_word(phase))?,
        body: row.get(4)?,
        state: match row.get_ref(5)?.as_str()? {
            "pending" => DeliveryState::Pending,
            "delivered" => DeliveryState::Delivered,
            "failed" => DeliveryState::Failed,
            word => return Err(unknown_word(word)),
        },
        attempts: row.get(6)?,
        at: from_us(row.get(7)?)?,
        last_error: row.get(8)?,
        created_at: from_us(row.get(9)?)?,
    })
}
