//! The one rate syntax of configuration, command line and API: `20/s burst 40`, `600/min`, `unlimited`, `0/s`.

/// A rate with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    x: u64,
}
