//! Suspension of accounts by command: a flag of the account's policy, written down like a limit.

use std::sync::Arc;

use super::change::{expiry, until_text};
use super::clock;
use super::state::Daemon;
use crate::api::control::Actor;
use crate::api::types::{ApiError, AuditEntry, Resume, Suspend, Suspension};
use crate::config::UNKNOWN_ACCOUNT;

const SUSPENDED: &str = "suspended";
const IN_SERVICE: &str = "in service";

impl Daemon {
    /// Suspends an account.
    pub(super) async fn suspend(
        self: &Arc<Self>,
        actor: &Actor,
        request: Suspend,
    ) -> Result<Suspension, ApiError> {
        let _change = self.changes.lock().await;
        let now = clock::now();
        let Suspend { account, for_secs, reason } = request;
        let is_known = self.state().config.accounts.contains_key(&account);
        if !is_known || account == UNKNOWN_ACCOUNT {
            return Err(ApiError::new(
                "unknown_account",
                format!("there is no account `{account}` that could be suspended"),
                "`edgectl accounts list` lists accounts; sources without one are banned instead",
            ));
        }
        let suspension = Suspension {
            account,
            actor: actor.to_string(),
            reason,
            set_at: now,
            expires_at: expiry(now, for_secs)?,
        };
        let was =
            self.with_kept(|kept| kept.suspensions.iter().any(|it| it.account == suspension.account))?;
        let entry = AuditEntry {
            at: now,
            actor: actor.to_string(),
            action: "account.suspended".to_owned(),
            subject: suspension.account.clone(),
            reason: suspension.reason.clone(),
            before: if was { SUSPENDED } else { IN_SERVICE }.to_owned(),
            after: until_text(SUSPENDED, suspension.expires_at),
        };
        let row = suspension.clone();
        self.write(move |store| store.set_suspension(&row, &entry)).await?;
        let set = suspension.clone();
        self.with_kept(|kept| {
            kept.suspensions.retain(|it| it.account != set.account);
            kept.suspensions.push(set);
            kept.suspensions.sort_by(|a, b| a.account.cmp(&b.account));
        })?;
        self.bring_to_kernel().await?;
        Ok(suspension)
    }

    /// Ends a suspension.
    pub(super) async fn resume(
        self: &Arc<Self>,
        actor: &Actor,
        request: Resume,
    ) -> Result<Suspension, ApiError> {
        let _change = self.changes.lock().await;
        let Resume { account, reason } = request;
        let ended =
            self.with_kept(|kept| kept.suspensions.iter().find(|it| it.account == account).cloned())?;
        let Some(ended) = ended else {
            return Err(ApiError::new(
                "unknown_suspension",
                format!("the account `{account}` is not suspended"),
                "`edgectl accounts show` tells whether one is",
            ));
        };
        let entry = AuditEntry {
            at: clock::now(),
            actor: actor.to_string(),
            action: "account.resumed".to_owned(),
            subject: account.clone(),
            reason,
            before: SUSPENDED.to_owned(),
            after: IN_SERVICE.to_owned(),
        };
        let row = account.clone();
        self.write(move |store| store.unset_suspension(&row, &entry)).await?;
        self.with_kept(|kept| kept.suspensions.retain(|it| it.account != account))?;
        self.bring_to_kernel().await?;
        Ok(ended)
    }
}
