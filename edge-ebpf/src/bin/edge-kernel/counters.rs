//! Counting: packets by outcome, messages by account, prefixes by account.

use edge_ebpf::abi::{
    AccountState, Allowance, BindCount, CallCount, Class, Command, EgressOutcome, EventKind, Method, Outcome,
    PREFIX_PAGES, PREFIX_SETS_PER_PAGE, PREFIX_WAYS, ResponseKind, SourceState, prefix_key,
};
use edge_ebpf::hash::mix;
use edge_ebpf::outbound::{is_registration, is_rejection, registered_until};
use edge_ebpf::stream::Tally;
use edge_ebpf::verifier::opaque;
use edge_ebpf::wire::sip::Heard;

use crate::{atomic, maps, sip};

/// Tries to charge or claim before giving up: losing that often to other CPUs in a row does not happen.
const CLAIM_TRIES: usize = PREFIX_WAYS;

/// Counts a packet under its one outcome.
#[inline(always)]
pub(crate) fn outcome(outcome: Outcome) {
    let index = opaque(outcome.index() as u64) as usize;
    let Some(outcomes) = maps::OUTCOMES.get_ptr_mut(0) else { return };
    if index < Outcome::SLOTS {
        // SAFETY: this CPU's own value, and nothing interrupts XDP on it but XDP on no other value.
        unsafe { (*outcomes)[index] += 1 };
    }
}

/// Counts a packet on its way out, by the index of its [`EgressOutcome`].
#[inline(always)]
pub(crate) fn egress_outcome(index: u64) {
    let index = opaque(index) as usize;
    let Some(outcomes) = maps::EGRESS_OUTCOMES.get_ptr_mut(0) else { return };
    if index < EgressOutcome::SLOTS {
        // SAFETY: this CPU's own value, which nothing else writes.
        unsafe { (*outcomes)[index] += 1 };
    }
}

/// Counts messages of an account and its source; of packets, the source has only how many were dropped.
#[inline(always)]
pub(crate) fn messages(
    account: *mut AccountState,
    source: *mut SourceState,
    class: Class,
    allowance: Allowance,
    messages: u32,
) {
    let (class, allowance) =
        (opaque(class.index() as u64) as usize, opaque(allowance.index() as u64) as usize);
    if class >= Class::COUNT || allowance >= Allowance::COUNT {
        return;
    }
    let messages = u64::from(messages);
    // SAFETY: within the map value that `account` points to; the indexes were checked.
    atomic::add(unsafe { &raw mut (*account).counters.messages[class][allowance] }, messages);
    if class < Class::Packets.index() {
        // SAFETY: within the map value that `source` points to.
        atomic::add(unsafe { &raw mut (*source).messages[allowance] }, messages);
    } else if allowance == Allowance::Refused.index() {
        // SAFETY: as above.
        atomic::add(unsafe { &raw mut (*source).packets_dropped }, messages);
    }
}

/// [`messages`] by a call, where the stack has no room.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_count(
    account: *mut AccountState,
    source: *mut SourceState,
    class: u64,
    allowance: u64,
    count: u64,
) -> u64 {
    if account.is_null() || source.is_null() {
        return 0;
    }
    let (Some(class), Some(allowance)) =
        (Class::from_index(class as usize), Allowance::from_index(allowance as usize))
    else {
        return 0;
    };
    messages(account, source, class, allowance, count as u32);
    1
}

/// Counts a SIP message of an account by method.
#[inline(always)]
pub(crate) fn method(account: *mut AccountState, method: Method) {
    let method = opaque(method.index() as u64) as usize;
    if method < Method::SLOTS {
        // SAFETY: within the map value that `account` points to.
        atomic::add(unsafe { &raw mut (*account).counters.sip[method] }, 1);
    }
}

/// Counts SIP messages of an account, by the index of their method.
#[inline(always)]
pub(crate) fn methods(account: *mut AccountState, method: usize, messages: u64) {
    let method = opaque(method as u64) as usize;
    if method < Method::SLOTS {
        // SAFETY: within the map value that `account` points to.
        atomic::add(unsafe { &raw mut (*account).counters.sip[method] }, messages);
    }
}

/// Counts what the server refused and accepted of a source; what is to be told of it, with the count.
#[inline(always)]
pub(crate) fn heard(
    source: *mut SourceState,
    heard: &Heard,
    registered_for_ns: u64,
    now_ns: u64,
) -> Option<(EventKind, u64)> {
    let (kind, counter) = if is_rejection(heard.status) {
        // SAFETY: within the map value that `source` points to.
        (EventKind::SourceRejected, unsafe { &raw mut (*source).failures })
    } else if is_registration(heard) {
        let granted_s = sip::granted_s();
        // SAFETY: as above.
        let until_ns = unsafe { &raw mut (*source).registered_until_ns };
        let before_ns = atomic::load(until_ns);
        // SAFETY: as above; in a race of two answers, one of them counts.
        unsafe { until_ns.write(registered_until(before_ns, granted_s, registered_for_ns, now_ns)) };
        // SAFETY: as above.
        (EventKind::SourceRegistered, unsafe { &raw mut (*source).registrations })
    } else {
        return None;
    };
    let count = atomic::add(counter, 1) + 1;
    // The 1st, 2nd, 4th, 8th …, as refusals are told.
    count.is_power_of_two().then_some((kind, count))
}

/// Counts a call of an account.
#[inline(always)]
pub(crate) fn call(account: *mut AccountState, count: CallCount) {
    let count = opaque(count.index() as u64) as usize;
    if count < CallCount::SLOTS {
        // SAFETY: within the map value that `account` points to.
        atomic::add(unsafe { &raw mut (*account).counters.calls[count] }, 1);
    }
}

/// Counts a bind of an account.
#[inline(always)]
pub(crate) fn bind(account: *mut AccountState, count: BindCount) {
    let count = opaque(count.index() as u64) as usize;
    if count < BindCount::SLOTS {
        // SAFETY: within the map value that `account` points to.
        atomic::add(unsafe { &raw mut (*account).counters.binds[count] }, 1);
    }
}

/// Counts the server's responses in the scratch for an account. A global function, as [`edge_count`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_count_responses(number: u32) -> u64 {
    let (Some(scratch), Some(account)) = (maps::SMPP_SCRATCH.get_ptr(0), maps::ACCOUNTS.get_ptr_mut(number))
    else {
        return 0;
    };
    // SAFETY: this CPU's own value.
    let responses = unsafe { &(*scratch).responses };
    for kind in ResponseKind::ALL {
        let heard = responses.of_kind(kind.index());
        if heard != 0 {
            // SAFETY: within the map value that `account` points to.
            atomic::add(unsafe { &raw mut (*account).counters.responses[kind.index()] }, u64::from(heard));
        }
    }
    1
}

/// Counts SMPP PDUs of an account by command.
#[inline(always)]
pub(crate) fn commands(account: *mut AccountState, tally: &Tally) {
    // Most segments bring one command: that one without looking for others.
    let last = opaque(u64::from(tally.command_last)) as usize;
    if last < Command::SLOTS && tally.commands_seen == 1 << last {
        // SAFETY: within the map value that `account` points to; the index was checked.
        atomic::add(unsafe { &raw mut (*account).counters.smpp[last] }, u64::from(tally.commands[last]));
        return;
    }
    if tally.commands_seen != 0 {
        edge_count_commands(account, tally);
    }
}

/// The commands of a segment that brings several. A global function: in place, the verifier would walk the loop for each way
/// that leads to it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_count_commands(account: *mut AccountState, tally: *const Tally) -> u64 {
    if account.is_null() || tally.is_null() {
        return 0;
    }
    // SAFETY: the caller's borrow.
    let tally = unsafe { &*tally };
    for (index, pdus) in tally.commands.iter().enumerate() {
        if tally.commands_seen & (1 << index) != 0 {
            // SAFETY: within the map value that `account` points to.
            atomic::add(unsafe { &raw mut (*account).counters.smpp[index] }, u64::from(*pdus));
        }
    }
    1
}

/// Counts admitted messages by called prefix, in the half of the table that is being written.
/// `false` if the prefix's set is full.
#[inline(always)]
pub(crate) fn called(account: u32, epoch: u32, called: u32, messages: u64) -> bool {
    let key = prefix_key(account, called);
    let hash = mix(0, key);
    let page = epoch & 1 != 0;
    let page = (hash as u32 & (PREFIX_PAGES - 1)) + if page { PREFIX_PAGES } else { 0 };
    let Some(page) = maps::PREFIXES.get_ptr_mut(page) else { return false };
    let set = opaque(hash >> 32) as usize & (PREFIX_SETS_PER_PAGE - 1);
    let set = opaque(set as u64) as usize;
    if set >= PREFIX_SETS_PER_PAGE {
        return false;
    }
    for way in 0..CLAIM_TRIES {
        // SAFETY: within the map value that `page` points to.
        let (key_cell, count_cell) = unsafe {
            let way = &raw mut (*page).sets[set].ways[way];
            (&raw mut (*way).key, &raw mut (*way).count)
        };
        let mut there = atomic::load(key_cell);
        if there == 0 {
            let (before, claimed) = atomic::compare_exchange(key_cell, 0, key);
            there = if claimed { key } else { before };
        }
        if there == key {
            atomic::add(count_cell, messages);
            return true;
        }
    }
    false
}
