//! `edgectl accounts`.

use std::path::Path;

use comfy_table::Cell;
use edge_user::api::client::Client;
use edge_user::api::types::{AccountDetail, AccountSummary, CallStats, MessageStats, TrunkView};

use crate::cli::AccountsVerb;
use crate::failure::Failure;
use crate::output::{Output, Style, bad};
use crate::{alerts, limits, text};

pub(crate) async fn run(verb: AccountsVerb, socket: &Path, output: Output) -> Result<(), Failure> {
    let client = Client::new(socket)?;
    match verb {
        AccountsVerb::List => output.show(&client.accounts().await?, |accounts, style| list(accounts, style)),
        AccountsVerb::Show { name } => output.show(&client.account(&name).await?, show),
    }
}

fn list(accounts: &[AccountSummary], style: Style) -> String {
    let mut table = style.table(&["<ACCOUNT", "<PLAN", "<MODE", ">SOURCES", ">ALERTS", "<MESSAGES"]);
    for account in accounts {
        let alerts =
            if account.alerts_open > 0 { bad(account.alerts_open) } else { Cell::new(account.alerts_open) };
        table.add_row(vec![
            Cell::new(&account.name),
            Cell::new(&account.plan),
            Cell::new(&account.mode),
            Cell::new(account.sources),
            alerts,
            Cell::new(text::counts(&account.messages)),
        ]);
    }
    table.trim_fmt()
}

fn show(account: &AccountDetail, style: Style) -> String {
    let words = |list: &[String]| if list.is_empty() { "-".to_owned() } else { list.join(", ") };
    let suspended = account.suspension.as_ref().map_or_else(String::new, |it| {
        let until = text::expiry(it.expires_at);
        format!("\nSUSPENDED   by {} at {}, until {until}: {}", it.actor, text::time(it.set_at), it.reason)
    });
    let calls_max =
        if account.calls_max == 0 { "unlimited".to_owned() } else { account.calls_max.to_string() };
    let head = format!(
        "{}, plan {}, mode {}{suspended}\nsources     {}\nsystem ids  {}\ncaller ids  {}\nsender ids  {}\ncalls       {} of {calls_max} now; {}\n\
         figures     {}\nsip         {}\nsmpp        {}\n\
         responses   {}{}\nreceipts    {}",
        account.name,
        account.plan,
        account.mode,
        words(&account.sources),
        words(&account.system_ids),
        shown_ids(&account.caller_ids, &account.caller_id_mode, account.caller_id_violations),
        shown_ids(&account.sender_ids, &account.sender_id_mode, account.sender_id_violations),
        account.calls_active,
        text::counts(&account.calls),
        figures(&account.stats),
        text::counts(&account.sip),
        text::counts(&account.smpp),
        text::counts(&account.responses),
        response_times(&account.message_stats),
        text::counts(&account.receipts),
    );

    let mut messages = style.table(&["<CLASS", "<MESSAGES"]);
    for (class, counts) in &account.messages {
        messages.add_row(vec![class.clone(), text::counts(counts)]);
    }

    let mut parts = vec![head];
    if !account.trunks.is_empty() {
        parts.push(trunks(&account.trunks, style));
    }
    parts.push(limits::table(&account.limits, style));
    if !account.messages.is_empty() {
        parts.push(messages.trim_fmt());
    }
    if !account.alerts.is_empty() {
        parts.push(alerts::table(account.alerts.iter(), style));
    }
    parts.join("\n\n")
}

/// Caller IDs or sender IDs, what becomes of others, and how many there were.
fn shown_ids(own: &[String], mode: &str, violations: u64) -> String {
    if own.is_empty() {
        return "- (any)".to_owned();
    }
    format!("{}; others: {mode} ({violations} seen)", own.join(", "))
}

fn trunks(trunks: &[TrunkView], style: Style) -> String {
    let mut table = style.table(&["<TRUNK", ">CALLS", ">LIMIT", ">REFUSED", "<SOURCES"]);
    for trunk in trunks {
        let limit = if trunk.calls_max == 0 { "unlimited".to_owned() } else { trunk.calls_max.to_string() };
        table.add_row(vec![
            trunk.name.clone(),
            trunk.calls_active.to_string(),
            limit,
            trunk.refused.to_string(),
            trunk.sources.join(", "),
        ]);
    }
    table.trim_fmt()
}

/// What calls that ended since the daemon's start add up to.
fn figures(stats: &CallStats) -> String {
    if stats.attempts == 0 {
        return "- (no call has ended since edged started)".to_owned();
    }
    let share = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), text::percent);
    let secs = |secs: Option<f64>| secs.map_or_else(|| "-".to_owned(), |secs| format!("{secs:.1} s"));
    format!(
        "ASR {}, NER {}, ACD {}, short {}, PDD {} of {} attempts since edged started",
        share(stats.asr),
        share(stats.ner),
        secs(stats.acd_secs),
        share(stats.short_share),
        secs(stats.pdd_secs),
        stats.attempts,
    )
}

/// How long responses took, of messages that left a record, where there are any.
fn response_times(stats: &MessageStats) -> String {
    if stats.p50_ms.is_none() {
        return String::new();
    }
    let answered = stats.records - stats.refused;
    format!(
        "\nlatency     p50 {}, p99 {} of {answered} responses on record since edged started",
        text::milliseconds(stats.p50_ms),
        text::milliseconds(stats.p99_ms),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_list_has_a_line_for_each_account() {
        let account = AccountSummary {
            name: "acme".to_owned(),
            plan: "standard".to_owned(),
            mode: "enforce".to_owned(),
            sources: 2,
            messages: BTreeMap::from([("admitted".to_owned(), 100), ("refused_account".to_owned(), 7)]),
            alerts_open: 1,
        };
        assert_eq!(
            list(&[account], Style { color: false }),
            "\
ACCOUNT  PLAN      MODE     SOURCES  ALERTS  MESSAGES
acme     standard  enforce        2       1  admitted 100, refused_account 7"
        );
    }

    #[test]
    fn an_account_without_traffic_or_alerts_shows_no_empty_tables() {
        let account = AccountDetail {
            name: "acme".to_owned(),
            plan: "standard".to_owned(),
            mode: "observe".to_owned(),
            sources: vec!["203.0.113.0/24".to_owned(), "2001:db8::/32".to_owned()],
            system_ids: Vec::new(),
            caller_ids: vec!["4420".to_owned(), "+441632960".to_owned()],
            caller_id_mode: "refuse".to_owned(),
            caller_id_violations: 7,
            sender_ids: vec!["ACME".to_owned(), "441632".to_owned()],
            sender_id_mode: "count".to_owned(),
            sender_id_violations: 2,
            limits: Vec::new(),
            calls_active: 3,
            calls_max: 50,
            calls: BTreeMap::from([("admitted".to_owned(), 7)]),
            stats: CallStats { attempts: 4, asr: Some(0.5), acd_secs: Some(61.25), ..CallStats::default() },
            message_stats: MessageStats {
                records: 4,
                refused: 1,
                p50_ms: Some(12.345),
                p99_ms: Some(80.0),
                ..MessageStats::default()
            },
            trunks: vec![TrunkView {
                name: "london".to_owned(),
                sources: vec!["203.0.113.0/28".to_owned()],
                calls_active: 2,
                calls_max: 10,
                refused: 1,
            }],
            suspension: None,
            messages: BTreeMap::new(),
            sip: BTreeMap::from([("INVITE".to_owned(), 3)]),
            smpp: BTreeMap::new(),
            responses: BTreeMap::from([("ok".to_owned(), 9), ("throttled".to_owned(), 2)]),
            receipts: BTreeMap::from([("delivered".to_owned(), 7), ("failed".to_owned(), 1)]),
            alerts: Vec::new(),
        };
        assert_eq!(
            show(&account, Style { color: false }),
            "\
acme, plan standard, mode observe
sources     203.0.113.0/24, 2001:db8::/32
system ids  -
caller ids  4420, +441632960; others: refuse (7 seen)
sender ids  ACME, 441632; others: count (2 seen)
calls       3 of 50 now; admitted 7
figures     ASR 50.0 %, NER -, ACD 61.2 s, short -, PDD - of 4 attempts since edged started
sip         INVITE 3
smpp        -
responses   ok 9, throttled 2
latency     p50 12.3 ms, p99 80.0 ms of 3 responses on record since edged started
receipts    delivered 7, failed 1

TRUNK   CALLS  LIMIT  REFUSED  SOURCES
london      2     10        1  203.0.113.0/28

ACCOUNT  CLASS  SCOPE  LIMIT  ORIGIN  UNTIL  BY  REASON"
        );
        assert_eq!(response_times(&MessageStats { records: 1, refused: 1, ..MessageStats::default() }), "");
    }
}
