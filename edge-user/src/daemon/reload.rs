//! Configuration in force: plan and reload. A configuration with problems changes nothing and is remembered.

use std::path::Path;
use std::sync::Arc;

use super::change::kernel_error;
use super::changes::{changes, of_commands, secrets};
use super::reconcile::{ReconcileError, dry_run, reconcile, shortened};
use super::state::{Daemon, Kept, Kernel};
use super::{clock, systemd, watch};
use crate::api::types::{ApiError, AuditEntry, PlanView};
use crate::config::{self, Config};
use crate::webhook::Endpoint;

impl Daemon {
    /// What a configuration would change.
    pub(super) async fn plan(self: &Arc<Self>, path: Option<String>) -> Result<PlanView, ApiError> {
        let daemon = Arc::clone(self);
        let planned = tokio::task::spawn_blocking(move || {
            let path = path.map_or_else(|| daemon.config_path.clone(), Into::into);
            let (config, endpoints) = read(&path)?;
            let (before, kept) = {
                let state = daemon.state();
                (state.config.clone(), state.kept.clone())
            };
            let said = daemon.beside_plan(&before, &config, kept.as_ref(), &endpoints)?;
            let (plan, _) = dry_run(&mut daemon.kernel(), &config, kept.as_ref(), &daemon.believed_clocks())
                .map_err(|error| kernel_error(&error))?;
            let changes = changes(&plan, &before, &config, said);
            Ok(PlanView { changes, applied: false, failed: Vec::new() })
        });
        planned.await.unwrap_or_else(|error| Err(died(&error)))
    }

    /// Applies the daemon's own file.
    pub(super) async fn reload(self: &Arc<Self>, actor: &str) -> Result<PlanView, ApiError> {
        let _change = self.changes.lock().await;
        systemd::reloading();
        let daemon = Arc::clone(self);
        let reloaded = tokio::task::spawn_blocking(move || daemon.reload_now()).await;
        let result = reloaded.unwrap_or_else(|error| Err(died(&error)));
        let (action, after) = match &result {
            Ok(view) => ("config.applied", shortened(&view.changes).join("\n")),
            Err(error) => ("config.refused", refusal(error)),
        };
        match &result {
            Ok(view) => tracing::info!(actor, changes = view.changes.len(), "configuration applied"),
            Err(error) => {
                // One line a problem: a log of many lines in one is not read.
                for problem in &error.problems {
                    tracing::error!("{problem}");
                }
                let ApiError { message: error, advice, .. } = error;
                tracing::error!(actor, error, "configuration refused; {advice}");
            }
        }
        let entry = AuditEntry {
            at: clock::now(),
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: self.config_path.display().to_string(),
            reason: String::new(),
            before: String::new(),
            after,
        };
        self.audit(entry).await;
        systemd::ready(if result.is_ok() { "configuration applied" } else { "the last reload was refused" });
        result
    }

    fn reload_now(&self) -> Result<PlanView, ApiError> {
        let result = self.take_configuration();
        let mut state = self.state();
        state.reloads[usize::from(result.is_err())] += 1;
        match &result {
            Ok(_) => {
                state.config_error = None;
                state.config_applied_at = clock::now();
            }
            Err(error) => state.config_error = Some(refusal(error)),
        }
        result
    }

    fn take_configuration(&self) -> Result<PlanView, ApiError> {
        let (config, endpoints) = read(&self.config_path)?;
        let mut kernel = self.kernel();
        let (before, kept) = {
            let state = self.state();
            (state.config.clone(), state.kept.clone())
        };
        let said = self.beside_plan(&before, &config, kept.as_ref(), &endpoints)?;
        let applied =
            reconcile(&mut kernel, &config, kept.as_ref(), &self.believed_clocks()).and_then(|applied| {
                // A person has looked: ports that fell back to drop may try again.
                kernel.accounts.arm_refusals(clock::clocks().monotonic_ns)?;
                Ok(applied)
            });
        let (plan, installed) = applied.map_err(|error| self.go_back(&mut kernel, &error))?;
        let failed = self.take_interfaces(&mut kernel, &before, &config)?;
        self.deliverer.reload(endpoints);
        let changes = changes(&plan, &before, &config, said);
        let mut state = self.state();
        state.put_in_place(installed);
        state.detectors.reconfigure(&config.detect);
        state.config = Arc::new(config);
        Ok(PlanView { changes, applied: true, failed })
    }

    /// What a configuration changes of what is not in it: set by command, or in the files of secrets.
    fn beside_plan(
        &self,
        before: &Config,
        after: &Config,
        kept: Option<&Kept>,
        endpoints: &[Endpoint],
    ) -> Result<Vec<String>, ApiError> {
        let mut lines = of_commands(before, after, kept)?;
        lines.extend(secrets(&self.deliverer.other_secrets(endpoints)));
        Ok(lines)
    }

    /// Brings the links to a configuration whose limits are in force. One that asks of an interface what it refuses is
    /// refused as a whole; interfaces that refused before it is said of are answered with.
    fn take_interfaces(
        &self,
        kernel: &mut Kernel,
        before: &Config,
        config: &Config,
    ) -> Result<Vec<String>, ApiError> {
        let is_asked_anew = |name: &String| {
            let of = |config: &Config| config.interfaces.iter().find(|it| it.name == *name).cloned();
            of(before) != of(config)
        };
        watch::log_changes(&kernel.interfaces.set(&config.interfaces));
        let failures = kernel.interfaces.failures();
        if !failures.keys().any(is_asked_anew) {
            return Ok(failures.into_values().collect());
        }
        watch::log_changes(&kernel.interfaces.set(&before.interfaces));
        let mut refused = ApiError::new(
            "kernel_failed",
            "an interface refuses",
            "what was in force before stays in force; correct `interfaces` and reload",
        );
        refused.problems = failures.into_values().collect();
        Err(match self.bring_up_to_date(kernel) {
            Ok(_) => refused,
            Err(error) => ApiError { problems: refused.problems.clone(), ..half_applied(&refused, &error) },
        })
    }
}

impl Daemon {
    /// Undoes what a configuration changed before it failed: `error` is why it did.
    fn go_back(&self, kernel: &mut Kernel, error: &ReconcileError) -> ApiError {
        let refused = kernel_error(error);
        match error {
            // There was no plan, hence no step.
            ReconcileError::Plan(_) => refused,
            ReconcileError::Dataplane(_) => match self.bring_up_to_date(kernel) {
                Ok(_) => refused,
                Err(error) => half_applied(&refused, &error),
            },
        }
    }
}

fn half_applied(refused: &ApiError, why: &ReconcileError) -> ApiError {
    ApiError::new(
        &refused.code,
        format!("{}; and the configuration before cannot be restored: {why}", refused.message),
        "part of the new configuration is in force; edged tries every second to restore the one before",
    )
}

/// Reads and checks a configuration with all that belongs to it.
fn read(path: &Path) -> Result<(Config, Vec<Endpoint>), ApiError> {
    let config = config::load(path).map_err(|problems| invalid(problems.lines()))?;
    let (endpoints, problems) = endpoints(&config);
    if problems.is_empty() { Ok((config, endpoints)) } else { Err(invalid(problems)) }
}

/// Endpoints with their secrets, and why some of them cannot be used.
pub(super) fn endpoints(config: &Config) -> (Vec<Endpoint>, Vec<String>) {
    let mut problems = Vec::new();
    let read = |(name, webhook): (&String, &config::Webhook)| {
        Endpoint::from_config(name, webhook).map_err(|error| problems.push(error.to_string())).ok()
    };
    let endpoints = config.webhooks.iter().filter_map(read).collect();
    (endpoints, problems)
}

pub(super) fn invalid(problems: Vec<String>) -> ApiError {
    let count = problems.len();
    let mut error = ApiError::new(
        "invalid_config",
        format!("the configuration has {count} problem{}", if count == 1 { "" } else { "s" }),
        "the configuration before stays in force; correct the file and reload",
    );
    error.problems = problems;
    error
}

/// The error with every problem, for the status and the audit.
fn refusal(error: &ApiError) -> String {
    let mut text = error.message.clone();
    for problem in &error.problems {
        text.push('\n');
        text.push_str(problem);
    }
    text
}

fn died(error: &tokio::task::JoinError) -> ApiError {
    ApiError::new("internal", error.to_string(), "see the log of edged")
}
