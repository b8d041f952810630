//! What the two directions of SMPP share: a segment's scratch, how its connection is found, and the loops of its framing.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use edge_ebpf::abi::{BindState, FlowKey};
use edge_ebpf::binds::BindResponse;
use edge_ebpf::messages::{Answers, Excerpts, Receipts, Responses};
use edge_ebpf::native::{Delta, Judged};
use edge_ebpf::packet::Packet;
use edge_ebpf::stream::{self, Finding, Flow, Next, SCAN_STEPS, STEPS, Walk};
use edge_ebpf::wire::Headers;
use edge_ebpf::wire::transport::flag;

use crate::refusal::Prices;
use crate::senders::Senders;
use crate::tcp::Handover;
use crate::{binds, connection, maps};

/// What is too large for the stack.
pub(crate) struct Scratch {
    pub(crate) walk: Walk,
    /// Of the way in.
    pub(crate) handover: Handover,
    /// The direction at hand, and the other.
    pub(crate) key: FlowKey,
    pub(crate) reverse: FlowKey,
    pub(crate) prices: Prices,
    pub(crate) judged: Judged,
    /// Not 0 if messages are judged one by one.
    pub(crate) is_judged: u32,
    /// Bits of [`edge_ebpf::native::judging`].
    pub(crate) judging: u32,
    /// The client's acknowledgement.
    pub(crate) acknowledged: u32,
    /// What changes have added to the checksum.
    pub(crate) delta: Delta,
    /// What the server said of a bind.
    pub(crate) response: BindResponse,
    /// What the server said of messages.
    pub(crate) responses: Responses,
    /// First octets of the client's messages that leave a record.
    pub(crate) excerpts: Excerpts,
    /// What the server said of such messages.
    pub(crate) answers: Answers,
    /// The server's delivery receipts.
    pub(crate) receipts: Receipts,
    /// Senders that the account may not show.
    pub(crate) senders: Senders,
    /// `command_status` of the response to a refused message.
    pub(crate) status: u32,
    /// A bind that is new, before it is inserted.
    pub(crate) bind: BindState,
}

/// The body of a loop: `bpf_loop` hands it the turn's number and the loop's context.
pub(crate) type Body = extern "C" fn(u64, *mut c_void) -> i64;

/// Whether a segment may change something: it carries data, or begins or ends its connection.
#[inline(always)]
pub(crate) fn matters(headers: &Headers) -> bool {
    let transport = &headers.transport;
    transport.flags & (flag::SYN | flag::RST | flag::FIN) != 0 || transport.end != transport.payload
}

/// Finds the segment's flow and locks it; `outward`: 1 on the way out, else 0. Null: there is no flow to keep, and the
/// walk's finding says why.
#[inline(always)]
pub(crate) fn open(headers: &Headers, scratch: *mut Scratch, outward: u64, now_ns: u64) -> *mut Flow {
    // SAFETY: this CPU's own value.
    let Scratch { walk: trial, key, reverse, acknowledged, .. } = unsafe { &mut *scratch };
    connection::name(headers, key, reverse);
    let transport = &headers.transport;
    *acknowledged = transport.acknowledgement;
    let key: &FlowKey = key;
    if transport.flags & flag::RST != 0 {
        if let Some(flow) = maps::FLOWS.get_ptr(key)
            // SAFETY: a map value; where another CPU moves the flow on, the reset is not the next byte either.
            && unsafe { (*flow).ends_at(transport.sequence) }
        {
            binds::edge_end_connection(outward, 1);
            let _ = maps::FLOWS.remove(key);
        }
        trial.find(Finding::Repeated);
        return core::ptr::null_mut();
    }
    let Some(flow) = connection::find(key) else {
        trial.find(Finding::Truncated);
        return core::ptr::null_mut();
    };
    if !connection::lock(flow) {
        trial.find(Finding::BeyondHole);
        return core::ptr::null_mut();
    }
    // SAFETY: the flow is locked by us.
    let state = unsafe { &mut *flow };
    state.touched_ns = now_ns;
    let mut seq = transport.sequence;
    if transport.flags & flag::SYN != 0 {
        // The client's SYN begins the connection anew; the server's only agrees.
        let was_used = outward == 0 && state.bound | state.refusing != 0;
        if state.syn(seq) && was_used {
            binds::edge_end_connection(0, 1);
        }
        seq = seq.wrapping_add(1);
    }
    let len = (transport.end - transport.payload) as u32;
    trial.aim(stream::Segment { seq, payload: transport.payload as u32, len });
    flow
}

/// Walks the segment that the walk is aimed at: `scan` looks for a header where none is known, `step` reads one PDU.
#[inline(always)]
pub(crate) fn walk<P: Packet>(
    trial: &mut Walk,
    state: &Flow,
    digits: u32,
    packet: &P,
    (scan, step): (Body, Body),
    turn: *mut c_void,
) {
    trial.start(state, trial.segment(), digits);
    if trial.next() == Next::Scan {
        run(SCAN_STEPS, scan, turn);
        trial.scanned(packet);
    }
    if trial.next() == Next::Walk {
        run(STEPS, step, turn);
    }
}

#[inline(always)]
pub(crate) fn run(turns: u32, body: Body, turn: *mut c_void) {
    // SAFETY: the helper calls `body` with `turn`, which lives on the caller's stack meanwhile.
    unsafe { bpf_loop(turns, body as *const () as *mut c_void, turn, 0) };
}
