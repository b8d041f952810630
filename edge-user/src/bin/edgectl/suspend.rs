//! `edgectl suspend` and `resume`.

use std::path::Path;

use edge_user::api::client::Client;
use edge_user::api::types::{Resume, Suspend};

use crate::cli::{ResumeArgs, SuspendArgs};
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

pub(crate) async fn suspend(args: SuspendArgs, socket: &Path, output: Output) -> Result<(), Failure> {
    let SuspendArgs { account, how } = args;
    let request = Suspend { account, for_secs: how.for_secs, reason: how.reason };
    let suspension = Client::new(socket)?.suspend(&request).await?;
    output.show(&suspension, |it, _| {
        let until = it.expires_at.map_or_else(|| "it is resumed by `edgectl resume`".to_owned(), text::time);
        format!("{}: suspended until {until}", it.account)
    })
}

pub(crate) async fn resume(args: ResumeArgs, socket: &Path, output: Output) -> Result<(), Failure> {
    let request = Resume { account: args.account, reason: args.why.reason };
    let ended = Client::new(socket)?.resume(&request).await?;
    output.show(&ended, |it, _| format!("{}: in service again", it.account))
}
