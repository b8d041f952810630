//! SMPP framing over TCP segments.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What is known of one direction of a connection. Placeholder until the framing lands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Flow {
    /// Room.
    pub words: [u64; 64],
}

crate::abi::pod!(Flow);
