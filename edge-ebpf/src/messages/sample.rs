//! Which messages leave a record.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::hash::mix;

/// How many messages leave a record, and which: the same on both ways of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sample {
    /// Secret, and another for each connection: else clients that count from one would be sampled at the same messages.
    seed: u64,
    /// See [`crate::abi::Settings::message_records`].
    rate: u32,
    /// Reserved, zero.
    reserved: u32,
}

impl Sample {
    /// For one connection. `client_port`: the client's, in memory's order.
    #[inline(always)]
    pub fn choose(&mut self, rate: u32, hash_key: u64, client_port: [u8; 2]) {
        self.rate = rate;
        if rate != 0 {
            self.seed = mix(hash_key, u64::from(u16::from_le_bytes(client_port)));
        }
    }

    /// Whether any message may leave one.
    #[must_use]
    #[inline(always)]
    pub const fn is_on(&self) -> bool {
        self.rate != 0
    }

    /// Whether the message under this `sequence_number` leaves one.
    #[must_use]
    #[inline(always)]
    pub const fn takes(&self, sequence: u32) -> bool {
        self.rate != 0 && (mix(self.seed, sequence as u64) >> 32) as u32 <= self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rate: u32, port: [u8; 2]) -> Vec<u32> {
        let mut sample = Sample::default();
        sample.choose(rate, 0x0123_4567_89ab_cdef, port);
        (1..=100_000).filter(|sequence| sample.takes(*sequence)).collect()
    }

    #[test]
    fn none_all_or_about_as_many_as_asked_for() {
        assert!(taken(0, [1, 2]).is_empty());
        assert_eq!(taken(u32::MAX, [1, 2]).len(), 100_000);
        let hundredth = taken(u32::MAX / 100, [1, 2]).len();
        assert!((800..1_200).contains(&hundredth), "{hundredth}");
    }

    #[test]
    fn connections_are_sampled_at_messages_of_their_own() {
        assert_ne!(taken(u32::MAX / 100, [1, 2]), taken(u32::MAX / 100, [1, 3]));
    }
}
