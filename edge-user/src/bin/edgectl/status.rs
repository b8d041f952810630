//! `edgectl status`.

use std::fmt::Write;
use std::path::Path;

use comfy_table::Cell;
use edge_user::api::client::Client;
use edge_user::api::types::{InterfaceStatus, MapStatus, Status};
use jiff::Timestamp;

use crate::failure::Failure;
use crate::output::{Output, Style, bad, good, warn};
use crate::text;

/// From this part of a map's room on, it is worth a colour.
const NEARLY_FULL: f64 = 0.8;

pub(crate) async fn run(socket: &Path, output: Output) -> Result<(), Failure> {
    let status = Client::new(socket)?.status().await?;
    let now = Timestamp::now();
    output.show(&status, |status, style| render(status, now, style))
}

fn render(status: &Status, now: Timestamp, style: Style) -> String {
    [
        head(status, now),
        interfaces(&status.interfaces, style),
        outcomes(status, style),
        maps(&status.maps, style),
    ]
    .join("\n\n")
}

fn head(status: &Status, now: Timestamp) -> String {
    let up = text::between(status.started_at, now);
    let mut head = format!(
        "edged {} (contract {}), mode {}, up {up}\n",
        status.version, status.abi_version, status.mode
    );
    let applied = text::time(status.config_applied_at);
    let _ = writeln!(head, "configuration  {}, applied {applied}", status.config_path);
    if let Some(error) = &status.config_error {
        let error = error.replace('\n', "\n               - ");
        let _ = writeln!(head, "               LAST RELOAD REFUSED, the older one is in force: {error}");
    }
    let _ = writeln!(head, "accounts       {}", status.accounts);
    let calls = &status.calls;
    let _ = write!(head, "calls          {} under way", calls.counted);
    let _ = match calls.corrected {
        0 => writeln!(head),
        slots => writeln!(head, "; {slots} SLOTS PUT RIGHT since the start: see `edgectl audit`"),
    };
    let _ = writeln!(
        head,
        "alerts         {} open, {} deliveries waiting",
        status.alerts_open, status.outbox_pending
    );
    for listener in &status.listeners {
        let Some(at) = listener.fallen_back_at else { continue };
        let _ = writeln!(
            head,
            "{:<14} PORT {} DROPS since {}: its server left {} refusals unanswered; `edgectl reload` lets it try again",
            listener.protocol,
            listener.port,
            text::time(at),
            listener.waiting,
        );
    }
    if status.events_lost > 0 {
        let _ = writeln!(head, "events         {} LOST: the ring buffer was full", status.events_lost);
    }
    let _ = write!(head, "store          {}", status.store);
    head
}

fn interfaces(interfaces: &[InterfaceStatus], style: Style) -> String {
    let mut table = style.table(&["<INTERFACE", "<XDP", "<ASKED", "<PINNED", "<WHY"]);
    for interface in interfaces {
        let mode = match interface.xdp_mode.as_str() {
            mode @ "native" => good(mode),
            mode @ "absent" => bad(mode),
            mode => warn(mode),
        };
        let repaired = interface.repaired.as_ref();
        let repaired =
            repaired.map(|it| format!("{} at {}: {} by somebody else", it.done, text::time(it.at), it.found));
        let why: Vec<String> = interface.reason.iter().cloned().chain(repaired).collect();
        let pinned = if interface.pinned { Cell::new("yes") } else { warn("no") };
        table.add_row(vec![
            Cell::new(&interface.name),
            mode,
            Cell::new(&interface.requested_mode),
            pinned,
            Cell::new(why.join("; ")),
        ]);
    }
    table.trim_fmt()
}

fn outcomes(status: &Status, style: Style) -> String {
    let mut outcomes: Vec<_> = status.outcomes.iter().collect();
    outcomes.sort_by_key(|(name, packets)| (std::cmp::Reverse(**packets), name.as_str()));

    let mut table = style.table(&["<OUTCOME", ">PACKETS", ">SHARE"]);
    for (name, packets) in outcomes {
        table.add_row(vec![
            name.clone(),
            packets.to_string(),
            text::percent(ratio(*packets, status.packets)),
        ]);
    }
    table.add_row(vec!["all".to_owned(), status.packets.to_string(), String::new()]);
    table.trim_fmt()
}

fn maps(maps: &[MapStatus], style: Style) -> String {
    let mut table = style.table(&["<MAP", ">ENTRIES", ">ROOM", ">FULL"]);
    for map in maps {
        let (entries, full) = match map.entries {
            None => ("-".to_owned(), Cell::new("-")),
            Some(entries) => {
                let share = ratio(entries, map.capacity);
                let full = text::percent(share);
                (entries.to_string(), if share >= NEARLY_FULL { warn(full) } else { Cell::new(full) })
            }
        };
        table.add_row(vec![Cell::new(&map.name), Cell::new(entries), Cell::new(map.capacity), full]);
    }
    table.trim_fmt()
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use edge_user::api::types::{CallsStatus, Repair};

    use super::*;

    #[test]
    fn a_status_reads_from_daemon_to_maps_and_names_what_is_wrong() -> Result<(), jiff::Error> {
        let status = Status {
            listeners: Vec::new(),
            version: "0.1.0".to_owned(),
            abi_version: 1,
            started_at: "2026-03-01T12:00:00Z".parse()?,
            config_applied_at: "2026-03-01T12:30:00Z".parse()?,
            config_path: "/etc/edge/edge.toml".to_owned(),
            config_error: Some(
                "the configuration has 2 problems\nmode: `x` is no mode\nports: empty".to_owned(),
            ),
            mode: "enforce".to_owned(),
            interfaces: vec![InterfaceStatus {
                name: "eth0".to_owned(),
                xdp_mode: "generic".to_owned(),
                requested_mode: "auto".to_owned(),
                reason: Some("the driver has no native XDP".to_owned()),
                egress: "tcx".to_owned(),
                pinned: true,
                repaired: Some(Repair {
                    at: "2026-03-01T12:40:00Z".parse()?,
                    found: "the link was detached".to_owned(),
                    done: "attached".to_owned(),
                }),
            }],
            accounts: 2,
            outcomes: BTreeMap::from([("a_few".to_owned(), 1), ("most".to_owned(), 3)]),
            packets: 4,
            calls: CallsStatus { counted: 12, held: 12, walked_at: None, corrected: 3 },
            maps: vec![
                MapStatus { name: "SOURCES".to_owned(), entries: Some(9), capacity: 10 },
                MapStatus { name: "EVENTS".to_owned(), entries: None, capacity: 4096 },
            ],
            alerts_open: 1,
            outbox_pending: 3,
            events_lost: 5,
            store: "ok".to_owned(),
        };
        let text = render(&status, "2026-03-01T15:12:05Z".parse()?, Style { color: false });
        assert_eq!(
            text,
            "\
edged 0.1.0 (contract 1), mode enforce, up 3h 12m 5s
configuration  /etc/edge/edge.toml, applied 2026-03-01T12:30:00Z
               LAST RELOAD REFUSED, the older one is in force: the configuration has 2 problems
               - mode: `x` is no mode
               - ports: empty
accounts       2
calls          12 under way; 3 SLOTS PUT RIGHT since the start: see `edgectl audit`
alerts         1 open, 3 deliveries waiting
events         5 LOST: the ring buffer was full
store          ok

INTERFACE  XDP      ASKED  PINNED  WHY
eth0       generic  auto   yes     the driver has no native XDP; attached at 2026-03-01T12:40:00Z: the link was detached by somebody else

OUTCOME  PACKETS   SHARE
most           3  75.0 %
a_few          1  25.0 %
all            4

MAP      ENTRIES  ROOM    FULL
SOURCES        9    10  90.0 %
EVENTS         -  4096       -"
        );
        Ok(())
    }
}
