//! `edgectl doctor`: whether a server bears native refusal, found out before it is switched on.

mod sip;
mod smpp;

use std::time::Duration;

use comfy_table::Cell;
use edge_ebpf::abi::StreamServer;
use serde::Serialize;
use tokio::net::TcpStream;

use crate::cli::DoctorVerb;
use crate::failure::Failure;
use crate::output::{Output, Style, bad, good};

/// How long the server may take for each answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found.
#[derive(Debug, Serialize)]
struct Diagnosis {
    /// The server.
    server: String,
    /// Whether native refusal may be switched on.
    native: bool,
    /// What `sip.stream_server` is then to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_server: Option<&'static str>,
    /// Each step, in order.
    steps: Steps,
}

#[derive(Debug, Default, Serialize)]
struct Steps(Vec<Step>);

#[derive(Debug, Serialize)]
struct Step {
    what: &'static str,
    ok: bool,
    found: String,
}

impl Steps {
    /// Writes a step down. `None` if it failed.
    fn note(&mut self, what: &'static str, result: Result<String, String>) -> Option<()> {
        let ok = result.is_ok();
        let found = result.unwrap_or_else(|error| error);
        self.0.push(Step { what, ok, found });
        ok.then_some(())
    }
}

pub(crate) async fn run(verb: DoctorVerb, output: Output) -> Result<(), Failure> {
    let mut steps = Steps::default();
    let (server, native, stream_server) = match verb {
        DoctorVerb::Smpp(args) => {
            let bears = smpp::examine(&args, &mut steps).await?;
            (args.server, bears.is_some(), None)
        }
        DoctorVerb::Sip(args) => {
            let found = sip::examine(&args, &mut steps).await;
            (args.server, found.is_some(), found.map(StreamServer::name))
        }
    };
    let diagnosis = Diagnosis { server, native, stream_server, steps };
    output.show(&diagnosis, render)?;
    if diagnosis.native {
        return Ok(());
    }
    Err(Failure::failed(
        "unfit_server",
        format!("{} does not bear native refusal", diagnosis.server),
        "over the limit, its segments can only be dropped",
    ))
}

/// The first step of any examination.
async fn connect(server: &str, steps: &mut Steps) -> Option<TcpStream> {
    let connected = match tokio::time::timeout(PATIENCE, TcpStream::connect(server)).await {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no connection within {} s", PATIENCE.as_secs())),
    };
    let (stream, result) = match connected {
        Ok(stream) => (Some(stream), Ok("connected".to_owned())),
        Err(error) => (None, Err(error)),
    };
    steps.note("connect", result)?;
    stream
}

fn render(diagnosis: &Diagnosis, style: Style) -> String {
    let mut table = style.table(&["<STEP", "<RESULT", "<FOUND"]);
    for step in &diagnosis.steps.0 {
        let result = if step.ok { good("ok") } else { bad("failed") };
        table.add_row(vec![Cell::new(step.what), result, Cell::new(&step.found)]);
    }
    let verdict = match (diagnosis.native, diagnosis.stream_server) {
        (true, Some(server)) => format!("bears native refusal, with sip.stream_server = \"{server}\""),
        (true, None) => "bears native refusal".to_owned(),
        (false, _) => "does not bear native refusal".to_owned(),
    };
    format!("{}\n\n{} {verdict}", table.trim_fmt(), diagnosis.server)
}
