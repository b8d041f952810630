//! Drives the SMPP framing's loops with `bpf_loop`, under the flow's lock.

use core::ffi::c_void;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use edge_ebpf::abi::{AccountState, Class, Settings, SourceState};
use edge_ebpf::decide::{Bind, Framed, Opened, Scope};
use edge_ebpf::native::{Judged, PLACES, Refusals, Refuser, brings_old, ends_within_changed, judging};
use edge_ebpf::stream::{CALLED_MAX, Finding, Flow, Walk};
use edge_ebpf::verifier::opaque;
use edge_ebpf::wire::Headers;

use crate::accounts::Party;
use crate::messages::{self, Reader};
use crate::refusal::XdpSegment;
use crate::segment::{self, Scratch, run};
use crate::xdp_packet::XdpPacket;
use crate::{binds, connection, counters, maps, refusal, senders};

/// The segment at hand, from [`Segment::open`] to [`Segment::keep`] or [`Segment::forget`]: its flow is
/// locked meanwhile. Only pointers, because everything that changes must be in map memory; loops are
/// handed a copy.
///
/// Null while there is none: the verifier knows a null pointer for what it is, but not an `Option`'s flag.
pub(crate) struct Segment {
    pub(crate) frame: *mut xdp_md,
    pub(crate) scratch: *mut Scratch,
    pub(crate) flow: *mut Flow,
    /// The connection's, if messages were refused on it.
    pub(crate) refusals: *mut Refusals,
    pub(crate) source: *mut SourceState,
    pub(crate) account: *mut AccountState,
}

/// Times that a segment is judged: again where the connection's first refusal is in it.
const JUDGINGS: u64 = 2;

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
        Self {
            frame: opaque(0) as *mut xdp_md,
            scratch: opaque(0) as *mut Scratch,
            flow: opaque(0) as *mut Flow,
            refusals: opaque(0) as *mut Refusals,
            source: opaque(0) as *mut SourceState,
            account: opaque(0) as *mut AccountState,
        }
    }

    /// A segment whose connection was found and locked before.
    #[inline(always)]
    pub(crate) fn resume(&mut self, frame: *mut xdp_md, scratch: *mut Scratch, flow: *mut Flow) {
        self.frame = frame;
        self.scratch = scratch;
        self.flow = flow;
    }

    /// Whose buckets the segment's messages were charged to.
    #[inline(always)]
    pub(crate) fn belongs_to(&mut self, party: &Party) {
        self.source = party.source;
        self.account = party.account;
    }

    /// What the loops are given. A copy: where the address of the segment itself is known outside, LLVM keeps it, and the world
    /// around it, on the stack.
    #[inline(always)]
    fn copied(&self) -> Self {
        let Self { frame, scratch, flow, refusals, source, account } = *self;
        Self { frame, scratch, flow, refusals, source, account }
    }

    /// Finds the segment's connection and locks it.
    #[inline(always)]
    pub(crate) fn open(
        &mut self,
        frame: *mut xdp_md,
        headers: &Headers,
        generation: u32,
        now_ns: u64,
    ) -> Opened {
        if !segment::matters(headers) {
            return Opened::Carried;
        }
        let Some(scratch) = maps::SMPP_SCRATCH.get_ptr_mut(0) else { return Opened::Unkept };
        let flow = open(headers, scratch, generation, now_ns);
        if flow.is_null() {
            // SAFETY: this CPU's own value.
            return match unsafe { (*scratch).walk.finding() } {
                Finding::Repeated => Opened::Carried,
                Finding::BeyondHole => Opened::Busy,
                _ => Opened::Unkept,
            };
        }
        self.frame = frame;
        self.scratch = scratch;
        self.flow = flow;
        Opened::Open
    }

    /// The account of its bind; 0 if its source's holds.
    #[inline(always)]
    pub(crate) fn account_number(&self) -> u32 {
        // SAFETY: the flow is locked by us.
        if self.flow.is_null() { 0 } else { unsafe { (*self.flow).account } }
    }

    /// When the segment came.
    #[inline(always)]
    pub(crate) fn now_ns(&self) -> u64 {
        // SAFETY: this CPU's own value.
        if self.scratch.is_null() { 0 } else { unsafe { (*self.scratch).handover.now_ns } }
    }

    /// The port of the server.
    #[inline(always)]
    pub(crate) fn port(&self) -> u16 {
        if self.scratch.is_null() {
            return 0;
        }
        // SAFETY: this CPU's own value.
        u16::from_be_bytes(unsafe { (*self.scratch).key.destination_port })
    }

    /// Frames the segment on trial; [`framed`] tells what was found.
    #[inline(always)]
    pub(crate) fn frame(&mut self, party: &Party, how: u32, settings: &Settings, now_ns: u64) {
        if self.scratch.is_null() || self.flow.is_null() {
            return;
        }
        self.belongs_to(party);
        // SAFETY: this CPU's own value, and the flow is locked by us.
        let (scratch, state) = unsafe { (&mut *self.scratch, &mut *self.flow) };
        if state.refusing != 0 {
            let key = &scratch.key;
            match maps::REFUSALS.get_ptr_mut(key) {
                Some(refusals) => self.refusals = refusals,
                None => state.refusing = 0,
            }
        }
        scratch.judging = how;
        // SAFETY: a map value.
        let flags = unsafe { (*party.policy).flags };
        scratch.prices.reads = u32::from(messages::are_read(settings, flags));
        scratch.judged.clear();
        scratch.delta.0 = 0;
        if how & judging::NATIVE == 0 && self.refusals.is_null() {
            scratch.is_judged = 0;
            walk_plainly(&mut self.copied(), settings.prefix_digits);
            return;
        }
        scratch.is_judged = 1;
        scratch.prices.source = party.limit(Scope::Source, Class::SmppSubmit);
        scratch.prices.account = party.limit(Scope::Account, Class::SmppSubmit);
        scratch.prices.refusals = settings.refusals;
        scratch.prices.now_ns = now_ns;
        let mut turn = self.copied();
        for _ in 0..JUDGINGS {
            walk_judging(&mut turn, settings.prefix_digits);
            if scratch.judged.wants_refusals == 0 || refusal::edge_begin_refusals() == 0 {
                break;
            }
            // What was admitted before the first message that is to be refused is judged again with it.
            refusal::edge_give_back(party.source, party.account);
            let key = &scratch.key;
            let Some(refusals) = maps::REFUSALS.get_ptr_mut(key) else { break };
            self.refusals = refusals;
            turn.refusals = refusals;
        }
    }

    /// What became of its messages, where each was judged by itself.
    #[inline(always)]
    pub(crate) fn judged(&self) -> Judged {
        // SAFETY: this CPU's own value.
        if self.scratch.is_null() { Judged::default() } else { unsafe { (*self.scratch).judged } }
    }

    /// Whether there is a place for the bind that the segment brings.
    #[inline(always)]
    pub(crate) fn ask_bind(&self, party: &Party, is_suspended: bool) -> Bind {
        if self.scratch.is_null() {
            return Bind::Within;
        }
        // SAFETY: this CPU's own value.
        if unsafe { (*self.scratch).walk.tally.bind_command } == 0 {
            return Bind::Within;
        }
        if is_suspended {
            return Bind::Suspended;
        }
        match binds::edge_ask_bind(u64::from(party.number)) {
            0 => Bind::Within,
            1 => Bind::Over,
            _ => Bind::Suspended,
        }
    }

    /// Lets the segment through: the flow moves on, and the account has its PDUs. `false` if a called prefix
    /// found no room.
    #[inline(always)]
    pub(crate) fn keep(&mut self, party: &Party, settings: &Settings, now_ns: u64) -> bool {
        if self.scratch.is_null() || self.flow.is_null() {
            return true;
        }
        // SAFETY: this CPU's own value.
        let (walk, scratch) = unsafe { (&raw mut (*self.scratch).walk, &*self.scratch) };
        if scratch.delta.0 != 0 {
            refusal::edge_seal(self.frame);
        }
        if scratch.is_judged != 0 {
            // SAFETY: the flow is locked by us.
            scratch.judged.leave(unsafe { &mut *self.flow });
        }
        if scratch.judged.refused != 0 {
            refusal::count_refused(self.refusals, party.account, scratch, now_ns);
        }
        if scratch.prices.reads != 0 && scratch.senders.foreign != 0 {
            senders::edge_tell_senders(party.account, party.number, now_ns);
        }
        if scratch.walk.tally.bind_command != 0 && binds::edge_note_bind(u64::from(party.number), now_ns) != 0
        {
            // SAFETY: the flow is locked by us.
            unsafe { (*self.flow).bound = 1 };
        }
        move_on(walk, self.flow, party.account, party.number, settings.prefix_epoch)
    }

    /// The port of a connection that this segment shows not to be SMPP: once for each.
    #[inline(always)]
    pub(crate) fn unframed_port(&self) -> Option<u16> {
        if self.scratch.is_null() {
            return None;
        }
        // SAFETY: this CPU's own value.
        let scratch = unsafe { &*self.scratch };
        scratch.walk.unframes().then(|| u16::from_be_bytes(scratch.key.destination_port))
    }

    /// Drops the segment: TCP sends it again, and it is judged again.
    #[inline(always)]
    pub(crate) fn forget(&mut self) {
        if self.scratch.is_null() || self.flow.is_null() {
            return;
        }
        // SAFETY: this CPU's own value.
        let (walk, judged) = unsafe { (&raw mut (*self.scratch).walk, (*self.scratch).judged) };
        if judged.admitted | judged.observed | judged.refused != 0 {
            refusal::edge_give_back(self.source, self.account);
        }
        if judged.refused != 0 && !self.refusals.is_null() {
            undo(self.refusals, self.flow);
        }
        // SAFETY: the flow is locked by us, the walk is this CPU's own.
        unsafe { (*walk).refuse(&mut *self.flow) };
        connection::unlock(self.flow);
    }
}

/// What framing found.
#[inline(always)]
pub(crate) fn framed(scratch: &Scratch) -> Framed {
    Framed::by(&scratch.walk, scratch.is_judged != 0)
}

/// [`segment::open`] for the client's direction, whose bind's account is looked up anew where accounts have changed.
#[inline(always)]
fn open(headers: &Headers, scratch: *mut Scratch, generation: u32, now_ns: u64) -> *mut Flow {
    let flow = segment::open(headers, scratch, 0, now_ns);
    if flow.is_null() {
        return flow;
    }
    // SAFETY: the flow is locked by us.
    let state = unsafe { &mut *flow };
    if state.bound != 0 && state.generation != generation {
        let found = binds::edge_resolve_bind();
        state.account = found as u32;
        state.bound = (found >> 32) as u32;
        state.generation = generation;
    }
    flow
}

#[inline(always)]
fn begin_reading(segment: &Segment) {
    // SAFETY: this CPU's own value.
    if unsafe { (*segment.scratch).prices.reads } != 0 {
        messages::edge_begin_reading(segment.flow);
    }
}

/// Walks the segment.
#[inline(always)]
fn walk_plainly(segment: &mut Segment, digits: u32) {
    // SAFETY: this CPU's own value, and the flow is locked by us.
    let (trial, state) = unsafe { (&mut (*segment.scratch).walk, &*segment.flow) };
    let turn = core::ptr::from_mut(segment).cast();
    begin_reading(segment);
    let packet = &XdpPacket(&XdpContext::new(segment.frame));
    segment::walk(trial, state, digits, packet, (scan_step, step), turn);
}

/// Walks the segment, judges each message on the way, and changes what was refused before.
#[inline(always)]
fn walk_judging(segment: &mut Segment, digits: u32) {
    // SAFETY: this CPU's own value, and the flow is locked by us.
    let (trial, state) = unsafe { (&mut (*segment.scratch).walk, &*segment.flow) };
    let turn = core::ptr::from_mut(segment).cast();
    let at_hand = trial.segment();
    // SAFETY: as above.
    unsafe { (*segment.scratch).judged.begin(state) };
    begin_reading(segment);
    if !segment.refusals.is_null() && at_hand.len != 0 {
        if brings_old(state, at_hand) {
            run(PLACES as u32 + 1, refusal::disguise_again, turn);
        } else if ends_within_changed(state) {
            refusal::disguise_current(segment);
        }
    }
    let packet = &XdpPacket(&XdpContext::new(segment.frame));
    segment::walk(trial, state, digits, packet, (scan_step, judging_step), turn);
}

/// Takes back what was refused in a segment that is dropped. By a call: the loop's context would be on the stack of all others.
#[inline(never)]
fn undo(refusals: *mut Refusals, flow: *mut Flow) {
    let mut turn = Segment { flow, refusals, ..Segment::none() };
    // With the place of one that is cut.
    run(PLACES as u32 + 1, refusal::undo, (&raw mut turn).cast());
}

/// Moves the flow on, unlocks it, and counts PDUs by command and messages by called prefix. What ends with the segment is
/// ended. `false` if a called prefix found no room.
#[inline(always)]
fn move_on(walk: *mut Walk, flow: *mut Flow, account: *mut AccountState, number: u32, epoch: u32) -> bool {
    // SAFETY: the flow is locked by us, the walk is this CPU's own.
    let (trial, state) = unsafe { (&*walk, &mut *flow) };
    trial.commit(state);
    if trial.tally.answers_enquiry() {
        binds::edge_hear_link(0, state.touched_ns);
    }
    if state.bound | state.refusing != 0 && connection::ends(trial, state) {
        binds::edge_end_connection(0, 0);
        state.bound = 0;
        state.account = 0;
    }
    connection::unlock(flow);
    let tally = &trial.tally;
    counters::commands(account, tally);
    let used = tally.called_used;
    if used == 0 {
        return tally.called_missed == 0;
    }
    // Most segments call one prefix: that one without the loop's machinery.
    let first = tally.called[0];
    let found = counters::called(number, epoch, first.prefix, u64::from(first.count));
    if used == 1 {
        return found;
    }
    let mut turn = CalledTurn { walk, account: number, epoch, missed: u64::from(tally.called_missed) };
    run(used - 1, called, (&raw mut turn).cast());
    found && turn.missed == 0
}

extern "C" fn step(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: `run` passes a `Segment`; what it points to outlives the loop.
    let turn = unsafe { &*context.cast::<Segment>() };
    // SAFETY: map values, and the flow is locked by us.
    let (walk, flow) = unsafe { (&mut (*turn.scratch).walk, &*turn.flow) };
    // SAFETY: as above.
    let mut witness = Reader { reads: unsafe { (*turn.scratch).prices.reads } };
    i64::from(walk.step(flow, &XdpPacket(&XdpContext::new(turn.frame)), &mut witness).is_break())
}

extern "C" fn judging_step(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: as in `step`.
    let turn = unsafe { &*context.cast::<Segment>() };
    // SAFETY: as in `step`; what the witness changes of the scratch is not in the walk.
    let (scratch, flow) = unsafe { (&mut *turn.scratch, &*turn.flow) };
    let mut judge = XdpSegment {
        frame: turn.frame,
        segment: scratch.walk.segment(),
        prices: &scratch.prices,
        source: turn.source,
        account: turn.account,
    };
    let refusals = if turn.refusals.is_null() {
        None
    } else {
        // SAFETY: a map value; its places are taken under the lock of our flow.
        Some(unsafe { &mut *turn.refusals })
    };
    let mut witness = Refuser {
        judge: &mut judge,
        refusals,
        judged: &mut scratch.judged,
        acknowledged: scratch.acknowledged,
        judging: scratch.judging,
    };
    let walk = &mut scratch.walk;
    i64::from(walk.step(flow, &XdpPacket(&XdpContext::new(turn.frame)), &mut witness).is_break())
}

extern "C" fn scan_step(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: as in `step`.
    let turn = unsafe { &*context.cast::<Segment>() };
    // SAFETY: as above, this CPU's own value.
    let walk = unsafe { &mut (*turn.scratch).walk };
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
