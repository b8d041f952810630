//! Answers sent from XDP: the message is made in a map value, headers and all, and stored over the packet at once.

use core::ffi::c_void;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{
    bpf_csum_diff, bpf_loop, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes,
    bpf_xdp_store_bytes,
};
use aya_ebpf::programs::XdpContext;
use edge_ebpf::verifier::opaque;
use edge_ebpf::wire::Headers;
use edge_ebpf::wire::sip::{Code, Hands, LINES_MAX, REPLY_AT, Reply, Saying, Scratch};

use crate::maps;

/// Headers of a packet that can be answered: Ethernet with up to two tags, IPv4 without options or IPv6 without
/// extensions, UDP.
const HEADERS_BYTES_MIN: u64 = 14 + 20 + 8;
const HEADERS_BYTES_MAX: u64 = 22 + 40 + 8;
/// Bytes that one call sums up before kernel 6.13 (`net/core/filter.c`, `bpf_csum_diff`).
const SUM_BYTES_MAX: u32 = 512;
const SUMS_MAX: u32 = 5;
const UDP: u16 = 17;
/// Time to live, or hop limit (RFC 1700).
const HOPS: u16 = 64;

/// What the loop's body is given: on the stack, where `bpf_loop` wants it.
struct Turn {
    scratch: *mut Scratch,
    reply: *mut Reply,
}

/// Turns the packet into an answer. `false` if it has none; it is to be dropped then, for it may be damaged.
#[inline(always)]
pub(crate) fn answer(ctx: &XdpContext, code: Code, retry_after_s: u32) -> bool {
    edge_make_answer(code as u64, u64::from(retry_after_s)) != 0 && edge_send_answer(ctx.ctx) != 0
}

/// Makes the message in this CPU's `REPLY`, of the request in its `SIP_SCRATCH`; 0 if it has no answer.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_make_answer(code: u64, retry_after_s: u64) -> u64 {
    let (Some(scratch), Some(reply), Some(headers)) =
        (maps::SIP_SCRATCH.get_ptr_mut(0), maps::REPLY.get_ptr_mut(0), maps::HEADERS.get_ptr(0))
    else {
        return 0;
    };
    let code = match code {
        1 => Code::SourceRate,
        2 => Code::AccountRate,
        3 => Code::AccountCalls,
        4 => Code::TrunkCalls,
        5 => Code::Suspended,
        _ => Code::CallerId,
    };
    // SAFETY: this CPU's own values; XDP does not run twice at once on a CPU.
    let (request, message, headers) = unsafe { (&mut *scratch, &mut *reply, &*headers) };
    let transport = &headers.transport;
    let saying = Saying {
        code,
        source: &headers.ip.source,
        source_port: u16::from_be_bytes(transport.source_port),
        is_ipv6: headers.ip.is_ipv6,
    };
    message.begin(request, &saying);
    let mut turn = Turn { scratch, reply };
    // SAFETY: the helper calls `line` with `turn`, which lives on this function's stack meanwhile.
    unsafe { bpf_loop(LINES_MAX, line as *const () as *mut c_void, (&raw mut turn).cast(), 0) };
    // SAFETY: as above; the loop's borrows have ended.
    let (request, message) = unsafe { (&*scratch, &mut *reply) };
    u64::from(message.write(request, &mut Apart, code, retry_after_s as u32))
}

extern "C" fn line(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: `edge_make_answer` passes a `Turn`, whose map values outlive the loop.
    let turn = unsafe { &*context.cast::<Turn>() };
    // SAFETY: as above.
    let (scratch, reply) = unsafe { (&mut *turn.scratch, &mut *turn.reply) };
    i64::from(reply.check_line(scratch).is_break())
}

/// The machine's loops, each proven once.
struct Apart;

impl Hands for Apart {
    #[inline(always)]
    fn copy(&mut self, reply: &mut Reply, scratch: &Scratch, at: u32, from: u32, to: u32) -> u32 {
        edge_copy_to_answer(reply, scratch, u64::from(at), u64::from(from), u64::from(to)) as u32
    }

    #[inline(always)]
    fn read_via(&mut self, reply: &mut Reply, scratch: &Scratch, value: u32, end: u32) -> bool {
        edge_read_via(reply, scratch, u64::from(value), u64::from(end)) != 0
    }
}

/// [`Reply::copy`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_copy_to_answer(
    reply: *mut Reply,
    scratch: *const Scratch,
    at: u64,
    from: u64,
    to: u64,
) -> u64 {
    if reply.is_null() || scratch.is_null() {
        return 0;
    }
    // SAFETY: `Apart` passes references.
    let (reply, scratch) = unsafe { (&mut *reply, &*scratch) };
    u64::from(reply.copy(scratch, at as u32, from as u32, to as u32))
}

/// [`Reply::read_via`]; 0 for `false`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_read_via(reply: *mut Reply, scratch: *const Scratch, value: u64, end: u64) -> u64 {
    if reply.is_null() || scratch.is_null() {
        return 0;
    }
    // SAFETY: as in `edge_copy_to_answer`.
    let (reply, scratch) = unsafe { (&mut *reply, &*scratch) };
    u64::from(reply.read_via(scratch, value as u32, end as u32))
}

/// Puts headers before the message and stores both over the packet; 0 if that cannot be.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_send_answer(ctx: *mut xdp_md) -> u64 {
    let (Some(reply), Some(headers)) = (maps::REPLY.get_ptr_mut(0), maps::HEADERS.get_ptr(0)) else {
        return 0;
    };
    // SAFETY: this CPU's own values.
    let (reply, headers) = unsafe { (&mut *reply, &*headers) };
    // Two bounds, each on a register that LLVM knows nothing of: it would make one comparison of a difference of
    // them, from which the verifier of 6.1 learns nothing about the value itself.
    let payload = opaque(headers.transport.payload as u64);
    if payload < HEADERS_BYTES_MIN {
        return 0;
    }
    let payload = opaque(payload);
    if payload > HEADERS_BYTES_MAX {
        return 0;
    }
    let length = opaque(u64::from(reply.length));
    if length > 2048 {
        return 0;
    }
    let port = reply.port as u16;
    let bytes = reply.bytes.as_mut_ptr();
    let front = u64::from(REPLY_AT) - payload;
    // SAFETY: `front + payload` is `REPLY_AT`, within the buffer.
    if unsafe { bpf_xdp_load_bytes(ctx, 0, bytes.add(front as usize).cast(), payload as u32) } != 0 {
        return 0;
    }
    let mut frame = Front { bytes };
    if !frame.turn_round(headers, front as u32, length as u32, port) {
        return 0;
    }
    let whole = payload + length;
    // SAFETY: a helper on the packet at hand.
    let before = unsafe { bpf_xdp_get_buff_len(ctx) };
    // SAFETY: as above; the packet becomes shorter, as `Reply::finish` has seen to.
    if unsafe { bpf_xdp_adjust_tail(ctx, (whole.cast_signed() - before.cast_signed()) as i32) } != 0 {
        return 0;
    }
    // SAFETY: `front + whole` is at most `REPLY_AT + 2048`, within the buffer.
    u64::from(unsafe { bpf_xdp_store_bytes(ctx, 0, bytes.add(front as usize).cast(), whole as u32) } == 0)
}

/// The part of the buffer that holds headers.
struct Front {
    bytes: *mut u8,
}

impl Front {
    /// Swaps addresses and ports, and writes lengths and checksums. `false` for headers that are not answered.
    #[inline(always)]
    fn turn_round(&mut self, headers: &Headers, front: u32, length: u32, port: u16) -> bool {
        const UDP_AT: u32 = REPLY_AT - 8;
        let ip_bytes = if headers.ip.is_ipv6 { 40 } else { 20 };
        let ip = UDP_AT - ip_bytes;
        // Where the frame would begin for each number of tags: anything else has options or extensions.
        let link = ip - front;
        if link != 14 && link != 18 && link != 22 {
            return false;
        }
        let udp_length = length as u16 + 8;
        let had_sum = self.get(UDP_AT + 6) != 0;
        for half in [0, 2, 4] {
            self.swap(front + half, front + 6 + half);
        }
        let addresses = if headers.ip.is_ipv6 {
            if self.get(ip - 2) != 0x86dd || self.get(ip + 6) >> 8 != UDP {
                return false;
            }
            self.put(ip + 4, udp_length);
            self.put(ip + 6, UDP << 8 | HOPS);
            for half in 0..8 {
                self.swap(ip + 8 + 2 * half, ip + 24 + 2 * half);
            }
            ip + 8
        } else {
            if self.get(ip - 2) != 0x0800 || self.get(ip) >> 8 != 0x45 {
                return false;
            }
            self.put(ip + 2, udp_length + 20);
            self.put(ip + 8, HOPS << 8 | UDP);
            self.put(ip + 10, 0);
            for half in 0..2 {
                self.swap(ip + 12 + 2 * half, ip + 16 + 2 * half);
            }
            let mut sum = 0;
            for half in 0..10 {
                sum += u32::from(self.get(ip + 2 * half));
            }
            self.put(ip + 10, !folded(sum));
            ip + 12
        };
        self.swap(UDP_AT, UDP_AT + 2);
        self.put(UDP_AT + 2, port);
        self.put(UDP_AT + 4, udp_length);
        self.put(UDP_AT + 6, 0);
        // A checksum where the request had one; IPv6 always has (RFC 8200 8.1).
        if had_sum || headers.ip.is_ipv6 {
            let Some(sum) = self.sum(addresses, UDP_AT + 8 + length - addresses, udp_length) else {
                return false;
            };
            self.put(UDP_AT + 6, if sum == 0 { 0xffff } else { sum });
        }
        true
    }

    /// The checksum of UDP (RFC 768): the addresses stand right before its header.
    #[inline(always)]
    fn sum(&self, start: u32, length: u32, udp_length: u16) -> Option<u16> {
        let mut sum = u64::from((UDP + udp_length).to_be());
        let mut rest = (length + 3) & !3;
        let mut at = start;
        for _ in 0..SUMS_MAX {
            if rest == 0 {
                break;
            }
            let part = opaque(u64::from(if rest < SUM_BYTES_MAX { rest } else { SUM_BYTES_MAX }));
            let from = opaque(u64::from(at));
            if part > u64::from(SUM_BYTES_MAX) || from > 2400 {
                return None;
            }
            // SAFETY: `from + part` lies within the buffer; behind the message are zeros.
            let summed = unsafe {
                bpf_csum_diff(
                    core::ptr::null_mut(),
                    0,
                    self.bytes.add(from as usize).cast(),
                    part as u32,
                    sum as u32,
                )
            };
            sum = summed.cast_unsigned();
            at += SUM_BYTES_MAX;
            rest -= part as u32;
        }
        // Summed in the order of this machine's memory, hence turned at the end.
        let sum = (sum & 0xffff) as u32 + (sum >> 16 & 0xffff) as u32;
        Some(!folded(sum).swap_bytes())
    }

    #[inline(always)]
    fn swap(&mut self, a: u32, b: u32) {
        let (first, second) = (self.get(a), self.get(b));
        self.put(a, second);
        self.put(b, first);
    }

    /// Two bytes, big-endian.
    #[inline(always)]
    fn get(&self, at: u32) -> u16 {
        // SAFETY: `at` is taken modulo 256, and the buffer is longer.
        u16::from_be(unsafe { self.bytes.add(within(at)).cast::<u16>().read_unaligned() })
    }

    #[inline(always)]
    fn put(&mut self, at: u32, value: u16) {
        // SAFETY: as in `get`.
        unsafe { self.bytes.add(within(at)).cast::<u16>().write_unaligned(value.to_be()) };
    }
}

#[inline(always)]
fn within(at: u32) -> usize {
    (opaque(u64::from(at)) & 0xff) as usize
}

/// The internet checksum's sum in 16 bits, not yet inverted (RFC 1071).
#[inline(always)]
const fn folded(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}
