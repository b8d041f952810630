//! `edgectl reload`.

use std::path::Path;

use edge_user::api::client::Client;

use crate::failure::Failure;
use crate::output::Output;
use crate::plan;

pub(crate) async fn run(socket: &Path, output: Output) -> Result<(), Failure> {
    let plan = Client::new(socket)?.reload().await?;
    output.show(&plan, |plan, _| plan::render(plan))
}
