//! The way out: what the server says is the truth about calls and binds. Nothing is ever refused here.
//!
//! [`judge`] is generic over [`Outbound`] as [`crate::decide::judge`] is over its world: kernel and host run the
//! same decisions. The peer outside is the *destination* here, and the port of ours is the *source* port.

use crate::abi::{EgressOutcome, Method, Service, SourceKey};
use crate::decide::{is_foreign_port, service};
use crate::packet::Packet;
use crate::wire::{self, Headers, Reason, sip, transport};

/// A day: what is granted for longer counts for so long, as does what the settings say.
pub const GRANTED_S_MAX: u32 = 24 * 60 * 60;

/// State, clock and maps, as [`judge`] needs them. One value lives for one packet.
pub trait Outbound {
    /// Bits of [`Service`] that listen on a port.
    fn services(&self, port: u16) -> u8;

    /// Reads the datagram's payload as SIP.
    fn read_sip(&mut self, transport: &transport::Header) -> sip::Heard;

    /// Does to the call of the peer at `peer` what was heard ([`crate::calls::consequence`]), and counts what the
    /// server refused and accepted of it.
    fn hear(&mut self, peer: &SourceKey, heard: &sip::Heard);
}

/// Whether a glance at the frame shows that it is not ours.
#[inline(always)]
pub fn is_foreign<P: Packet + ?Sized>(packet: &P, services: impl FnOnce(u16) -> u8) -> bool {
    match wire::glance(packet) {
        Some((protocol, port, _)) => is_foreign_port(protocol, port, services),
        None => false,
    }
}

/// What was seen in a packet whose headers were read as `parsed` says.
#[inline(always)]
pub fn judge<O: Outbound>(world: &mut O, parsed: Result<(), Reason>, headers: &Headers) -> EgressOutcome {
    match parsed {
        Ok(()) => {}
        Err(Reason::Truncated) => return EgressOutcome::Truncated,
        Err(Reason::Foreign) => return EgressOutcome::NotOurs,
    }
    if headers.ip.is_later_fragment || headers.ip.is_too_deep {
        return EgressOutcome::Fragment;
    }
    let transport = &headers.transport;
    let services = world.services(u16::from_be_bytes(transport.source_port));
    let Some(service) = service(transport.is_tcp, services) else { return EgressOutcome::NotOurs };
    if headers.ip.is_fragment && transport.is_tcp {
        return EgressOutcome::Fragment;
    }
    match service {
        Service::SipUdp => judge_datagram(world, headers),
        Service::SipTcp => EgressOutcome::SipStream,
        Service::SmppTcp => EgressOutcome::SmppSegment,
        Service::SipTls | Service::SmppTls => EgressOutcome::TlsStream,
    }
}

#[inline(always)]
fn judge_datagram<O: Outbound>(world: &mut O, headers: &Headers) -> EgressOutcome {
    let heard = world.read_sip(&headers.transport);
    if matters(&heard) {
        world.hear(&headers.ip.destination, &heard);
    }
    match heard.kind {
        sip::Kind::Malformed | sip::Kind::Doubtful => EgressOutcome::SipMalformed,
        sip::Kind::Keepalive => EgressOutcome::SipKeepalive,
        sip::Kind::Response => EgressOutcome::SipResponse,
        sip::Kind::InDialog | sip::Kind::Initial | sip::Kind::Absorbed => EgressOutcome::SipRequest,
    }
}

/// Whether a message can change anything: most of what a server says cannot.
#[inline(always)]
const fn matters(heard: &sip::Heard) -> bool {
    match heard.kind {
        sip::Kind::Response => match heard.method {
            Method::Invite | Method::Bye | Method::Update | Method::Register => heard.status > 100,
            _ => is_rejection(heard.status),
        },
        sip::Kind::InDialog => matches!(heard.method, Method::Invite | Method::Bye | Method::Update),
        _ => false,
    }
}

/// Whether a message accepts a REGISTER.
#[must_use]
#[inline(always)]
pub const fn is_registration(heard: &sip::Heard) -> bool {
    matches!(heard.method, Method::Register) && heard.status >= 200 && heard.status < 300
}

/// Until when a source counts as registered whose REGISTER was accepted for `granted_s`, or for as long as the settings
/// say (0 is not at all) where the answer does not. It never counts for less than before: behind one address there may be
/// other phones, and what one gives up is not theirs.
#[must_use]
#[inline(always)]
pub const fn registered_until(
    before_ns: u64,
    granted_s: Option<u32>,
    registered_for_ns: u64,
    now_ns: u64,
) -> u64 {
    let lasts_ns = match granted_s {
        Some(_) if registered_for_ns == 0 => 0,
        Some(seconds) if seconds < GRANTED_S_MAX => seconds as u64 * 1_000_000_000,
        Some(_) => GRANTED_S_MAX as u64 * 1_000_000_000,
        None => registered_for_ns,
    };
    let until_ns = now_ns.wrapping_add(lasts_ns);
    if lasts_ns == 0 || before_ns > until_ns { before_ns } else { until_ns }
}

/// Whether a status says that who asked has no business here: what scanners get.
#[must_use]
#[inline(always)]
pub const fn is_rejection(status: u32) -> bool {
    matches!(status, 401 | 403 | 404 | 407)
}
