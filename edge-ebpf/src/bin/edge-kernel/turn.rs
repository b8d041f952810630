//! Turns the headers of a datagram round, where they stand in the frame: addresses, ports, lengths and checksums.

use aya_ebpf::programs::XdpContext;
use edge_ebpf::native::fold;
use edge_ebpf::verifier::{opaque, unlinked};
use edge_ebpf::wire::Headers;

/// Of a frame: two addresses, then up to two tags, and the type of what it carries.
const MACS_BYTES: usize = 12;
const TYPE_AT_MAX: u64 = 20;
const IPV4: u16 = 0x0800_u16.to_be();
const IPV6: u16 = 0x86dd_u16.to_be();
/// IPv4 without options.
const VERSION_AND_WORDS: u64 = 0x45;
const UDP: u8 = 17;
/// Time to live, or hop limit (RFC 1700).
const HOPS: u8 = 64;
/// The type of the frame and the IP header behind it, without options or extensions.
const IPV4_BYTES: usize = 2 + 20;
const IPV6_BYTES: usize = 2 + 40;
/// With the header of UDP. IPv4 has less, but no answer is so short.
const HEADERS_BYTES: usize = IPV6_BYTES + 8;
const LOW_32: u64 = 0xffff_ffff;

/// Makes the headers those of an answer of `length` bytes to `port`. `false` for headers that are not answered: others than
/// Ethernet with up to two tags, IPv4 without options or IPv6 without extensions, UDP. `message_sum` is asked for where the
/// answer has a checksum.
#[inline(always)]
pub(crate) fn round(
    ctx: &XdpContext,
    headers: &Headers,
    length: u64,
    port: u16,
    message_sum: impl FnOnce() -> Option<u64>,
) -> bool {
    let ip = &headers.ip;
    let type_at =
        opaque((ip.offset as u64).wrapping_sub(if ip.is_ipv6 { IPV6_BYTES } else { IPV4_BYTES } as u64));
    let copy = unlinked(type_at);
    if copy != 12 && copy != 16 && copy != 20 {
        return false;
    }
    let type_at = opaque(type_at);
    if type_at > TYPE_AT_MAX {
        return false;
    }
    let start = ctx.data();
    // Hidden: LLVM would compare one sum and read at another, and the verifier would not know them for the same.
    let place = opaque((start + type_at as usize) as u64) as usize;
    let start = opaque(start as u64) as usize;
    if start + MACS_BYTES > ctx.data_end() || place + HEADERS_BYTES > ctx.data_end() {
        return false;
    }
    let (macs, place) = (Octets(start), Octets(place));
    // SAFETY: both lie in the frame, as was just checked.
    unsafe {
        let (to, from) = (macs.read::<u64>(0), macs.read::<u32>(8));
        macs.write::<u64>(0, to >> 48 | u64::from(from) << 16 | to << 48);
        macs.write::<u32>(8, (to >> 16) as u32);
        let udp_length = length as u16 + 8;
        if ip.is_ipv6 {
            let Some(addresses_sum) = place.round_ipv6(udp_length) else { return false };
            place.round_udp::<IPV6_BYTES>(udp_length, port, addresses_sum, message_sum)
        } else {
            let Some(addresses_sum) = place.round_ipv4(udp_length) else { return false };
            place.round_udp::<IPV4_BYTES>(udp_length, port, addresses_sum, message_sum)
        }
    }
}

/// Octets of the frame, from the type of what it carries on.
#[derive(Clone, Copy)]
struct Octets(usize);

impl Octets {
    /// # Safety
    /// What is read lies in the frame.
    #[inline(always)]
    unsafe fn read<T>(self, at: usize) -> T {
        // SAFETY: the caller's; any octets are a number.
        unsafe { ((self.0 + at) as *const T).read_unaligned() }
    }

    /// # Safety
    /// What is written lies in the frame.
    #[inline(always)]
    unsafe fn write<T>(self, at: usize, value: T) {
        // SAFETY: the caller's.
        unsafe { ((self.0 + at) as *mut T).write_unaligned(value) };
    }

    /// The sum of the addresses, for UDP; `None` if there are options, or no IPv4.
    ///
    /// # Safety
    /// [`HEADERS_BYTES`] lie in the frame.
    #[inline(always)]
    unsafe fn round_ipv4(self, udp_length: u16) -> Option<u64> {
        // SAFETY: the caller's.
        unsafe {
            let first: u64 = self.read(2);
            if self.read::<u16>(0) != IPV4 || first & 0xff != VERSION_AND_WORDS {
                return None;
            }
            let first = first & !0xffff_0000 | u64::from((udp_length + 20).to_be()) << 16;
            let third = u32::from_le_bytes([HOPS, UDP, 0, 0]);
            let addresses: u64 = self.read(14);
            let addresses_sum = halves(addresses);
            let sum = !fold(halves(first) + u64::from(third) + addresses_sum);
            self.write(2, first);
            self.write(10, third | u32::from(sum) << 16);
            self.write(14, addresses.rotate_left(32));
            Some(addresses_sum)
        }
    }

    /// The same of IPv6; `None` if there are extensions.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn round_ipv6(self, udp_length: u16) -> Option<u64> {
        // SAFETY: the caller's.
        unsafe {
            let first: u64 = self.read(2);
            if self.read::<u16>(0) != IPV6 || (first >> 48) as u8 != UDP {
                return None;
            }
            let rest = u32::from(udp_length.to_be()) | u32::from(UDP) << 16 | u32::from(HOPS) << 24;
            self.write(6, rest);
            let from: [u64; 2] = [self.read(10), self.read(18)];
            let to: [u64; 2] = [self.read(26), self.read(34)];
            self.write(10, to[0]);
            self.write(18, to[1]);
            self.write(26, from[0]);
            self.write(34, from[1]);
            Some(halves(from[0]) + halves(from[1]) + halves(to[0]) + halves(to[1]))
        }
    }

    /// UDP's header, which stands at `AT`. `false` if the checksum cannot be had.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn round_udp<const AT: usize>(
        self,
        udp_length: u16,
        port: u16,
        addresses_sum: u64,
        message_sum: impl FnOnce() -> Option<u64>,
    ) -> bool {
        // SAFETY: the caller's.
        unsafe {
            let header: u64 = self.read(AT);
            let length = u64::from(udp_length.to_be());
            let turned = header >> 16 & 0xffff | u64::from(port.to_be()) << 16 | length << 32;
            // A checksum where the request had one; IPv6 always has (RFC 8200 8.1).
            if header >> 48 == 0 && AT == IPV4_BYTES {
                self.write(AT, turned);
                return true;
            }
            let Some(message_sum) = message_sum() else { return false };
            let pseudo = addresses_sum + length + u64::from(u16::from(UDP).to_be());
            let sum = !fold(pseudo + halves(turned) + message_sum);
            self.write(AT, turned | u64::from(if sum == 0 { 0xffff } else { sum }) << 48);
        }
        true
    }
}

/// The sum of two halves, whose own 16-bit words [`fold`] adds (RFC 1071).
#[inline(always)]
const fn halves(word: u64) -> u64 {
    (word & LOW_32) + (word >> 32)
}
