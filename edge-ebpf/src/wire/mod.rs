//! One protocol a file, each in the same order: constants, types, parse, tests.

pub mod sip;
