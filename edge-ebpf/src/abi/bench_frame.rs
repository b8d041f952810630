//! What a benchmark tells its programs.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::pod;

/// The frame that is put back before each run, since the run before may have made an answer of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BenchFrame {
    /// Bytes of the frame, at most [`BenchFrame::BYTES_MAX`].
    pub length: u32,
    /// Reserved, zero.
    pub reserved: u32,
    /// The frame.
    pub bytes: [u8; Self::BYTES_MAX],
}

impl BenchFrame {
    /// Most bytes of a frame.
    pub const BYTES_MAX: usize = 2048;
}

pod!(BenchFrame);
