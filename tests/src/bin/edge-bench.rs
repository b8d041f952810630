//! Nanoseconds per packet by `BPF_PROG_TEST_RUN`, for rows of the packet table.
//!
//! Each row's packet comes again and again from a hot cache; what the harness itself costs is the row `empty`,
//! and `net_ns` is without it. Rows are measured in turn, round after round, and the median is told, so that
//! other work on the machine touches all rows alike; and the least, which is what a packet costs while nothing else runs.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use edge_ebpf::abi::{Class, EgressOutcome, Limit, Outcome, bench, program};
use edge_tests::fixtures::packets::row;
use edge_tests::fixtures::smpp_refusal_rows::server_says;
use edge_tests::fixtures::world::{ACME_SOURCE, SERVER, SIP_PORT, Scenario};
use edge_tests::kernel::Kernel;
use edge_tests::packet::Frame;
use edge_tests::sip;
use edge_tests::smpp::enquire_link_responses;
use serde::Serialize;

/// Runs of one packet in one round.
const REPEAT: u32 = 20_000;
/// Rounds; the median of them is told, and the least.
const ROUNDS: usize = 71;
/// A limit that nothing here reaches.
const AMPLE: Limit = Limit { interval_ns: 1, burst_ns: 1_000_000_000 };
/// What one host serves in the row `sip_invite_1m_sources`.
const MANY_ACCOUNTS: u32 = 100_000;
/// See [`MANY_ACCOUNTS`].
const MANY_SOURCES: u32 = 1_000_000;

/// What is measured, in the order of the table.
const ROWS: &[Plan] = &[
    Plan::of("empty", "not_ours").program(program::EMPTY),
    Plan::of("bucket", "not_ours").program(bench::BUCKET),
    Plan::of("not_ours", "not_ours"),
    Plan::of("rtp", "rtp"),
    Plan::of("sip_options", "sip_options"),
    Plan::of("sip_invite_474", "sip_invite_474"),
    Plan::of("sip_invite_1095", "sip_invite_1095"),
    Plan::of("sip_over_limit", "sip_over_limit"),
    Plan::of("flood_drop", "flood_drop"),
    Plan::of("sip_response", "sip_response"),
    Plan::of("sip_unknown_source", "sip_unknown_source"),
    Plan::of("sip_invite_1m_sources", "sip_invite_474").many(),
    Plan::of("sip_new_call", "sip_invite_474").another_call(),
    Plan::of("sip_retransmission", "sip_invite_474").repeated(),
    Plan::of("sip_in_dialog", "sip_reinvite"),
    Plan::of("sip_refused_503", "sip_refused_503").restored(),
    Plan::of("sip_refused_503_checksum", "sip_refused_503_checksum").restored(),
    Plan::of("sip_refused_503_v6", "sip_refused_503_v6").restored(),
    Plan::of("sip_egress_response", "sip_invite_474").answered_by_server(),
    Plan::of("sip_tcp_invite_474", "sip_tcp_invite_474").rewound(),
    Plan::of("smpp_submit_1", "smpp_submit_1").rewound(),
    Plan::of("smpp_submit_10", "smpp_submit_10").rewound(),
    Plan::of("smpp_submit_13", "smpp_submit_13").rewound(),
    Plan::of("smpp_submit_30", "smpp_submit_30").rewound(),
    Plan::of("smpp_enquire_91", "smpp_enquire_91").rewound(),
    Plan::of("smpp_over_limit", "smpp_over_limit"),
    Plan::of("smpp_refused_1", "smpp_refused_1").taken_back(),
    Plan::of("smpp_refused_10", "smpp_refused_10").taken_back(),
    Plan::of("smpp_egress_resp_1", "smpp_refused_1").refusals_answered(1),
    Plan::of("smpp_egress_resp_10", "smpp_refused_10").refusals_answered(10),
];

/// One row of the report.
#[derive(Clone, Copy)]
struct Plan {
    /// Stable: part of the report.
    name: &'static str,
    /// The row of the packet table.
    packet: &'static str,
    program: &'static str,
    /// What is run for the share that is not the packet's own.
    twin: Option<&'static str>,
    many: bool,
    /// Whether it comes within the window of retransmissions.
    is_repeated: bool,
    /// Whether what is timed is the server's 200 to it.
    is_response: bool,
    /// Refused messages whose answers are timed; 0 where none are.
    answers: u32,
}

impl Plan {
    const fn of(name: &'static str, packet: &'static str) -> Self {
        Self {
            name,
            packet,
            program: program::INGRESS,
            twin: None,
            many: false,
            is_repeated: false,
            is_response: false,
            answers: 0,
        }
    }

    const fn restored(mut self) -> Self {
        self.program = bench::SIP;
        self.twin = Some(bench::RESTORE);
        self
    }

    /// What it costs to take the entry away again is part of the figure.
    const fn another_call(mut self) -> Self {
        self.program = bench::CALL;
        self
    }

    /// One in eleven is charged again: a request travels free ten times.
    const fn repeated(mut self) -> Self {
        self.is_repeated = true;
        self
    }

    const fn answered_by_server(mut self) -> Self {
        self.program = program::EGRESS;
        self.twin = Some(bench::EMPTY_EGRESS);
        self.is_response = true;
        self
    }

    /// Whether each run finds the state that the first found, and so must end alike.
    fn is_put_back(&self) -> bool {
        [bench::SMPP, bench::REFUSED, bench::ANSWERED].contains(&self.program)
    }

    const fn program(mut self, program: &'static str) -> Self {
        self.program = program;
        self
    }

    const fn rewound(mut self) -> Self {
        self.program = bench::SMPP;
        self.twin = Some(bench::REWIND);
        self
    }

    /// Refused each time, in memory that is warm.
    const fn taken_back(mut self) -> Self {
        self.program = bench::REFUSED;
        self.twin = Some(bench::TAKE_BACK);
        self
    }

    /// The packet is the server's: its answers to so many messages that were refused.
    const fn refusals_answered(mut self, answers: u32) -> Self {
        self.program = bench::ANSWERED;
        self.twin = Some(bench::UNHEAR);
        self.answers = answers;
        self
    }

    const fn many(mut self) -> Self {
        self.many = true;
        self
    }
}

/// One row of the report; `--json` prints an array of these.
#[derive(Debug, Serialize)]
struct Measured {
    row: &'static str,
    /// As measured, the harness's share included.
    ns: f64,
    /// Without `empty`, and without the rewinding where there is one.
    net_ns: f64,
    /// The same of the least of all rounds.
    least_net_ns: f64,
}

/// Instructions that the verifier walked for each program.
type Verified = Vec<(&'static str, u32)>;

fn main() -> Result<()> {
    let (options, names): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let json = options.iter().any(|option| option == "--json");
    let (measured, verified) = measure(&names)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&measured)?);
        return Ok(());
    }
    println!("{:<24}{:>10}{:>10}{:>14}", "row", "ns", "net ns", "least net ns");
    for row in &measured {
        println!("{:<24}{:>10.1}{:>10.1}{:>14.1}", row.row, row.ns, row.net_ns, row.least_net_ns);
    }
    println!(
        "\nBPF_PROG_TEST_RUN, {REPEAT} runs a round, median of {ROUNDS} rounds, rows interleaved, hot cache; \
         net ns: without `empty`.\n"
    );
    println!("instructions that the verifier walked, of a million for each program:");
    for (program, instructions) in verified {
        println!("{program:<24}{instructions:>10}");
    }
    Ok(())
}

/// Measures the rows of these names, or all where there are none.
fn measure(names: &[String]) -> Result<(Vec<Measured>, Verified)> {
    if let Some(unknown) = names.iter().find(|name| ROWS.iter().all(|plan| plan.name != **name)) {
        let known: Vec<&str> = ROWS.iter().map(|plan| plan.name).collect();
        bail!("no row is named {unknown}; there are: {}", known.join(", "));
    }
    let is_wanted =
        |plan: &&Plan| names.is_empty() || plan.name == "empty" || names.iter().any(|name| name == plan.name);
    let mut few = Kernel::load_sized(&[])?;
    let mut many =
        if ROWS.iter().any(|plan| plan.many && is_wanted(&plan)) { Some(load_many()?) } else { None };
    let (rows, missing): (Vec<&Plan>, Vec<&Plan>) =
        ROWS.iter().filter(is_wanted).partition(|plan| few.has_program(plan.program));
    for plan in missing {
        eprintln!("warning: {} is left out: the object has no program {}", plan.name, plan.program);
    }
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); rows.len()];
    let mut twins = times.clone();
    for round in 0..=ROUNDS {
        for (at, plan) in rows.iter().enumerate() {
            let kernel = match &mut many {
                Some(many) if plan.many => many,
                _ => &mut few,
            };
            let (time, twin) = run(kernel, plan)?;
            // The first round warms caches and the processor's clock.
            if round > 0 {
                times[at].push(time);
                twins[at].push(twin);
            }
        }
    }
    for of_row in times.iter_mut().chain(&mut twins) {
        of_row.sort_by(f64::total_cmp);
    }
    let mut measured = Vec::new();
    for (at, plan) in rows.iter().enumerate() {
        let share = if plan.twin.is_some() { &twins[at] } else { &times[0] };
        let net_of = |told: fn(&[f64]) -> f64| (told(&times[at]) - told(share)).max(0.0);
        measured.push(Measured {
            row: plan.name,
            ns: median(&times[at]),
            net_ns: net_of(median),
            least_net_ns: net_of(least),
        });
    }
    Ok((measured, few.verified_instructions()?))
}

/// Nanoseconds of one packet, and of its twin.
fn run(kernel: &mut Kernel, plan: &Plan) -> Result<(f64, f64)> {
    let row = row(plan.packet);
    // Without a window nothing is a retransmission, but each request is still remembered: the path of a new call.
    let repeat_window_ns = if plan.is_repeated { row.before.repeat_window_ns } else { 0 };
    let mut before = Scenario { repeat_window_ns, ..row.before };
    if plan.program == bench::SMPP {
        // Its buckets are part of what a message costs.
        before = before.account_limit(Class::SmppSubmit, AMPLE).source_limit(Class::SmppSubmit, AMPLE);
    }
    if !plan.many {
        kernel.prepare(&before)?;
    }
    let mut frame = row.frame;
    if plan.is_response {
        kernel.send(&frame)?;
        let payload = sip::response(200, "OK", "INVITE");
        frame = Frame::ipv4(SERVER, ACME_SOURCE).udp(SIP_PORT, SIP_PORT).payload(&payload).bytes();
    }
    if plan.answers != 0 {
        ensure!(kernel.send(&frame)?.outcome == Outcome::SmppRefused, "{}: not refused", plan.name);
        frame = server_says(&enquire_link_responses(plan.answers));
    }
    if [bench::SIP, bench::REFUSED, bench::ANSWERED].contains(&plan.program) {
        kernel.set_bench_frame(&frame)?;
    }
    let before = outcomes(kernel, plan, row.outcome)?;
    let time = kernel.time(plan.program, &frame, REPEAT)?;
    let judged = outcomes(kernel, plan, row.outcome)? - before;
    ensure!(!plan.is_put_back() || judged == u64::from(REPEAT), "{}: {judged} of {REPEAT} runs", plan.name);
    let twin = plan.twin.map_or(Ok(Duration::ZERO), |twin| kernel.time(twin, &frame, REPEAT))?;
    Ok((nanoseconds(time), nanoseconds(twin)))
}

/// How many packets have ended as those of the row are to end.
fn outcomes(kernel: &Kernel, plan: &Plan, outcome: Outcome) -> Result<u64> {
    Ok(if plan.program == bench::ANSWERED {
        kernel.egress_outcomes()?[EgressOutcome::SmppAnswered.index()]
    } else {
        kernel.outcomes()?[outcome.index()]
    })
}

fn load_many() -> Result<Kernel> {
    use edge_ebpf::abi::map;
    let mut kernel = Kernel::load_sized(&[
        (map::ACCOUNTS, MANY_ACCOUNTS + 1),
        (map::POLICIES, MANY_ACCOUNTS + 1),
        (map::ACCOUNT_NAMES, MANY_ACCOUNTS + 1),
        (map::SOURCES, 2 * MANY_SOURCES),
        (map::MEMBERS, 2 * MANY_ACCOUNTS),
    ])?;
    let scenario = Scenario { repeat_window_ns: 0, ..Scenario::open() };
    kernel.prepare(&scenario)?;
    kernel.fill_accounts(MANY_ACCOUNTS, scenario.acme)?;
    kernel.fill_sources(MANY_SOURCES, MANY_ACCOUNTS)?;
    Ok(kernel)
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

fn least(sorted: &[f64]) -> f64 {
    sorted.first().copied().unwrap_or(0.0)
}
