//! Sender IDs of messages against those that an account may show.

use aya_ebpf::maps::lpm_trie::Key;
use edge_ebpf::abi::{AccountState, CallerId, EventKind, SENDER_ID, policy_flag};
use edge_ebpf::stream::PREFIX_BYTES;
use edge_ebpf::verifier::opaque;
use edge_ebpf::wire::smpp::{PREFIX_ROOM, Sender, sender};

use crate::callers::{KEY_BITS, TELL_EVERY};
use crate::{atomic, events, maps};

/// What is known of the senders of the segment at hand.
pub(crate) struct Senders {
    /// Whose they have to be; 0 if they are not checked.
    account: u32,
    /// Messages of others.
    pub(crate) foreign: u32,
    /// The last one's first eight characters.
    text: u64,
    /// What is looked up: on the stack of the loops is no room.
    key: Key<CallerId>,
}

impl Senders {
    /// Whose they have to be.
    #[inline(always)]
    pub(crate) const fn choose(&mut self, number: u32, flags: u32) {
        self.account = if flags & policy_flag::SENDER_IDS_CHECKED == 0 { 0 } else { number };
    }

    /// Nobody yet.
    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        self.foreign = opaque(0) as u32;
    }
}

/// Whether a message comes from a sender that is none of its account's; `octets` begin with the first `seen` of it.
#[inline(always)]
pub(crate) fn is_foreign(octets: &[u8; PREFIX_ROOM], seen: u32) -> bool {
    edge_has_foreign_sender(octets, u64::from(seen), 0) != 0
}

/// Notes a message that does, until its segment has passed.
#[inline(always)]
pub(crate) fn note(octets: &[u8; PREFIX_ROOM], length: u32) {
    edge_has_foreign_sender(octets, u64::from(length), 1);
}

/// A global function, so that the verifier proves it once; it runs only for accounts whose sender IDs are checked.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_has_foreign_sender(pdu: *const [u8; PREFIX_ROOM], held: u64, notes: u64) -> u64 {
    let Some(scratch) = maps::SMPP_SCRATCH.get_ptr_mut(0) else { return 0 };
    if pdu.is_null() {
        return 0;
    }
    // SAFETY: this CPU's own value, of which the caller has borrowed only the walk.
    let senders = unsafe { &mut (*scratch).senders };
    let held = if held < PREFIX_BYTES as u64 { held as u32 } else { PREFIX_BYTES as u32 };
    senders.key.prefix_len = KEY_BITS;
    senders.key.data.account = senders.account | SENDER_ID;
    #[expect(clippy::cast_ptr_alignment, reason = "read and written unaligned")]
    let text = senders.key.data.digits.as_mut_ptr().cast::<u64>();
    // SAFETY: 24 of the 32 octets; the last eight are zero in it, always.
    let put = |index, word: u64| unsafe { text.add(index).write_unaligned(word.to_le()) };
    if senders.account == 0 {
        return 0;
    }
    // SAFETY: the caller's borrow.
    match sender(unsafe { &*pdu }, held, put) {
        Sender::Named if maps::CALLER_IDS.get(&senders.key).is_none() => {}
        Sender::Unreadable => {}
        Sender::Named | Sender::Cut | Sender::Empty => return 0,
    }
    if notes != 0 {
        senders.foreign += 1;
        // SAFETY: as above.
        senders.text = u64::from_le(unsafe { text.read_unaligned() });
    }
    1
}

/// Counts messages of other senders in a segment that passes, and tells of them where the count passes a power of two or a
/// multiple of 1024.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_tell_senders(account: *mut AccountState, number: u32, now_ns: u64) -> u64 {
    let Some(scratch) = maps::SMPP_SCRATCH.get_ptr(0) else { return 0 };
    if account.is_null() {
        return 0;
    }
    // SAFETY: this CPU's own value.
    let (senders, handover) = unsafe { (&(*scratch).senders, &(*scratch).handover) };
    let by = u64::from(senders.foreign);
    // SAFETY: within the map value.
    let before = atomic::add(unsafe { &raw mut (*account).counters.foreign_senders }, by);
    let count = before + by;
    // Every power of two changes the leading bit.
    let is_power = before ^ count > before;
    if is_power || before / TELL_EVERY != count / TELL_EVERY {
        events::send(EventKind::ForeignSender, number, handover.source, senders.text, count, now_ns);
    }
    1
}
