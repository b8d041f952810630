//! Changes by command: checked, written down with their audit, then brought to the kernel. A change that cannot
//! be written down is not made: it would be gone, and nobody named, after a restart.

use std::net::IpAddr;
use std::sync::Arc;

use edge_ebpf::abi::Class;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};

use super::clock;
use super::reconcile::{ReconcileError, dry_run};
use super::state::{Daemon, Kept};
use super::views;
use crate::api::control::Actor;
use crate::api::types::{
    ApiError, AuditEntry, LimitChange, LimitView, Measure, MeasureKind, SetLimit, SetMeasure, UnsetLimit,
    UnsetMeasure,
};
use crate::config::conflict_with_ipv4;
use crate::rate::Rate;
use crate::reconcile::Plan;
use crate::store::{LimitOverride, StoreError};

impl Daemon {
    /// Sets a limit.
    pub(super) async fn set_limit(
        self: &Arc<Self>,
        actor: &Actor,
        request: SetLimit,
    ) -> Result<LimitView, ApiError> {
        let _change = self.changes.lock().await;
        let now = clock::now();
        let class = class(&request.class)?;
        let rate: Rate = request
            .limit
            .parse()
            .map_err(|error: crate::rate::RateError| ApiError::new("invalid_rate", error.to_string(), ""))?;
        let before = self.limit_view(&request.account, request.scope, class)?;
        let set = LimitOverride {
            account: request.account,
            scope: request.scope,
            class: request.class,
            limit: rate.to_string(),
            change: LimitChange {
                actor: actor.to_string(),
                reason: request.reason,
                set_at: now,
                expires_at: expiry(now, request.for_secs)?,
            },
        };
        let entry = AuditEntry {
            at: now,
            actor: actor.to_string(),
            action: "limit.set".to_owned(),
            subject: set.subject(),
            reason: set.change.reason.clone(),
            before: before.limit,
            after: until_text(&set.limit, set.change.expires_at),
        };
        let (account, scope) = (set.account.clone(), set.scope);
        let row = set.clone();
        self.write(move |store| store.set_limit(&row, &entry)).await?;
        self.with_kept(|kept| {
            kept.limits.retain(|it| !is_same(it, &set.account, set.scope, &set.class));
            kept.limits.push(set);
        })?;
        self.bring_to_kernel().await?;
        self.limit_view(&account, scope, class)
    }

    /// Lifts a limit that was set.
    pub(super) async fn unset_limit(
        self: &Arc<Self>,
        actor: &Actor,
        request: UnsetLimit,
    ) -> Result<LimitView, ApiError> {
        let _change = self.changes.lock().await;
        let UnsetLimit { account, scope, class: class_name, reason } = request;
        let class = class(&class_name)?;
        let set = self.with_kept(|kept| {
            kept.limits.iter().find(|it| is_same(it, &account, scope, &class_name)).cloned()
        })?;
        let Some(set) = set else {
            return Err(ApiError::new(
                "unknown_override",
                format!("no limit was set by command for {account} {class_name}"),
                "`edgectl limits show` lists limits and where they come from",
            ));
        };
        let entry = AuditEntry {
            at: clock::now(),
            actor: actor.to_string(),
            action: "limit.unset".to_owned(),
            subject: set.subject(),
            reason,
            before: set.limit.clone(),
            after: self.configured_limit(&account, scope, class),
        };
        let (row_account, row_class) = (account.clone(), class_name.clone());
        self.write(move |store| store.unset_limit(&row_account, scope, &row_class, &entry)).await?;
        self.with_kept(|kept| kept.limits.retain(|it| !is_same(it, &account, scope, &class_name)))?;
        self.bring_to_kernel().await?;
        self.limit_view(&account, scope, class).or_else(|_| Ok(views::gone_limit(&account, scope, class)))
    }

    /// Sets a ban or an allowance.
    pub(super) async fn set_measure(
        self: &Arc<Self>,
        actor: &Actor,
        request: SetMeasure,
    ) -> Result<Measure, ApiError> {
        let _change = self.changes.lock().await;
        let now = clock::now();
        let source_prefix = self.state().config.ipv6_source_prefix;
        let prefix = prefix(&request.prefix, source_prefix)?;
        let measure = Measure {
            prefix: prefix.to_string(),
            kind: request.kind,
            actor: actor.to_string(),
            reason: request.reason,
            set_at: now,
            expires_at: expiry(now, request.for_secs)?,
        };
        let before = self.with_kept(|kept| {
            kept.measures.iter().find(|it| it.prefix == measure.prefix).map(|it| kind_name(it.kind))
        })?;
        let entry = AuditEntry {
            at: now,
            actor: actor.to_string(),
            action: "measure.set".to_owned(),
            subject: measure.prefix.clone(),
            reason: measure.reason.clone(),
            before: before.unwrap_or("none").to_owned(),
            after: until_text(kind_name(measure.kind), measure.expires_at),
        };
        self.impose(vec![(measure.clone(), entry)]).await?;
        Ok(measure)
    }

    /// Brings measures into force, each in place of an earlier one of its prefix. The caller holds `changes`.
    pub(super) async fn impose(
        self: &Arc<Self>,
        measures: Vec<(Measure, AuditEntry)>,
    ) -> Result<(), ApiError> {
        let mut kept = self.with_kept(|kept| kept.clone())?;
        for (measure, _) in &measures {
            kept.measures.retain(|it| it.prefix != measure.prefix);
            kept.measures.push(measure.clone());
        }
        self.check_fit(kept.clone()).await?;
        self.write(move |store| store.set_measures(&measures)).await?;
        self.with_kept(|it| *it = kept)?;
        self.bring_to_kernel().await.map(drop)
    }

    /// Lifts a ban or an allowance.
    pub(super) async fn unset_measure(
        self: &Arc<Self>,
        actor: &Actor,
        request: UnsetMeasure,
    ) -> Result<Measure, ApiError> {
        let _change = self.changes.lock().await;
        let prefix = parse_prefix(&request.prefix)?.to_string();
        let lifted = self.with_kept(|kept| kept.measures.iter().find(|it| it.prefix == prefix).cloned())?;
        let Some(lifted) = lifted else {
            return Err(ApiError::new(
                "unknown_measure",
                format!("{prefix} is neither banned nor allowed"),
                "name the prefix exactly as it was banned or allowed",
            ));
        };
        let entry = AuditEntry {
            at: clock::now(),
            actor: actor.to_string(),
            action: "measure.unset".to_owned(),
            subject: prefix.clone(),
            reason: request.reason,
            before: kind_name(lifted.kind).to_owned(),
            after: "none".to_owned(),
        };
        let row = prefix.clone();
        self.write(move |store| store.unset_measure(&row, &entry)).await?;
        self.with_kept(|kept| kept.measures.retain(|it| it.prefix != prefix))?;
        self.bring_to_kernel().await?;
        Ok(lifted)
    }

    /// Adds to the audit what leaves no other trace in the database.
    pub(super) async fn audit(&self, entry: AuditEntry) {
        let action = entry.action.clone();
        let recorded = self.store.run(move |store| store.record(&entry)).await;
        if let Err(error) = &recorded {
            tracing::error!(action, %error, "not recorded in the audit");
        }
        self.note_store(recorded.err().map(|error| error.to_string()));
    }

    /// Runs the blocking reconciliation aside.
    pub(super) async fn bring_to_kernel(self: &Arc<Self>) -> Result<Plan, ApiError> {
        let daemon = Arc::clone(self);
        match tokio::task::spawn_blocking(move || daemon.reconcile_now()).await {
            Ok(result) => result.map_err(|error| ApiError {
                advice: "it is written down, and tried again every second".into(),
                ..kernel_error(&error)
            }),
            Err(error) => Err(ApiError::new("internal", error.to_string(), "see the log of edged")),
        }
    }

    /// Whether the kernel has room for all that would then be set: what has none must not be written down, or every
    /// later change would fail with it.
    async fn check_fit(self: &Arc<Self>, kept: Kept) -> Result<(), ApiError> {
        let daemon = Arc::clone(self);
        let planned = tokio::task::spawn_blocking(move || {
            let config = daemon.state().config.clone();
            dry_run(&mut daemon.kernel(), &config, Some(&kept), &daemon.believed_clocks()).map(drop)
        });
        match planned.await {
            Ok(result) => result.map_err(|error| kernel_error(&error)),
            Err(error) => Err(ApiError::new("internal", error.to_string(), "see the log of edged")),
        }
    }

    pub(super) async fn write<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut crate::store::Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiError> {
        if self.state().kept.is_none() {
            return Err(store_error(&self.store.status()));
        }
        let written = self.store.run(call).await;
        self.note_store(written.as_ref().err().map(ToString::to_string));
        written.map_err(|error| store_error(&error.to_string()))
    }

    pub(super) fn with_kept<T>(&self, use_it: impl FnOnce(&mut Kept) -> T) -> Result<T, ApiError> {
        match &mut self.state().kept {
            Some(kept) => Ok(use_it(kept)),
            None => Err(store_error(&self.store.status())),
        }
    }
}

/// A class by its name.
pub(super) fn class(name: &str) -> Result<Class, ApiError> {
    Class::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Class::ALL.iter().map(|class| class.name()).collect();
        ApiError::new(
            "invalid_class",
            format!("`{name}` is no class"),
            format!("classes are {}", names.join(", ")),
        )
    })
}

/// The database does not answer.
pub(super) fn store_error(error: &str) -> ApiError {
    ApiError::new(
        "store_unavailable",
        format!("{error}; nothing was changed"),
        "limits in force stay in force; try again once the database answers",
    )
}

/// The kernel was not brought to what is wanted.
pub(super) fn kernel_error(error: &ReconcileError) -> ApiError {
    let code = match error {
        ReconcileError::Plan(_) => "conflict",
        ReconcileError::Dataplane(_) => "kernel_failed",
    };
    ApiError::new(code, error.to_string(), "what was in force before stays in force")
}

fn is_same(it: &LimitOverride, account: &str, scope: crate::api::types::Scope, class: &str) -> bool {
    it.account == account && it.scope == scope && it.class == class
}

fn prefix(text: &str, ipv6_source_prefix: u8) -> Result<IpNet, ApiError> {
    let prefix = parse_prefix(text)?;
    let IpNet::V6(net) = prefix else { return Ok(prefix) };
    if let Some(fact) = conflict_with_ipv4(net) {
        return Err(ApiError::new("invalid_prefix", fact, "it would hold for IPv4 sources"));
    }
    if net.prefix_len() > ipv6_source_prefix {
        return Err(ApiError::new(
            "invalid_prefix",
            format!(
                "{prefix} is less than a source: IPv6 sources are taken together by /{ipv6_source_prefix}"
            ),
            format!("name the whole /{ipv6_source_prefix}, or change `ipv6_source_prefix`"),
        ));
    }
    Ok(prefix)
}

/// A prefix without host bits, or a single address as the prefix of its full length.
fn parse_prefix(text: &str) -> Result<IpNet, ApiError> {
    let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let net = parsed.map_err(|_| {
        ApiError::new(
            "invalid_prefix",
            format!("`{text}` is neither an address nor a prefix"),
            "write for example 203.0.113.7, 203.0.113.0/24 or 2001:db8::/64",
        )
    })?;
    if net == net.trunc() {
        return Ok(net);
    }
    Err(ApiError::new(
        "invalid_prefix",
        format!("`{text}` has bits beyond its prefix"),
        format!("{} is the prefix, {} the one address", net.trunc(), net.addr()),
    ))
}

pub(super) fn expiry(now: Timestamp, for_secs: Option<u64>) -> Result<Option<Timestamp>, ApiError> {
    let Some(secs) = for_secs else { return Ok(None) };
    let end = i64::try_from(secs).ok().and_then(|secs| now.checked_add(SignedDuration::from_secs(secs)).ok());
    end.map(Some).ok_or_else(|| {
        ApiError::new(
            "invalid_expiry",
            format!("{secs} seconds reach beyond the calendar"),
            "leave the expiry out",
        )
    })
}

pub(super) fn until_text(what: &str, expires_at: Option<Timestamp>) -> String {
    expires_at.map_or_else(|| what.to_owned(), |at| format!("{what} until {at:.0}"))
}

const fn kind_name(kind: MeasureKind) -> &'static str {
    match kind {
        MeasureKind::Ban => "ban",
        MeasureKind::Allow => "allow",
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_prefix_of_its_full_length_and_host_bits_are_refused() {
        assert_eq!(parse_prefix("203.0.113.7").unwrap().to_string(), "203.0.113.7/32");
        assert_eq!(parse_prefix("203.0.113.0/24").unwrap().to_string(), "203.0.113.0/24");
        let meant = parse_prefix("203.0.113.7/24").unwrap_err();
        assert_eq!(meant.code, "invalid_prefix");
        assert!(meant.advice.contains("203.0.113.0/24 is the prefix"), "{meant:?}");
        assert_eq!(parse_prefix("2001:db8::1").unwrap().to_string(), "2001:db8::1/128");
        let refused = parse_prefix("acme").unwrap_err();
        assert_eq!((refused.code.as_str(), refused.http_status()), ("invalid_prefix", 422));
    }

    #[test]
    fn a_measure_on_ipv6_never_holds_for_ipv4() {
        assert_eq!(prefix("2000::/3", 64).unwrap().to_string(), "2000::/3");
        assert_eq!(prefix("0.0.0.0/0", 64).unwrap().to_string(), "0.0.0.0/0");
        for text in ["::/0", "::/64", "::ffff:0:0/96", "::ffff:203.0.113.7"] {
            let refused = prefix(text, 128).unwrap_err();
            assert_eq!(refused.code, "invalid_prefix", "{text}");
            assert!(refused.message.contains("IPv4"), "{text}: {refused:?}");
        }
    }

    #[test]
    fn an_expiry_beyond_the_calendar_is_refused() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        assert_eq!(expiry(now, Some(7_200)).unwrap(), Some(Timestamp::from_second(1_007_200).unwrap()));
        assert_eq!(expiry(now, None).unwrap(), None);
        assert_eq!(expiry(now, Some(u64::MAX)).unwrap_err().code, "invalid_expiry");
    }

    #[test]
    fn an_unknown_class_is_answered_with_all_that_there_are() {
        let refused = class("sip.calls").unwrap_err();
        assert!(refused.advice.contains("sip.invite") && refused.advice.contains("packets"), "{refused:?}");
    }
}
