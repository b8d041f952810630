//! Prefixes and names as the maps hold them.

use std::net::{IpAddr, Ipv6Addr};

use aya::maps::lpm_trie::Key;
use edge_ebpf::abi::{CALLER_ID_DIGITS, CallerId, SENDER_ID, SourceKey};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::config::SenderId;
use crate::reconcile::ShownId;

/// Bits before an IPv4 address in its IPv4-mapped form (RFC 4291 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// Bits of an account's number, which stand before what it may show.
const ACCOUNT_BITS: u32 = u32::BITS;

/// Bytes of an account's name in the map.
pub(super) const NAME_BYTES: usize = 64;
/// Bytes of a trunk's, which has its account's before it.
pub(super) const TRUNK_NAME_BYTES: usize = 128;

/// A prefix as key of a trie.
pub(super) fn trie_key(prefix: &IpNet) -> Key<SourceKey> {
    let (address, length) = match prefix.trunc() {
        IpNet::V4(net) => (net.network().to_ipv6_mapped(), net.prefix_len() + MAPPED_BITS),
        IpNet::V6(net) => (net.network(), net.prefix_len()),
    };
    Key::new(u32::from(length), address.octets())
}

/// Back from [`trie_key`]; `None` for what no prefix makes.
pub(super) fn prefix_of(key: &Key<SourceKey>) -> Option<IpNet> {
    let address = Ipv6Addr::from(key.data());
    let length = u8::try_from(key.prefix_len()).ok()?;
    match (address.to_ipv4_mapped(), length.checked_sub(MAPPED_BITS)) {
        (Some(address), Some(length)) => Ipv4Net::new(address, length).ok().map(IpNet::V4),
        _ => Ipv6Net::new(address, length).ok().map(IpNet::V6),
    }
}

/// What an account may show as key of a trie: leading digits as they are, a whole sender ID with the zero at its end, so
/// that it is the beginning of no other. Configuration allows no more characters than fit.
pub(super) fn shown_id_key(account: u32, id: &ShownId) -> Key<CallerId> {
    let (kind, text, end) = match id {
        ShownId::Caller(digits) => (0, digits, None),
        ShownId::Sender(SenderId::Digits(digits)) => (SENDER_ID, digits, None),
        ShownId::Sender(SenderId::Text(text)) => (SENDER_ID, text, Some(0)),
    };
    let mut id = CallerId { account: account | kind, digits: [0; CALLER_ID_DIGITS] };
    let mut bits = ACCOUNT_BITS;
    for (place, octet) in id.digits.iter_mut().zip(text.bytes().chain(end)) {
        *place = octet;
        bits += u8::BITS;
    }
    Key::new(bits, id)
}

/// Back from [`shown_id_key`]; `None` for what nothing to be shown makes.
pub(super) fn shown_id_of(key: &Key<CallerId>) -> Option<(u32, ShownId)> {
    let CallerId { account, digits } = key.data();
    let count = key.prefix_len().checked_sub(ACCOUNT_BITS)? / u8::BITS;
    let octets = digits.get(..usize::try_from(count).ok()?)?;
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let id = match (account & SENDER_ID, octets) {
        (0, digits) => ShownId::Caller(text(digits)),
        (_, [whole @ .., 0]) => ShownId::Sender(SenderId::Text(text(whole))),
        (_, digits) => ShownId::Sender(SenderId::Digits(text(digits))),
    };
    Some((account & !SENDER_ID, id))
}

/// A source as people read it: an IPv4 address, or an IPv6 address (the aggregate's first).
pub(super) fn source_address(key: SourceKey) -> IpAddr {
    Ipv6Addr::from(key).to_canonical()
}

/// A name as the map holds it. Configuration allows no longer ones; a longer one is cut at a character.
pub(super) fn name_bytes<const N: usize>(name: &str) -> [u8; N] {
    let mut end = name.len().min(N);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let mut bytes = [0; N];
    bytes[..end].copy_from_slice(&name.as_bytes()[..end]);
    bytes
}

/// Back from [`name_bytes`]; `None` where no account is.
pub(super) fn name_of<const N: usize>(bytes: &[u8; N]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(N);
    (end > 0).then(|| String::from_utf8_lossy(&bytes[..end]).into_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ipv4_prefixes_lie_under_the_mapped_prefix() {
        let key = trie_key(&"203.0.113.0/24".parse().unwrap());
        assert_eq!(key.prefix_len(), 120);
        assert_eq!(key.data()[10..], [0xff, 0xff, 203, 0, 113, 0]);
    }

    #[test]
    fn a_source_reads_as_the_address_that_people_know() {
        let key = trie_key(&"203.0.113.9/32".parse().unwrap());
        assert_eq!(source_address(key.data()).to_string(), "203.0.113.9");
        let key = trie_key(&"2001:db8:1:2::/64".parse().unwrap());
        assert_eq!(source_address(key.data()).to_string(), "2001:db8:1:2::");
    }

    #[test]
    fn what_is_shown_comes_back_and_has_as_many_bits_as_characters() {
        for digits in ["4", "0044", "123456789012345"] {
            for id in [ShownId::Caller(digits.into()), ShownId::Sender(SenderId::Digits(digits.into()))] {
                let key = shown_id_key(7, &id);
                assert_eq!(key.prefix_len() as usize, 32 + 8 * digits.len());
                assert_eq!(shown_id_of(&key), Some((7, id)));
            }
        }
    }

    #[test]
    fn a_whole_sender_id_ends_with_its_zero() {
        let id = ShownId::Sender(SenderId::Text("Acme Bank+1".into()));
        let key = shown_id_key(7, &id);
        let CallerId { account, digits } = key.data();
        assert_eq!((account, key.prefix_len()), (7 | SENDER_ID, 32 + 8 * 12));
        assert!(digits.starts_with(b"Acme Bank+1\0"));
        assert_eq!(shown_id_of(&key), Some((7, id)));
    }

    #[test]
    fn a_name_comes_back_and_no_name_is_none() {
        for name in ["acme", "ünïcode", &"x".repeat(NAME_BYTES)] {
            assert_eq!(name_of(&name_bytes::<NAME_BYTES>(name)).as_deref(), Some(name));
        }
        assert_eq!(name_of(&[0; NAME_BYTES]), None);
        assert_eq!(name_of(&name_bytes::<NAME_BYTES>(&"é".repeat(40))).unwrap().chars().count(), 32);
    }

    proptest! {
        #[test]
        fn every_prefix_comes_back(address: u32, bits: u128, length in 0_u8..=128) {
            let v6 = IpNet::V6(Ipv6Net::new(bits.into(), length).unwrap()).trunc();
            prop_assert_eq!(prefix_of(&trie_key(&v6)), Some(v6));
            let v4 = IpNet::V4(Ipv4Net::new(address.into(), length % 33).unwrap()).trunc();
            prop_assert_eq!(prefix_of(&trie_key(&v4)), Some(v4));
        }
    }
}
