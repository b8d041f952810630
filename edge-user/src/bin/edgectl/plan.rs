//! `edgectl plan`.

use std::path::{Path, PathBuf};

use edge_user::api::client::Client;
use edge_user::api::types::{PlanRequest, PlanView};

use crate::cli::PlanArgs;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) async fn run(args: PlanArgs, socket: &Path, output: Output) -> Result<(), Failure> {
    let config_path = args.path.map(absolute).transpose()?;
    let plan = Client::new(socket)?.plan(&PlanRequest { config_path }).await?;
    output.show(&plan, |plan, _| render(plan))
}

/// One line a change, and what became of them.
pub(crate) fn render(plan: &PlanView) -> String {
    let PlanView { changes, applied, .. } = plan;
    let what = match changes.len() {
        0 => return "nothing to change".to_owned(),
        1 => "1 change".to_owned(),
        n => format!("{n} changes"),
    };
    let became =
        if *applied { "applied" } else { "not applied; `edgectl reload` applies the daemon's own file" };
    format!("{}\n{what}, {became}", changes.join("\n"))
}

/// The daemon has another working directory.
fn absolute(path: PathBuf) -> Result<String, Failure> {
    let path = std::path::absolute(path)?;
    path.into_os_string().into_string().map_err(|path| {
        Failure::usage(
            format!("{} is not UTF-8", path.display()),
            "the API carries paths as text; rename the file",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_whether_it_was_applied() {
        let changes = vec!["add account acme".to_owned()];
        let plan = PlanView { changes, ..PlanView::default() };
        assert_eq!(
            render(&plan),
            "add account acme\n1 change, not applied; `edgectl reload` applies the daemon's own file"
        );
        assert_eq!(render(&PlanView { applied: true, ..plan }), "add account acme\n1 change, applied");
        assert_eq!(render(&PlanView::default()), "nothing to change");
    }
}
