//! `edgectl binds`.

use std::path::Path;

use edge_user::api::client::Client;
use edge_user::api::types::{LiveBind, LiveBindQuery};

use crate::cli::BindsVerb;
use crate::failure::Failure;
use crate::output::{Output, Style};
use crate::text;

pub(crate) async fn run(verb: BindsVerb, socket: &Path, output: Output) -> Result<(), Failure> {
    let client = Client::new(socket)?;
    match verb {
        BindsVerb::List(args) => {
            let query = LiveBindQuery { account: args.account, limit: Some(args.limit) };
            let binds = client.live_binds(&query).await?;
            output.show(&binds, |binds, style| list(binds, args.limit, style))
        }
        BindsVerb::Show { id } => output.show(&client.live_bind(&id).await?, |bind, _| show(bind)),
    }
}

fn list(binds: &[LiveBind], limit: u32, style: Style) -> String {
    if binds.is_empty() {
        return "no bind is known".to_owned();
    }
    let mut table = style.table(&[
        "<ACCOUNT",
        "<SYSTEM ID",
        "<TYPE",
        "<STATE",
        ">AGE",
        "<HEARD",
        ">OUTSTANDING",
        ">REFUSED",
        "<ID",
    ]);
    for bind in binds {
        table.add_row(vec![
            bind.account.clone(),
            bind.system_id.clone(),
            bind.bind_type.clone(),
            bind.state.clone(),
            text::secs(bind.age_secs),
            bind.heard_at.map_or_else(|| "-".to_owned(), text::time),
            bind.outstanding.to_string(),
            bind.refused.to_string(),
            bind.id.clone(),
        ]);
    }
    let is_cut = binds.len() >= limit as usize;
    let more = if is_cut { format!("\nthe {limit} oldest; --limit shows more") } else { String::new() };
    table.trim_fmt() + &more
}

fn show(bind: &LiveBind) -> String {
    let time = |at: Option<jiff::Timestamp>| at.map_or_else(|| "-".to_owned(), text::time);
    format!(
        "{}, {} for {}\naccount      {}\nsystem id    {}\ntype         {}\nsource       {}\nserver       {}\n\
         server port  {}\nrequested    {}\nbound        {}\nlast heard   {}\nlink         {}\noutstanding  {}\nsubmitted    {}\n\
         responded    {}\nrefused      {}\nanswered     {}\n\
         unmatched    {}",
        bind.id,
        bind.state,
        text::secs(bind.age_secs),
        bind.account,
        bind.system_id,
        bind.bind_type,
        bind.source,
        bind.server,
        bind.server_port,
        text::time(bind.requested_at),
        time(bind.bound_at),
        time(bind.heard_at),
        link(bind),
        bind.outstanding,
        bind.submitted,
        bind.responded,
        bind.refused,
        bind.answered,
        bind.unmatched,
    )
}

/// How long either side took for the last `enquire_link` of the other.
fn link(bind: &LiveBind) -> String {
    let took = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
    format!(
        "enquire_link answered by server in {}, by client in {}",
        took(bind.server_link_ms),
        took(bind.client_link_ms)
    )
}
