//! `edgectl limits`.

use std::path::Path;

use comfy_table::Cell;
use edge_user::api::client::Client;
use edge_user::api::types::{LimitQuery, LimitView, Scope, SetLimit, UnsetLimit};
use edge_user::rate::Rate;

use crate::cli::{LimitsVerb, SetLimitArgs, UnsetLimitArgs};
use crate::failure::Failure;
use crate::output::{Output, Style, warn};
use crate::text;

pub(crate) async fn run(verb: LimitsVerb, socket: &Path, output: Output) -> Result<(), Failure> {
    let client = Client::new(socket)?;
    match verb {
        LimitsVerb::Show { account } => {
            let limits = client.limits(&LimitQuery { account }).await?;
            output.show(&limits, |limits, style| table(limits, style))
        }
        LimitsVerb::Set(args) => output.show(&client.set_limit(&to_set(args)?).await?, now_in_force),
        LimitsVerb::Unset(args) => output.show(&client.unset_limit(&to_unset(args)).await?, now_in_force),
    }
}

/// Limits in force, one line each.
pub(crate) fn table(limits: &[LimitView], style: Style) -> String {
    let mut table =
        style.table(&["<ACCOUNT", "<CLASS", "<SCOPE", "<LIMIT", "<ORIGIN", "<UNTIL", "<BY", "<REASON"]);
    for limit in limits {
        let (until, by, reason) = match &limit.change {
            None => (String::new(), "", ""),
            Some(change) => (text::expiry(change.expires_at), change.actor.as_str(), change.reason.as_str()),
        };
        let origin = if limit.change.is_some() { warn(&limit.origin) } else { Cell::new(&limit.origin) };
        table.add_row(vec![
            Cell::new(&limit.account),
            Cell::new(&limit.class),
            Cell::new(limit.scope.name()),
            Cell::new(&limit.limit),
            origin,
            Cell::new(until),
            Cell::new(by),
            Cell::new(reason),
        ]);
    }
    table.trim_fmt()
}

fn to_set(args: SetLimitArgs) -> Result<SetLimit, Failure> {
    let limit = args.rate.join(" ");
    limit
        .parse::<Rate>()
        .map_err(|error| Failure::usage(error.to_string(), "see `edgectl limits set --help`"))?;
    Ok(SetLimit {
        account: args.of.account,
        scope: args.of.scope,
        class: args.of.class,
        limit,
        for_secs: args.how.for_secs,
        reason: args.how.reason,
    })
}

fn to_unset(args: UnsetLimitArgs) -> UnsetLimit {
    UnsetLimit {
        account: args.of.account,
        scope: args.of.scope,
        class: args.of.class,
        reason: args.why.reason,
    }
}

fn now_in_force(limit: &LimitView, _: Style) -> String {
    let LimitView { account, scope, class, limit, origin, change } = limit;
    let scope = match scope {
        Scope::Registered => "registered source",
        scope => scope.name(),
    };
    let until = match change {
        None => String::new(),
        Some(change) => format!(", until {}", text::expiry(change.expires_at)),
    };
    format!("{account} {class} per {scope}: {limit} ({origin}{until})")
}

#[cfg(test)]
mod tests {
    use edge_user::api::types::LimitChange;

    use super::*;

    fn by_hand() -> Result<LimitView, jiff::Error> {
        Ok(LimitView {
            account: "acme".to_owned(),
            scope: Scope::Source,
            class: "sip.invite".to_owned(),
            limit: "20/s burst 40".to_owned(),
            origin: "override".to_owned(),
            change: Some(LimitChange {
                actor: "operator".to_owned(),
                reason: "evening peak".to_owned(),
                set_at: "2026-03-01T12:00:00Z".parse()?,
                expires_at: Some("2026-03-01T14:00:00Z".parse()?),
            }),
        })
    }

    #[test]
    fn an_override_says_who_why_and_until_when() -> Result<(), jiff::Error> {
        let by_plan = LimitView { origin: "plan standard".to_owned(), change: None, ..by_hand()? };
        assert_eq!(
            table(&[by_hand()?, by_plan], Style { color: false }),
            "\
ACCOUNT  CLASS       SCOPE   LIMIT          ORIGIN         UNTIL                 BY        REASON
acme     sip.invite  source  20/s burst 40  override       2026-03-01T14:00:00Z  operator  evening peak
acme     sip.invite  source  20/s burst 40  plan standard"
        );
        Ok(())
    }

    #[test]
    fn what_was_set_is_said_in_one_line() -> Result<(), jiff::Error> {
        assert_eq!(
            now_in_force(&by_hand()?, Style { color: false }),
            "acme sip.invite per source: 20/s burst 40 (override, until 2026-03-01T14:00:00Z)"
        );
        Ok(())
    }
}
