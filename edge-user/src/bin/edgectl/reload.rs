//! `edgectl reload`.

use std::path::Path;

use edge_user::api::client::Client;
use edge_user::api::types::ApiError;

use crate::failure::Failure;
use crate::output::Output;
use crate::plan;

pub(crate) async fn run(socket: &Path, output: Output) -> Result<(), Failure> {
    let plan = Client::new(socket)?.reload().await?;
    output.show(&plan, |plan, _| plan::render(plan))?;
    everywhere(plan.failed)
}

/// Whether the configuration is in force on every interface.
fn everywhere(failed: Vec<String>) -> Result<(), Failure> {
    if failed.is_empty() {
        return Ok(());
    }
    let mut error = ApiError::new(
        "interface_failed",
        "the configuration is in force, but not on every interface",
        "edged goes on trying; `edgectl status` tells where each stands",
    );
    error.problems = failed;
    Err(Failure::Failed(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_that_leaves_an_interface_out_has_failed() {
        assert!(everywhere(Vec::new()).is_ok());
        let failed = everywhere(vec!["interface eth1: no".to_owned()]);
        assert!(matches!(failed, Err(Failure::Failed(error)) if error.problems == ["interface eth1: no"]));
    }
}
