//! What crosses the boundary between kernel and daemon: the whole contract, in one room.
//!
//! Rules, tested in `tests/contract`:
//! * every type here is `repr(C)`, without padding, valid for any bytes (zerocopy proves it at compile time);
//! * no `bool`, `Option` or data-carrying enum crosses: enums cross as integers, with `from_index` to come back;
//! * addresses and ports cross as big-endian byte arrays, IPv4 as IPv4-mapped IPv6;
//! * times are `CLOCK_MONOTONIC` nanoseconds;
//! * any change here raises [`ABI_VERSION`], which names the pin directory, so that a daemon never adopts
//!   maps of another layout.

mod account;
mod bench_frame;
mod bind;
mod call;
mod event;
mod message;
mod names;
mod outcome;
mod settings;
mod source;
mod stage;
mod table;

pub use account::{
    AccountCounters, AccountState, Allowance, CallCount, Class, Command, Limit, Method, Mode, Policy,
    policy_flag,
};
pub use bench_frame::BenchFrame;
pub use bind::{
    BindCount, BindPhase, BindState, Listener, RefusalMode, RefusalStatus, SYSTEM_ID_BYTES, StreamServer,
    SystemId, refusal_octet, refusal_of, stream_refusal_octet, stream_server_of,
};
pub use call::{
    CALLER_ID_DIGITS, CallCause, CallKey, CallPhase, CallRecord, CallState, CallerId, EndedBy, NUMBER_DIGITS,
    Number, SENDER_ID, TrunkPolicy, TrunkState,
};
pub use event::{Event, EventKind, FullMap};
pub use message::{
    ADDRESS_BYTES, DATA_CODING_UNKNOWN, MessageAddress, MessageNote, MessageRecord, NoteKey, ReceiptKind,
    ResponseKind,
};
pub use names::{bench, map, program};
pub use outcome::{EgressOutcome, Outcome, Verdict};
pub use settings::{Ports, Service, Settings};
pub use source::{FlowKey, Member, SourceKey, SourceState, Standing, StandingKind};
pub use stage::{EgressStage, IngressStage};
pub use table::{
    PREFIX_PAGES, PREFIX_SETS_PER_PAGE, PREFIX_WAYS, PrefixCount, PrefixPage, PrefixSet, REPEAT_SETS_DEFAULT,
    REPEAT_WAYS, Repeat, RepeatSet, prefix_key, prefix_key_parts, receipt_digits,
};

/// Version of everything in this module; part of the pin directory's name.
pub const ABI_VERSION: u32 = 9;

/// Declares a fieldless enum that crosses the boundary as its index: numbered, named and countable.
macro_rules! indexed_enum {
    (
        $(#[$meta:meta])*
        $name:ident { $( $(#[$vmeta:meta])* $variant:ident = $index:literal, $text:literal; )+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $( $(#[$vmeta])* $variant = $index, )+ }

        impl $name {
            /// Every variant, in the order of its index.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The position in arrays that are indexed by this type.
            #[must_use]
            #[inline(always)]
            pub const fn index(self) -> usize {
                self as usize
            }

            /// The word used in configuration, metrics, command line and documents.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }

            /// Back from the index; `None` when no variant has it.
            #[must_use]
            pub const fn from_index(index: usize) -> Option<Self> {
                match index { $( $index => Some(Self::$variant), )+ _ => None }
            }

            /// Back from [`Self::name`].
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $( $text => Some(Self::$variant), )+ _ => None }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}
pub(crate) use indexed_enum;

/// `aya::Pod` for the types that aya's typed maps carry.
macro_rules! pod {
    ($($type:ty),+ $(,)?) => {
        $(
            #[cfg(feature = "user")]
            const _: () = {
                const fn is_plain<T: zerocopy::FromBytes + zerocopy::IntoBytes + Copy + 'static>() {}
                is_plain::<$type>();
            };
            // SAFETY: `Pod` asks that the type may be viewed as bytes and made from any bytes; the line
            // above has zerocopy prove both (no padding, no invalid values).
            #[cfg(feature = "user")]
            #[expect(unsafe_code, reason = "aya::Pod is an unsafe trait; argued above, once")]
            unsafe impl aya::Pod for $type {}
        )+
    };
}
pub(crate) use pod;
