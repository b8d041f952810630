//! `edgectl audit`.

use std::path::Path;

use edge_user::api::client::Client;
use edge_user::api::types::{AuditEntry, AuditQuery};

use crate::cli::AuditArgs;
use crate::failure::Failure;
use crate::output::{Output, Style};
use crate::text;

pub(crate) async fn run(args: &AuditArgs, socket: &Path, output: Output) -> Result<(), Failure> {
    let entries = Client::new(socket)?.audit(&AuditQuery { limit: Some(args.limit) }).await?;
    output.show(&entries, |entries, style| render(entries, style))
}

fn render(entries: &[AuditEntry], style: Style) -> String {
    let mut table = style.table(&["<AT", "<BY", "<ACTION", "<SUBJECT", "<BEFORE", "<AFTER", "<REASON"]);
    for entry in entries {
        table.add_row(vec![
            text::time(entry.at),
            entry.actor.clone(),
            entry.action.clone(),
            entry.subject.clone(),
            entry.before.clone(),
            entry.after.clone(),
            entry.reason.clone(),
        ]);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_who_did_what_to_what_and_why() -> Result<(), jiff::Error> {
        let entry = AuditEntry {
            at: "2026-03-01T12:00:00Z".parse()?,
            actor: "operator".to_owned(),
            action: "limit.set".to_owned(),
            subject: "acme account sip.invite".to_owned(),
            reason: "evening peak".to_owned(),
            before: "10/s".to_owned(),
            after: "20/s burst 40".to_owned(),
        };
        assert_eq!(
            render(&[entry], Style { color: false }),
            "\
AT                    BY        ACTION     SUBJECT                  BEFORE  AFTER          REASON
2026-03-01T12:00:00Z  operator  limit.set  acme account sip.invite  10/s    20/s burst 40  evening peak"
        );
        Ok(())
    }
}
