//! `edgectl check`: a configuration judged without a daemon.

use std::path::Path;

use edge_user::api::types::ApiError;
use edge_user::config::{self, Config};
use serde::Serialize;

use crate::cli::CheckArgs;
use crate::failure::Failure;
use crate::output::Output;

/// What is in a configuration without problems.
#[derive(Debug, Serialize)]
struct Checked {
    /// The file, as it was named.
    path: String,
    /// Interfaces, by name.
    interfaces: Vec<String>,
    /// Accounts, the one of unknown sources included.
    accounts: usize,
    /// Plans.
    plans: usize,
    /// Webhook endpoints.
    webhooks: usize,
}

pub(crate) fn run(args: &CheckArgs, output: Output) -> Result<(), Failure> {
    let config = load(&args.path)?;
    output.show(&summary(&args.path, &config), |checked, _| render(checked))
}

/// Every problem of the file and its accounts, or what it says.
fn load(path: &Path) -> Result<Config, Failure> {
    config::load(path).map_err(|problems| {
        let count = problems.all().len();
        let noun = if count == 1 { "problem" } else { "problems" };
        let message = format!("{count} {noun} in {}", path.display());
        Failure::Failed(ApiError {
            problems: problems.lines(),
            ..ApiError::new("invalid_config", message, "")
        })
    })
}

fn summary(path: &Path, config: &Config) -> Checked {
    Checked {
        path: path.display().to_string(),
        interfaces: config.interfaces.iter().map(|interface| interface.name.clone()).collect(),
        accounts: config.accounts.len(),
        plans: config.plans.len(),
        webhooks: config.webhooks.len(),
    }
}

fn render(checked: &Checked) -> String {
    let Checked { path, interfaces, accounts, plans, webhooks } = checked;
    let interfaces = interfaces.join(", ");
    format!(
        "{path}: no problems (accounts {accounts}, plans {plans}, webhooks {webhooks}; interfaces {interfaces})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_file_is_summed_up_in_one_line() {
        let interfaces = vec!["eth0".to_owned(), "eth1".to_owned()];
        let checked =
            Checked { path: "edge.toml".to_owned(), interfaces, accounts: 3, plans: 2, webhooks: 1 };
        assert_eq!(
            render(&checked),
            "edge.toml: no problems (accounts 3, plans 2, webhooks 1; interfaces eth0, eth1)"
        );
    }
}
