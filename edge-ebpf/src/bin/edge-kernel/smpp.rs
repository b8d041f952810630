//! Drives the SMPP framing's loops with `bpf_loop`, under the flow's lock.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_NOEXIST, xdp_md};
use aya_ebpf::helpers::generated::bpf_loop;
use aya_ebpf::programs::XdpContext;
use edge_ebpf::abi::{AccountState, FlowKey, Settings};
use edge_ebpf::decide::Framed;
use edge_ebpf::stream::{self, CALLED_MAX, Finding, Flow, Next, Nobody, SCAN_STEPS, STEPS, Walk};
use edge_ebpf::verifier::opaque;
use edge_ebpf::wire::Headers;
use edge_ebpf::wire::transport::flag;

use crate::accounts::Party;
use crate::xdp_packet::XdpPacket;
use crate::{atomic, counters, maps};

/// Tries to lock a flow: about a microsecond. A connection comes over one queue, so the other CPU is one that
/// the sender's process just left; it needs less than that.
const LOCK_TRIES: usize = 128;

/// The segment at hand, from [`Segment::frame`] to [`Segment::keep`] or [`Segment::forget`]: its flow is
/// locked meanwhile.
///
/// Null while there is none: the verifier knows a null pointer for what it is, but not an `Option`'s flag.
pub(crate) struct Segment {
    walk: *mut Walk,
    flow: *mut Flow,
}

/// What is too large for the stack.
pub(crate) struct Scratch {
    walk: Walk,
    key: FlowKey,
}

/// What the loops' bodies are given: on the stack, where `bpf_loop` wants it. Only pointers: everything that
/// changes is in the walk, in map memory.
struct Turn {
    frame: *mut xdp_md,
    walk: *mut Walk,
    flow: *mut Flow,
}

/// What the loop over called prefixes is given.
struct CalledTurn {
    walk: *mut Walk,
    account: u32,
    epoch: u32,
    missed: u64,
}

impl Segment {
    /// None yet. The nulls are hidden from the optimiser: it would have `memset` write them, byte by byte, and
    /// then the verifier does not know them for nulls.
    #[inline(always)]
    pub(crate) fn none() -> Self {
        Self { walk: opaque(0) as *mut Walk, flow: opaque(0) as *mut Flow }
    }

    /// Frames the segment on trial.
    #[inline(always)]
    pub(crate) fn frame(&mut self, ctx: &XdpContext, headers: &Headers, settings: &Settings) -> Framed {
        let transport = &headers.transport;
        let is_plain = transport.flags & (flag::SYN | flag::RST) == 0;
        if is_plain && transport.end == transport.payload {
            return Framed::Carried;
        }
        let Some(scratch) = maps::SMPP_SCRATCH.get_ptr_mut(0) else { return Framed::Unkept };
        let flow = frame(ctx.ctx, headers, scratch, settings.prefix_digits);
        // SAFETY: within this CPU's own value.
        let walk = unsafe { &raw mut (*scratch).walk };
        if flow.is_null() {
            // SAFETY: this CPU's own value.
            return match unsafe { (*walk).finding() } {
                Finding::Repeated => Framed::Carried,
                Finding::BeyondHole => Framed::Busy,
                _ => Framed::Unkept,
            };
        }
        *self = Self { walk, flow };
        // SAFETY: as above.
        Framed::by(unsafe { &*walk })
    }

    /// Lets the segment through: the flow moves on, and the account has its PDUs. `false` if a called prefix
    /// found no room.
    #[inline(always)]
    pub(crate) fn keep(&mut self, party: &Party, settings: &Settings, admitted: bool) -> bool {
        if self.walk.is_null() || self.flow.is_null() {
            return true;
        }
        edge_keep_segment(self.walk, self.flow, party.account);
        !admitted || edge_count_called(self.walk, party.number, settings.prefix_epoch) != 0
    }

    /// The port of a connection that this segment shows not to be SMPP: once for each.
    #[inline(always)]
    pub(crate) fn unframed_port(&self) -> Option<u16> {
        // SAFETY: this CPU's own value.
        if self.walk.is_null() || !unsafe { (*self.walk).unframes() } {
            return None;
        }
        let scratch = maps::SMPP_SCRATCH.get_ptr(0)?;
        // SAFETY: as above.
        Some(u16::from_be_bytes(unsafe { (*scratch).key.destination_port }))
    }

    /// Drops the segment: TCP sends it again, and it is judged again.
    #[inline(always)]
    pub(crate) fn forget(&mut self) {
        if !self.walk.is_null() && !self.flow.is_null() {
            edge_forget_segment(self.walk, self.flow);
        }
    }
}

/// Finds the segment's flow, locks it and walks the segment. Null: there is no flow to keep, and the walk's
/// finding says why.
///
/// A function of its own, because the stack of the program that calls it is full.
#[inline(never)]
fn frame(ctx: *mut xdp_md, headers: &Headers, scratch: *mut Scratch, digits: u32) -> *mut Flow {
    // SAFETY: this CPU's own value.
    let Scratch { walk: trial, key } = unsafe { &mut *scratch };
    let transport = &headers.transport;
    key.source = headers.ip.source;
    key.destination = headers.ip.destination;
    key.source_port = transport.source_port;
    key.destination_port = transport.destination_port;
    let key: &FlowKey = key;
    if transport.flags & flag::RST != 0 {
        if let Some(flow) = maps::FLOWS.get_ptr(key)
            // SAFETY: a map value; where another CPU moves the flow on, the reset is not the next byte either.
            && unsafe { (*flow).ends_at(transport.sequence) }
        {
            let _ = maps::FLOWS.remove(key);
        }
        trial.find(Finding::Repeated);
        return core::ptr::null_mut();
    }
    let Some(flow) = find(key) else {
        trial.find(Finding::Truncated);
        return core::ptr::null_mut();
    };
    if !lock(flow) {
        trial.find(Finding::BeyondHole);
        return core::ptr::null_mut();
    }

    // SAFETY: the flow is locked by us.
    let state = unsafe { &mut *flow };
    let mut seq = transport.sequence;
    if transport.flags & flag::SYN != 0 {
        state.syn(seq);
        seq = seq.wrapping_add(1);
    }
    let len = (transport.end - transport.payload) as u32;
    let mut turn = Turn { frame: ctx, walk: trial, flow };
    trial.start(state, stream::Segment { seq, payload: transport.payload as u32, len }, digits);
    if trial.next() == Next::Scan {
        run(SCAN_STEPS, scan_step, (&raw mut turn).cast());
        trial.scanned(&XdpPacket(&XdpContext::new(ctx)));
    }
    if trial.next() == Next::Walk {
        run(STEPS, step, (&raw mut turn).cast());
    }
    flow
}

// The three that follow are global functions, so that the verifier proves each once and by itself, and not
// again at the end of each way that leads to them. It asks them to check their pointers.

/// Moves the flow on, unlocks it, and counts PDUs by command.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_keep_segment(walk: *mut Walk, flow: *mut Flow, account: *mut AccountState) -> u64 {
    if walk.is_null() || flow.is_null() || account.is_null() {
        return 0;
    }
    // SAFETY: the flow is locked by us, the walk is this CPU's own.
    let (trial, state) = unsafe { (&*walk, &mut *flow) };
    trial.commit(state);
    unlock(flow);
    counters::commands(account, trial.tally.commands_seen, &trial.tally.commands);
    1
}

/// Counts called prefixes. 0 if one found no room.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_count_called(walk: *mut Walk, account: u32, epoch: u32) -> u64 {
    if walk.is_null() {
        return 0;
    }
    // SAFETY: this CPU's own value.
    let tally = unsafe { &(*walk).tally };
    let used = tally.called_used;
    if used == 0 {
        return u64::from(tally.called_missed == 0);
    }
    // Most segments call one prefix: that one without the loop's machinery.
    let first = tally.called[0];
    let found = counters::called(account, epoch, first.prefix, u64::from(first.count));
    if used == 1 {
        return u64::from(found);
    }
    let mut turn = CalledTurn { walk, account, epoch, missed: u64::from(tally.called_missed) };
    run(used - 1, called, (&raw mut turn).cast());
    u64::from(found && turn.missed == 0)
}

/// Leaves the flow as it was, but for the drop, and unlocks it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_forget_segment(walk: *mut Walk, flow: *mut Flow) -> u64 {
    if walk.is_null() || flow.is_null() {
        return 0;
    }
    // SAFETY: the flow is locked by us, the walk is this CPU's own.
    unsafe { (*walk).refuse(&mut *flow) };
    unlock(flow);
    1
}

/// The flow's entry; one that is not known is made.
#[inline(always)]
fn find(key: &FlowKey) -> Option<*mut Flow> {
    if let Some(flow) = maps::FLOWS.get_ptr_mut(key) {
        return Some(flow);
    }
    let fresh = maps::FRESH_FLOW.get_ptr_mut(0)?;
    // SAFETY: this CPU's own value; all that is not written here is zero in it, always.
    let fresh = unsafe { &mut *fresh };
    fresh.begin_midstream();
    // Another CPU may have been first; then its entry is found below.
    let fresh: &Flow = fresh;
    let _ = maps::FLOWS.insert(key, fresh, u64::from(BPF_NOEXIST));
    maps::FLOWS.get_ptr_mut(key)
}

#[inline(always)]
fn lock(flow: *mut Flow) -> bool {
    // SAFETY: within the map value.
    let lock = unsafe { &raw mut (*flow).lock };
    for _ in 0..LOCK_TRIES {
        if atomic::compare_exchange(lock, 0, 1).1 {
            return true;
        }
    }
    false
}

#[inline(always)]
fn unlock(flow: *mut Flow) {
    // SAFETY: within the map value.
    let lock = unsafe { &raw mut (*flow).lock };
    // With full ordering: what was written to the flow is seen by whoever locks it next.
    atomic::compare_exchange(lock, 1, 0);
}

#[inline(always)]
fn run(turns: u32, body: extern "C" fn(u64, *mut c_void) -> i64, turn: *mut c_void) {
    // SAFETY: the helper calls `body` with `turn`, which lives on the caller's stack meanwhile.
    unsafe { bpf_loop(turns, body as *const () as *mut c_void, turn, 0) };
}

extern "C" fn step(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: `run` passes a `Turn`; what it points to outlives the loop, as in `Segment::frame`.
    let turn = unsafe { &*context.cast::<Turn>() };
    // SAFETY: as in `step`: map values, and the flow is locked by us.
    let (walk, flow) = unsafe { (&mut *turn.walk, &*turn.flow) };
    i64::from(walk.step(flow, &XdpPacket(&XdpContext::new(turn.frame)), &mut Nobody).is_break())
}

extern "C" fn scan_step(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: as in `step`.
    let turn = unsafe { &*context.cast::<Turn>() };
    // SAFETY: as above, this CPU's own value.
    let walk = unsafe { &mut *turn.walk };
    i64::from(walk.scan_step(&XdpPacket(&XdpContext::new(turn.frame))).is_break())
}

extern "C" fn called(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `run` passes a `CalledTurn`; its walk outlives the loop.
    let turn = unsafe { &mut *context.cast::<CalledTurn>() };
    // SAFETY: as above, this CPU's own value.
    let walk = unsafe { &*turn.walk };
    // The first was counted before the loop.
    let index = opaque(index + 1) as usize;
    if index >= CALLED_MAX {
        return 1;
    }
    let called = walk.tally.called[index];
    if !counters::called(turn.account, turn.epoch, called.prefix, u64::from(called.count)) {
        turn.missed += u64::from(called.count);
    }
    0
}
