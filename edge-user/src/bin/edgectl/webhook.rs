//! `edgectl webhook`.

use std::path::Path;

use comfy_table::Cell;
use edge_user::api::client::Client;
use edge_user::api::types::{TestWebhook, TestWebhookResult};

use crate::cli::WebhookVerb;
use crate::failure::Failure;
use crate::output::{Output, Style, bad, good};

pub(crate) async fn run(verb: WebhookVerb, socket: &Path, output: Output) -> Result<(), Failure> {
    let WebhookVerb::Test { endpoint } = verb;
    let results = Client::new(socket)?.test_webhook(&TestWebhook { endpoint }).await?;
    output.show(&results, |results, style| render(results, style))?;

    let failed = results.iter().filter(|result| !result.ok).count();
    if failed > 0 {
        return Err(Failure::failed(
            "webhook_failed",
            format!("{failed} of {} endpoints did not take the test message", results.len()),
            "alerts for them wait in the outbox and are tried again",
        ));
    }
    Ok(())
}

fn render(results: &[TestWebhookResult], style: Style) -> String {
    if results.is_empty() {
        return "no webhook is configured".to_owned();
    }
    let mut table = style.table(&["<ENDPOINT", "<RESULT", ">STATUS", ">TOOK", "<ERROR"]);
    for result in results {
        table.add_row(vec![
            Cell::new(&result.endpoint),
            if result.ok { good("ok") } else { bad("failed") },
            Cell::new(result.status.map_or_else(|| "-".to_owned(), |status| status.to_string())),
            Cell::new(format!("{} ms", result.took_ms)),
            Cell::new(&result.error),
        ]);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_endpoint_has_its_result() {
        let good = TestWebhookResult {
            endpoint: "noc".to_owned(),
            ok: true,
            status: Some(204),
            error: String::new(),
            took_ms: 12,
        };
        let error = "connection refused".to_owned();
        let bad =
            TestWebhookResult { endpoint: "pager".to_owned(), ok: false, status: None, error, took_ms: 1 };
        assert_eq!(
            render(&[good, bad], Style { color: false }),
            "\
ENDPOINT  RESULT  STATUS   TOOK  ERROR
noc       ok         204  12 ms
pager     failed       -   1 ms  connection refused"
        );
        assert_eq!(render(&[], Style { color: false }), "no webhook is configured");
    }
}
