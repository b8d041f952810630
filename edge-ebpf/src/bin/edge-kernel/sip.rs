//! Datagrams of SIP: their judgement, the parser's loops, which `bpf_loop` drives, and what was judged before.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use edge_ebpf::abi::{IngressStage, Outcome, REPEAT_SETS_DEFAULT, Service};
use edge_ebpf::decide::{self, Settled};
use edge_ebpf::packet::Packet;
use edge_ebpf::repeat;
use edge_ebpf::wire::sip::{GRANT_STEPS_MAX, LINE_BYTES_MAX, LINES_MAX, PAYLOAD_BYTES_MAX, Scratch};
use edge_ebpf::wire::transport;

use crate::ingress::{count, go_on};
use crate::world::Kernel;
use crate::{answer, maps};

/// Lines that one call of a loop's body reads: most requests need no more, and a call costs as much as a short line.
const LINES_AT_ONCE: u32 = 4;

const _: () = assert!(LINES_MAX.is_multiple_of(LINES_AT_ONCE));

/// What the loops' bodies are given: on the stack, where `bpf_loop` wants it.
struct Turn {
    scratch: *mut Scratch,
}

/// Judges a datagram of SIP.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn edge_sip(ctx: XdpContext) -> u32 {
    let (Some(ports), Some(settings), Some(headers)) =
        (maps::PORTS.get(0), maps::SETTINGS.get(0), maps::HEADERS.get_ptr(0))
    else {
        return count(Outcome::Unjudged);
    };
    // SAFETY: this CPU's own value, which the program before has filled.
    let headers = unsafe { &*headers };
    let mut world = Kernel::new(&ctx, settings, ports);
    let outcome = match decide::enter(&mut world, headers, Service::SipUdp) {
        Ok((origin, now_ns)) => match decide::judge_datagram(&mut world, origin, headers, now_ns) {
            Settled::Ends(outcome) => outcome,
            Settled::Answer { refusal, fingerprint } => {
                answer::order(refusal, fingerprint, settings.retry_after_s, now_ns);
                go_on::<{ IngressStage::SipReply as u32 }>(&ctx);
                Outcome::Unjudged
            }
        },
        Err(outcome) => outcome,
    };
    count(outcome)
}

/// Reads a datagram's payload. `keys` are for hashes, and for the fingerprint. `None` if it is not in the frame.
#[inline(always)]
pub(crate) fn read<P: Packet>(
    packet: &P,
    transport: &transport::Header,
    keys: [u64; 2],
    prefix_digits: u32,
    hears: bool,
    answers: bool,
) -> Option<&'static Scratch> {
    let pointer = maps::SIP_SCRATCH.get_ptr_mut(0)?;
    // SAFETY: this CPU's own value; neither way in nor way out runs twice at once on a CPU.
    let scratch = unsafe { &mut *pointer };
    let length = (transport.end - transport.payload) as u64;
    let length = if length > u64::from(PAYLOAD_BYTES_MAX) { PAYLOAD_BYTES_MAX } else { length as u32 };
    if length != 0 && packet.copy_to(transport.payload, &mut scratch.bytes, length as usize).is_err() {
        return None;
    }
    scratch.length = length;
    let [hash_key, source_key] = keys;
    scratch.hash_key = hash_key;
    scratch.source_key = source_key;
    scratch.hears = hears;
    scratch.answers = answers;
    scratch.prefix_digits = prefix_digits;
    edge_parse_sip();
    // SAFETY: as above; the parser's own borrow has ended.
    Some(unsafe { &*pointer })
}

/// Parses what is in this CPU's scratch; 0 if there is none.
///
/// A global function, so that the verifier proves the parser once and by itself, and not again for each way
/// that leads from it: in place it is more than Linux 6.1 walks for one program.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_parse_sip() -> u64 {
    let Some(scratch) = maps::SIP_SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: as in `read`, whose borrow has ended.
    let scratch = unsafe { &mut *scratch };
    if scratch.begin().is_continue() {
        let mut turn = Turn { scratch };
        run(LINES_MAX / LINES_AT_ONCE, lines, &mut turn);
        if scratch.look_for_tag() {
            scratch.begin_tag_walk();
            run(LINE_BYTES_MAX, tag_byte, &mut turn);
            scratch.end_tag_walk();
        }
        if scratch.begin_whole() {
            run(LINES_MAX, whole_line, &mut turn);
        }
        scratch.look_for_cookie();
    }
    1
}

/// Reads caller and called of the request in this CPU's scratch, unless that was done.
#[inline(always)]
pub(crate) fn read_parties(scratch: &mut Scratch) {
    if scratch.has_parties() {
        return;
    }
    if !scratch.has_from() {
        run(LINES_MAX, from_line, &mut Turn { scratch });
    }
    scratch.read_parties();
}

/// Looks for a User-Agent in the lines of the request in this CPU's scratch that the parser has not read.
#[inline(always)]
pub(crate) fn find_agent(scratch: &mut Scratch) {
    if scratch.begin_agent() {
        run(LINES_MAX / LINES_AT_ONCE, agent_lines, &mut Turn { scratch });
    }
}

/// For how long the registrar has accepted a REGISTER by the answer in this CPU's scratch; `None` where it does not say.
#[inline(always)]
pub(crate) fn granted_s() -> Option<u32> {
    u32::try_from(edge_granted()).ok()
}

/// The same as a number, beyond 32 bits for `None`. A global function: of all that leaves, few read so far, and the
/// verifier proves it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_granted() -> u64 {
    const NOTHING: u64 = u64::MAX;
    let Some(scratch) = maps::SIP_SCRATCH.get_ptr_mut(0) else { return NOTHING };
    // SAFETY: as in `read`, whose borrow has ended.
    let scratch = unsafe { &mut *scratch };
    scratch.begin_grants();
    run(GRANT_STEPS_MAX, grant, &mut Turn { scratch });
    scratch.granted_s().map_or(NOTHING, u64::from)
}

/// Whether the branch of the request in this CPU's scratch is unique to its transaction.
#[inline(always)]
pub(crate) fn has_cookie() -> bool {
    // SAFETY: as in `read`.
    maps::SIP_SCRATCH.get_ptr(0).is_some_and(|scratch| unsafe { &*scratch }.has_cookie())
}

/// What became of the request that this one repeats.
#[inline(always)]
pub(crate) fn earlier(fingerprint: u64, window_ns: u64, now_ns: u64) -> Option<u64> {
    let set = maps::REPEATS.get_ptr_mut(repeat::set_of(fingerprint, REPEAT_SETS_DEFAULT))?;
    // SAFETY: a map value; its words are read and written one at a time, and a race costs a retransmission
    // its free passage, as the map's comment says.
    repeat::find(unsafe { &mut *set }, fingerprint, window_ns, now_ns)
}

/// Remembers what became of the request that was read.
#[inline(always)]
pub(crate) fn remember(request: &Scratch, fingerprint: u64, now_ns: u64) {
    // Without the cookie a branch may be anybody's: nothing travels free on it.
    if request.has_cookie() {
        remember_surely(fingerprint, now_ns);
    }
}

/// The same of what is no request, or one that is known by more than its branch.
#[inline(always)]
pub(crate) fn remember_surely(fingerprint: u64, now_ns: u64) {
    if let Some(set) = maps::REPEATS.get_ptr_mut(repeat::set_of(fingerprint, REPEAT_SETS_DEFAULT)) {
        // SAFETY: as in `earlier`.
        repeat::remember(unsafe { &mut *set }, fingerprint, now_ns);
    }
}

#[inline(always)]
fn run(turns: u32, body: extern "C" fn(u64, *mut c_void) -> i64, turn: &mut Turn) {
    // SAFETY: the helper calls `body` with `turn`, which lives on this function's stack meanwhile.
    unsafe { bpf_loop(turns, body as *const () as *mut c_void, core::ptr::from_mut(turn).cast(), 0) };
}

extern "C" fn lines(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: `run` passes a `Turn`, whose scratch outlives the loop.
    let scratch = unsafe { &mut *(*context.cast::<Turn>()).scratch };
    for _ in 0..LINES_AT_ONCE {
        if scratch.line().is_break() {
            return 1;
        }
    }
    0
}

extern "C" fn whole_line(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: as in `lines`.
    let scratch = unsafe { &mut *(*context.cast::<Turn>()).scratch };
    i64::from(scratch.whole_line_is_plain().is_break())
}

extern "C" fn from_line(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: as in `lines`.
    let scratch = unsafe { &mut *(*context.cast::<Turn>()).scratch };
    i64::from(scratch.from_line().is_break())
}

extern "C" fn agent_lines(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: as in `lines`.
    let scratch = unsafe { &mut *(*context.cast::<Turn>()).scratch };
    for _ in 0..LINES_AT_ONCE {
        if scratch.agent_line().is_break() {
            return 1;
        }
    }
    0
}

extern "C" fn grant(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: as in `lines`.
    let scratch = unsafe { &mut *(*context.cast::<Turn>()).scratch };
    i64::from(scratch.grant().is_break())
}

extern "C" fn tag_byte(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: as in `lines`.
    let scratch = unsafe { &mut *(*context.cast::<Turn>()).scratch };
    i64::from(scratch.tag_byte().is_break())
}
