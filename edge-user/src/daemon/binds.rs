//! SMPP sessions as the API shows them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use edge_ebpf::abi::{BindPhase, BindState, FlowKey, SystemId};
use edge_ebpf::wire::smpp::id as command;

use super::calls::{internal, unreadable};
use super::clock;
use super::state::Daemon;
use crate::api::types::{ApiError, LiveBind, LiveBindQuery};
use crate::config::UNKNOWN_ACCOUNT;
use crate::dataplane::{BindUse, Clocks, DataplaneError};
use crate::figures::milliseconds;

/// Binds of a list when the caller does not say how many, and at most.
const DEFAULT_LIMIT: u32 = 100;
const MOST: u32 = 10_000;

impl Daemon {
    /// `GET /v1/binds`, oldest first.
    pub(super) async fn live_binds(
        self: &Arc<Self>,
        query: &LiveBindQuery,
    ) -> Result<Vec<LiveBind>, ApiError> {
        let account = match &query.account {
            Some(name) => Some(self.number_of(name)?),
            None => None,
        };
        let most = query.limit.unwrap_or(DEFAULT_LIMIT).min(MOST) as usize;
        let daemon = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            let mut binds: Vec<_> = daemon.binds.held(account).into_iter().collect();
            binds.sort_by_key(|(key, bind)| (bind.requested_ns, key.source, key.source_port));
            binds.truncate(most);
            let used = |(key, bind)| Ok::<_, DataplaneError>((key, bind, daemon.binds.used(&key)?));
            binds.into_iter().map(used).collect::<Result<Vec<_>, _>>()
        });
        let binds = read.await.map_err(|error| internal(&error))?.map_err(|error| unreadable(&error))?;
        let (names, clocks) = (self.state().names(), clock::clocks());
        Ok(binds.iter().map(|(key, bind, used)| view(&names, &clocks, key, bind, used)).collect())
    }

    /// `GET /v1/binds/{id}`.
    pub(super) fn live_bind(&self, id: &str) -> Result<LiveBind, ApiError> {
        let key = key(id)?;
        let bind = self.binds.get(&key).map_err(|error| unreadable(&error))?;
        let bind = bind.ok_or_else(|| unknown(id))?;
        let used = self.binds.used(&key).map_err(|error| unreadable(&error))?;
        Ok(view(&self.state().names(), &clock::clocks(), &key, &bind, &used))
    }
}

fn view(
    names: &BTreeMap<u32, String>,
    clocks: &Clocks,
    key: &FlowKey,
    bind: &BindState,
    used: &BindUse,
) -> LiveBind {
    let phase = usize::try_from(bind.phase).ok().and_then(BindPhase::from_index);
    let (source, server) = ends(key);
    LiveBind {
        id: id(key),
        account: names.get(&bind.account).map_or(UNKNOWN_ACCOUNT, String::as_str).to_owned(),
        system_id: system_id(&bind.system_id),
        bind_type: match bind.command {
            command::BIND_TRANSMITTER => "transmitter",
            command::BIND_RECEIVER => "receiver",
            command::BIND_TRANSCEIVER => "transceiver",
            _ => "unknown",
        }
        .to_owned(),
        state: phase.map_or("unknown", BindPhase::name).to_owned(),
        source: source.to_string(),
        server: server.ip().to_string(),
        server_port: server.port(),
        age_secs: clocks.monotonic_ns.saturating_sub(bind.requested_ns) / 1_000_000_000,
        requested_at: clocks.wall_at(bind.requested_ns),
        bound_at: (bind.bound_ns != 0).then(|| clocks.wall_at(bind.bound_ns)),
        heard_at: used.heard_ns.map(|ns| clocks.wall_at(ns)),
        submitted: used.submitted,
        responded: used.responded,
        outstanding: used.outstanding(),
        server_link_ms: link_ms(bind.server_link_ns),
        client_link_ms: link_ms(bind.client_link_ns),
        refused: used.refused,
        answered: used.answered,
        unmatched: used.unmatched,
    }
}

/// Zero is that none is known.
fn link_ms(ns: u64) -> Option<f64> {
    (ns != 0).then(|| milliseconds(Duration::from_nanos(ns)))
}

/// Up to the zero; what a terminal would not show as it is, as `?`.
pub(super) fn system_id(octets: &SystemId) -> String {
    let shown = |octet: &u8| if octet.is_ascii_graphic() { char::from(*octet) } else { '?' };
    octets.iter().take_while(|octet| **octet != 0).map(shown).collect()
}

/// The client's end and the server's.
fn ends(key: &FlowKey) -> (SocketAddr, SocketAddr) {
    let end = |address: [u8; 16], port: [u8; 2]| {
        SocketAddr::new(Ipv6Addr::from(address).to_canonical(), u16::from_be_bytes(port))
    };
    (end(key.source, key.source_port), end(key.destination, key.destination_port))
}

/// Both ends of the connection: `203.0.113.7:40000-198.51.100.10:2775`.
fn id(key: &FlowKey) -> String {
    let (source, server) = ends(key);
    format!("{source}-{server}")
}

fn key(id: &str) -> Result<FlowKey, ApiError> {
    let ends = id.split_once('-').and_then(|(source, server)| {
        Some((source.parse::<SocketAddr>().ok()?, server.parse::<SocketAddr>().ok()?))
    });
    let (source, server) = ends.ok_or_else(|| unknown(id))?;
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    Ok(FlowKey {
        source: address(source.ip()),
        destination: address(server.ip()),
        source_port: source.port().to_be_bytes(),
        destination_port: server.port().to_be_bytes(),
    })
}

fn unknown(id: &str) -> ApiError {
    ApiError::new(
        "unknown_bind",
        format!("there is no bind `{id}`"),
        "`edgectl binds list` lists those there are",
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn sample() -> FlowKey {
        FlowKey {
            source: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 7],
            destination: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 51, 100, 10],
            source_port: 40_000_u16.to_be_bytes(),
            destination_port: 2775_u16.to_be_bytes(),
        }
    }

    #[test]
    fn an_id_names_the_connection_and_nothing_else_does() {
        assert_eq!(id(&sample()), "203.0.113.7:40000-198.51.100.10:2775");
        assert_eq!(key(&id(&sample())).unwrap(), sample());
        let mut six = sample();
        six.source = "2001:db8::7".parse::<Ipv6Addr>().unwrap().octets();
        assert_eq!(id(&six), "[2001:db8::7]:40000-198.51.100.10:2775");
        assert_eq!(key(&id(&six)).unwrap(), six);
        for wrong in ["", "203.0.113.7:40000", "203.0.113.7-198.51.100.10", "x-y"] {
            assert_eq!(key(wrong).unwrap_err().code, "unknown_bind", "{wrong}");
        }
    }

    #[test]
    fn a_system_id_is_shown_without_what_moves_a_terminal() {
        assert_eq!(system_id(b"ac\x1b[me\0\0\0\0\0\0\0\0\0\0"), "ac?[me");
        assert_eq!(system_id(&[b'a'; 16]), "a".repeat(16));
    }

    #[test]
    fn a_bind_that_waits_is_requested_and_one_without_an_account_unknown() {
        let clocks = Clocks { monotonic_ns: 90_000_000_000, wall: jiff::Timestamp::UNIX_EPOCH };
        let bind = BindState {
            phase: BindPhase::Requested as u32,
            account: 0,
            command: command::BIND_TRANSCEIVER,
            sequence: 1,
            system_id: *b"acme\0\0\0\0\0\0\0\0\0\0\0\0",
            requested_ns: 30_000_000_000,
            bound_ns: 0,
            server_link_ns: 1_500_000,
            client_link_ns: 0,
        };
        let shown = view(&BTreeMap::new(), &clocks, &sample(), &bind, &BindUse::default());
        assert_eq!((shown.state.as_str(), shown.account.as_str()), ("requested", UNKNOWN_ACCOUNT));
        assert_eq!((shown.bind_type.as_str(), shown.age_secs), ("transceiver", 60));
        assert_eq!((shown.server_link_ms, shown.client_link_ms), (Some(1.5), None));
        assert_eq!((shown.bound_at, shown.heard_at, shown.server_port), (None, None, 2775));
    }
}
