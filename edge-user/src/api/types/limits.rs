//! Limits: whose, how much, where they come from, and how they are set.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Whose bucket a limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The account, over all its sources.
    Account,
    /// Each source of the account by itself.
    Source,
    /// Each source of the account that has registered, in place of what holds for each source.
    Registered,
}

impl Scope {
    /// All of them, the widest first.
    pub const ALL: [Self; 3] = [Self::Account, Self::Source, Self::Registered];

    /// As requests, the database and metrics write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Source => "source",
            Self::Registered => "registered",
        }
    }

    /// Back from [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// One limit in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitView {
    /// Account.
    pub account: String,
    /// Whose bucket.
    pub scope: Scope,
    /// Class.
    pub class: String,
    /// In the rate syntax.
    pub limit: String,
    /// `plan NAME`, `account` (its own file), `override` (set by command), or `override, no such account`: it holds once
    /// there is one of that name.
    pub origin: String,
    /// For an override: who set it, when, why, until when.
    pub change: Option<LimitChange>,
}

/// An override of a limit, as it was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitChange {
    /// User name of the peer on the socket.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub set_at: Timestamp,
    /// When it lifts itself; `None` means never.
    pub expires_at: Option<Timestamp>,
}

/// `GET /v1/limits?account=NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitQuery {
    /// Only this account; all of them when missing.
    pub account: Option<String>,
}

/// `PUT /v1/limits`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetLimit {
    /// Account.
    pub account: String,
    /// Whose bucket.
    pub scope: Scope,
    /// Class.
    pub class: String,
    /// In the rate syntax.
    pub limit: String,
    /// Seconds after which it lifts itself.
    pub for_secs: Option<u64>,
    /// Why; kept in the audit.
    pub reason: String,
}

/// `POST /v1/limits/unset`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnsetLimit {
    /// Account.
    pub account: String,
    /// Whose bucket.
    pub scope: Scope,
    /// Class.
    pub class: String,
    /// Why; kept in the audit.
    pub reason: String,
}
