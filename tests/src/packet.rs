//! Frames, layer by layer, with right lengths and checksums.
//!
//! ```
//! use edge_tests::packet::{Frame, Tcp};
//! let frame = Frame::ipv4([203, 0, 113, 7], [198, 51, 100, 10]).udp(5060, 5060).payload(b"\r\n\r\n").bytes();
//! assert_eq!(frame.len(), 14 + 20 + 8 + 4);
//! let syn = Frame::ipv4([203, 0, 113, 7], [198, 51, 100, 10]).tcp(Tcp::syn(40_000, 2775, 1)).bytes();
//! assert_eq!(syn.len(), 14 + 20 + 20);
//! ```

/// `EtherType` of 802.1Q (IEEE 802.1Q-2018, 9.6).
pub const TAG_8021Q: u16 = 0x8100;
/// `EtherType` of 802.1ad, the outer tag of `QinQ` (IEEE 802.1Q-2018, 9.6).
pub const TAG_8021AD: u16 = 0x88a8;

/// IPv6 extension headers (IANA protocol numbers).
pub mod extension {
    /// Hop-by-hop options (RFC 8200 4.3).
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing (RFC 8200 4.4).
    pub const ROUTING: u8 = 43;
    /// Destination options (RFC 8200 4.6).
    pub const DESTINATION: u8 = 60;
    /// Authentication (RFC 4302); counts its length in 4-byte units.
    pub const AUTHENTICATION: u8 = 51;
    /// No next header (RFC 8200 4.7).
    pub const NONE: u8 = 59;
}

const FRAGMENT_HEADER: u8 = 44;
const UDP: u8 = 17;
const TCP: u8 = 6;
const MORE_FRAGMENTS: u16 = 0x2000;

/// A TCP header without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Sender's port.
    pub source_port: u16,
    /// Receiver's port.
    pub destination_port: u16,
    /// Sequence number of the first byte of the payload.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// FIN 1, SYN 2, RST 4, PSH 8, ACK 16.
    pub flags: u8,
}

impl Tcp {
    /// FIN.
    pub const FIN: u8 = 1;
    /// SYN.
    pub const SYN: u8 = 2;
    /// RST.
    pub const RST: u8 = 4;
    /// PSH.
    pub const PSH: u8 = 8;
    /// ACK.
    pub const ACK: u8 = 16;

    /// The first segment of a connection; its payload starts at `isn + 1`.
    #[must_use]
    pub const fn syn(source_port: u16, destination_port: u16, isn: u32) -> Self {
        Self { source_port, destination_port, sequence: isn, acknowledgement: 0, flags: Self::SYN }
    }

    /// A segment with data.
    #[must_use]
    pub const fn data(source_port: u16, destination_port: u16, sequence: u32) -> Self {
        Self { source_port, destination_port, sequence, acknowledgement: 1, flags: Self::PSH | Self::ACK }
    }

    /// The same header with other flags.
    #[must_use]
    pub const fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }
}

#[derive(Clone, Debug)]
enum Network {
    V4 { source: [u8; 4], destination: [u8; 4], options: Vec<u8> },
    V6 { source: [u8; 16], destination: [u8; 16], extensions: Vec<(u8, Vec<u8>)> },
    Other { ethertype: u16 },
}

#[derive(Clone, Copy, Debug)]
enum Transport {
    Udp { source_port: u16, destination_port: u16 },
    Tcp { header: Tcp, option_words: u8 },
    Other { protocol: u8 },
}

/// A frame in the making.
#[derive(Clone, Debug)]
pub struct Frame {
    tags: Vec<(u16, u16)>,
    network: Network,
    transport: Transport,
    fragment: Option<(u16, bool)>,
    payload: Vec<u8>,
    has_no_sum: bool,
}

impl Frame {
    /// A packet between two IPv4 addresses.
    #[must_use]
    pub fn ipv4(source: [u8; 4], destination: [u8; 4]) -> Self {
        Self::over(Network::V4 { source, destination, options: Vec::new() })
    }

    /// A packet between two IPv6 addresses.
    #[must_use]
    pub fn ipv6(source: [u8; 16], destination: [u8; 16]) -> Self {
        Self::over(Network::V6 { source, destination, extensions: Vec::new() })
    }

    /// A frame that carries something else, ARP for one; only the payload follows.
    #[must_use]
    pub fn other(ethertype: u16) -> Self {
        Self::over(Network::Other { ethertype })
    }

    fn over(network: Network) -> Self {
        let transport = Transport::Other { protocol: extension::NONE };
        Self { tags: Vec::new(), network, transport, fragment: None, payload: Vec::new(), has_no_sum: false }
    }

    /// Adds a VLAN tag, outermost first.
    #[must_use]
    pub fn tag(mut self, ethertype: u16, vlan: u16) -> Self {
        self.tags.push((ethertype, vlan));
        self
    }

    /// IPv4 options.
    ///
    /// # Panics
    /// When their length is not a multiple of 4, or above 40.
    #[must_use]
    pub fn options(mut self, bytes: &[u8]) -> Self {
        assert!(
            bytes.len().is_multiple_of(4) && bytes.len() <= 40,
            "IPv4 options come in words, at most ten"
        );
        if let Network::V4 { options, .. } = &mut self.network {
            *options = bytes.to_vec();
        }
        self
    }

    /// Adds an IPv6 extension header: its number and its bytes from the third on
    /// (6 bytes, and 8 more for each further unit).
    ///
    /// # Panics
    /// When they do not fill whole units.
    #[must_use]
    pub fn extension(mut self, number: u8, body: &[u8]) -> Self {
        let unit = if number == extension::AUTHENTICATION { 4 } else { 8 };
        assert_eq!((body.len() + 2) % unit, 0, "extension headers come in units of {unit} bytes");
        if let Network::V6 { extensions, .. } = &mut self.network {
            extensions.push((number, body.to_vec()));
        }
        self
    }

    /// Makes it a fragment: the offset in units of 8 bytes, and whether more follow.
    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.fragment = Some((offset, more));
        self
    }

    /// UDP.
    #[must_use]
    pub fn udp(mut self, source_port: u16, destination_port: u16) -> Self {
        self.transport = Transport::Udp { source_port, destination_port };
        self
    }

    /// TCP without options.
    #[must_use]
    pub fn tcp(mut self, header: Tcp) -> Self {
        self.transport = Transport::Tcp { header, option_words: 0 };
        self
    }

    /// TCP options: as many words of no-operation.
    ///
    /// # Panics
    /// When there are more than ten.
    #[must_use]
    pub fn tcp_options(mut self, words: u8) -> Self {
        assert!(words <= 10, "at most ten words of TCP options");
        if let Transport::Tcp { option_words, .. } = &mut self.transport {
            *option_words = words;
        }
        self
    }

    /// Another protocol over IP; only the payload follows.
    #[must_use]
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.transport = Transport::Other { protocol };
        self
    }

    /// A transport without a checksum, as UDP over IPv4 may be (RFC 768).
    #[must_use]
    pub const fn without_sum(mut self) -> Self {
        self.has_no_sum = true;
        self
    }

    /// What the transport carries.
    #[must_use]
    pub fn payload(mut self, bytes: &[u8]) -> Self {
        self.payload = bytes.to_vec();
        self
    }

    /// The frame.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let (ethertype, packet) = self.network_bytes();
        // Locally administered addresses.
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for (tag, vlan) in &self.tags {
            frame.extend(tag.to_be_bytes());
            frame.extend(vlan.to_be_bytes());
        }
        frame.extend(ethertype.to_be_bytes());
        frame.extend(packet);
        frame
    }

    fn network_bytes(&self) -> (u16, Vec<u8>) {
        match &self.network {
            Network::V4 { source, destination, options } => {
                (0x0800, self.ipv4_bytes(*source, *destination, options))
            }
            Network::V6 { source, destination, extensions } => {
                (0x86dd, self.ipv6_bytes(*source, *destination, extensions))
            }
            Network::Other { ethertype } => (*ethertype, self.payload.clone()),
        }
    }

    fn ipv4_bytes(&self, source: [u8; 4], destination: [u8; 4], options: &[u8]) -> Vec<u8> {
        let (protocol, segment) = self.transport_bytes(&source, &destination);
        let header_len = 20 + options.len();
        let (offset, more) = self.fragment.unwrap_or((0, false));
        let fragment = offset | if more { MORE_FRAGMENTS } else { 0 };
        let mut packet = vec![0x40 | low_byte(header_len / 4), 0];
        packet.extend(length(header_len + segment.len()).to_be_bytes());
        packet.extend([0x12, 0x34]);
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0]);
        packet.extend(source);
        packet.extend(destination);
        packet.extend(options);
        let sum = checksum(&[&packet]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(segment);
        packet
    }

    fn ipv6_bytes(&self, source: [u8; 16], destination: [u8; 16], extensions: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let (protocol, segment) = self.transport_bytes(&source, &destination);
        let mut chain: Vec<(u8, Vec<u8>)> = extensions.to_vec();
        if let Some((offset, more)) = self.fragment {
            let mut body = (offset << 3 | u16::from(more)).to_be_bytes().to_vec();
            body.extend([0, 0, 0x12, 0x34]);
            chain.push((FRAGMENT_HEADER, body));
        }
        let mut tail = Vec::new();
        for (index, (number, body)) in chain.iter().enumerate() {
            let next = chain.get(index + 1).map_or(protocol, |(next, _)| *next);
            let units = match *number {
                FRAGMENT_HEADER => 0,
                extension::AUTHENTICATION => (body.len() + 2) / 4 - 2,
                _ => (body.len() + 2) / 8 - 1,
            };
            tail.extend([next, low_byte(units)]);
            tail.extend(body);
        }
        tail.extend(segment);
        let first = chain.first().map_or(protocol, |(number, _)| *number);
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(length(tail.len()).to_be_bytes());
        packet.extend([first, 64]);
        packet.extend(source);
        packet.extend(destination);
        packet.extend(tail);
        packet
    }

    /// The protocol's number, and header with payload. A later fragment carries the payload alone.
    fn transport_bytes(&self, source: &[u8], destination: &[u8]) -> (u8, Vec<u8>) {
        let later_fragment = self.fragment.is_some_and(|(offset, _)| offset > 0);
        let (protocol, mut segment, checksum_at) = match self.transport {
            Transport::Other { protocol } => return (protocol, self.payload.clone()),
            Transport::Udp { .. } if later_fragment => return (UDP, self.payload.clone()),
            Transport::Tcp { .. } if later_fragment => return (TCP, self.payload.clone()),
            Transport::Udp { source_port, destination_port } => {
                let mut header = source_port.to_be_bytes().to_vec();
                header.extend(destination_port.to_be_bytes());
                header.extend(length(8 + self.payload.len()).to_be_bytes());
                header.extend([0, 0]);
                (UDP, header, 6)
            }
            Transport::Tcp { header, option_words } => (TCP, tcp_bytes(header, option_words), 16),
        };
        segment.extend(&self.payload);
        let mut pseudo = [source, destination].concat();
        pseudo.extend([0, protocol]);
        pseudo.extend(length(segment.len()).to_be_bytes());
        let sum = match checksum(&[&pseudo, &segment]) {
            // RFC 768: zero means that there is no checksum.
            0 if protocol == UDP => 0xffff,
            sum => sum,
        };
        let sum = if self.has_no_sum { 0 } else { sum };
        segment[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
        (protocol, segment)
    }
}

fn tcp_bytes(tcp: Tcp, option_words: u8) -> Vec<u8> {
    let mut header = tcp.source_port.to_be_bytes().to_vec();
    header.extend(tcp.destination_port.to_be_bytes());
    header.extend(tcp.sequence.to_be_bytes());
    header.extend(tcp.acknowledgement.to_be_bytes());
    header.extend([(5 + option_words) << 4, tcp.flags, 0xff, 0xff, 0, 0, 0, 0]);
    header.extend(std::iter::repeat_n(1, usize::from(option_words) * 4));
    header
}

/// The internet checksum (RFC 1071) over `parts`, each of which but the last has an even length.
#[must_use]
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 =
        words.map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// A length on the wire; a frame of ours is far below 64 KiB.
fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

fn low_byte(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 4] = [203, 0, 113, 7];
    const B: [u8; 4] = [198, 51, 100, 10];

    #[test]
    fn checksums_verify_to_zero() {
        let frame = Frame::ipv4(A, B).options(&[1; 8]).udp(5060, 5060).payload(b"odd").bytes();
        assert_eq!(checksum(&[&frame[14..42]]), 0, "IPv4 header");
        let segment = &frame[42..];
        let mut pseudo = [A, B].concat();
        pseudo.extend([0, UDP]);
        pseudo.extend(length(segment.len()).to_be_bytes());
        assert_eq!(checksum(&[&pseudo, segment]), 0, "UDP");
    }

    #[test]
    fn an_ipv6_chain_names_each_next_header() {
        let frame = Frame::ipv6([1; 16], [2; 16])
            .extension(extension::HOP_BY_HOP, &[0; 6])
            .extension(extension::DESTINATION, &[0; 14])
            .fragment(0, true)
            .udp(1, 2)
            .bytes();
        assert_eq!(frame[14 + 6], extension::HOP_BY_HOP);
        assert_eq!(frame[54..56], [extension::DESTINATION, 0]);
        assert_eq!(frame[62..64], [FRAGMENT_HEADER, 1]);
        assert_eq!(frame[78..82], [UDP, 0, 0, 1]);
        assert_eq!(frame.len(), 14 + 40 + 8 + 16 + 8 + 8);
    }
}
