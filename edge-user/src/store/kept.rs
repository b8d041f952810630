//! Values kept by name over a restart: what the detectors have learnt.

use rusqlite::types::Type;
use rusqlite::{OptionalExtension, params};
use serde_json::Value;

use super::{Store, StoreError, unreadable};

impl Store {
    /// Keeps a value in place of an earlier one of that name.
    pub fn put_value(&mut self, name: &str, value: &Value) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO kept (name, value) VALUES (?1, ?2)")?
                .execute(params![name, value.to_string()])?;
            Ok(())
        })
    }

    /// The value of that name.
    pub fn value(&self, name: &str) -> Result<Option<Value>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT value FROM kept WHERE name = ?1")?
                .query_row([name], |row| {
                    serde_json::from_str(row.get_ref(0)?.as_str()?)
                        .map_err(|error| unreadable(Type::Text, error))
                })
                .optional()
        })
    }
}
