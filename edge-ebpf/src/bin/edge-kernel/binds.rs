//! Binds: noted on the way in, believed on the way out.
//!
//! Whoever removes an entry that was bound gives its account's place back: the map decides, exactly once, whatever races.
//! All functions here are global, so that the verifier proves each once; the connection is in the scratch.

use edge_ebpf::abi::{
    AccountState, BindCount, BindPhase, BindState, EventKind, FlowKey, FullMap, SystemId, policy_flag,
};
use edge_ebpf::stream::Tally;

use crate::segment::Scratch;
use crate::{accounts, atomic, clock, counters, events, maps, refusal, world};

/// Whether the account of the bind in the segment has a place for it: 0 yes, 1 no, 2 it is suspended. `number`: the
/// account of its source.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_ask_bind(number: u64) -> u64 {
    let Some(scratch) = maps::SMPP_SCRATCH.get_ptr(0) else { return 0 };
    // SAFETY: this CPU's own value.
    let number = by_system_id(system_id(unsafe { &(*scratch).walk.tally })).unwrap_or(number as u32);
    let (Some(policy), Some(account)) = (maps::POLICIES.get_ptr(number), maps::ACCOUNTS.get_ptr_mut(number))
    else {
        return 0;
    };
    // SAFETY: map values, whose words each stand for themselves.
    let (flags, most, active) =
        unsafe { ((*policy).flags, (*policy).binds_max, atomic::load(&raw const (*account).binds_active)) };
    if flags & policy_flag::SUSPENDED != 0 {
        counters::bind(account, BindCount::Suspended);
        2
    } else if most != 0 && active >= u64::from(most) {
        counters::bind(account, BindCount::Refused);
        1
    } else {
        0
    }
}

/// Notes the bind of a segment that passes. 0 if there is no room for it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_note_bind(number: u64, now_ns: u64) -> u64 {
    let Some(scratch) = maps::SMPP_SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's own value.
    let Scratch { walk, key, bind, .. } = unsafe { &mut *scratch };
    let key: &FlowKey = key;
    end(key);
    let system_id = system_id(&walk.tally);
    bind.phase = BindPhase::Requested as u32;
    bind.account = by_system_id(system_id).unwrap_or(number as u32);
    bind.command = walk.tally.bind_command;
    bind.sequence = walk.tally.bind_sequence;
    bind.system_id = *system_id;
    bind.requested_ns = now_ns;
    bind.bound_ns = 0;
    bind.server_link_ns = 0;
    bind.client_link_ns = 0;
    let account = bind.account;
    let bind: &BindState = bind;
    if maps::BINDS.insert(key, bind, 0).is_ok() {
        return 1;
    }
    if let Some(account) = maps::ACCOUNTS.get_ptr_mut(account) {
        counters::bind(account, BindCount::Unkept);
    }
    events::send(EventKind::MapFull, account, [0, 0], FullMap::Binds as u64, 0, now_ns);
    0
}

/// The account under which the connection is bound, and above it whether there is a bind at all: asked again when
/// accounts have changed. Its place moves with it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_resolve_bind() -> u64 {
    const KNOWN: u64 = 1 << 32;
    let Some(scratch) = maps::SMPP_SCRATCH.get_ptr(0) else { return 0 };
    // SAFETY: this CPU's own value.
    let key = unsafe { &(*scratch).key };
    let Some(bind) = maps::BINDS.get_ptr_mut(key) else { return 0 };
    // SAFETY: a map value, written under the lock of the flow.
    let bind = unsafe { &mut *bind };
    if bind.phase != BindPhase::Bound as u32 {
        return KNOWN;
    }
    let Some(number) = by_system_id(&bind.system_id) else { return KNOWN };
    if number != bind.account {
        move_place(bind.account, u64::MAX);
        move_place(number, 1);
        bind.account = number;
    }
    KNOWN | u64::from(number)
}

/// The account that the responses of the server in the scratch are counted for: that of the client's bind, or of its
/// source.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_resolve_server() -> u64 {
    let (Some(scratch), Some(headers), Some(settings)) =
        (maps::SMPP_SCRATCH.get_ptr(0), maps::HEADERS.get_ptr(0), maps::SETTINGS.get(0))
    else {
        return 0;
    };
    // SAFETY: this CPU's own values.
    let (client, headers) = unsafe { (&(*scratch).reverse, &*headers) };
    if let Some(bind) = maps::BINDS.get_ptr(client) {
        // SAFETY: a map value, whose words each stand for themselves.
        let (phase, number) = unsafe { ((*bind).phase, (*bind).account) };
        if phase == BindPhase::Bound as u32 {
            return u64::from(number);
        }
    }
    let key = world::aggregated(&headers.ip.destination, &settings.ipv6_mask);
    u64::from(accounts::peer(&key, settings).0)
}

/// The server has answered a bind.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_hear_bind() -> u64 {
    let (Some(scratch), Some(headers), Some(settings)) =
        (maps::SMPP_SCRATCH.get_ptr(0), maps::HEADERS.get_ptr(0), maps::SETTINGS.get(0))
    else {
        return 0;
    };
    // SAFETY: this CPU's own values.
    let (scratch, headers) = unsafe { (&*scratch, &*headers) };
    let client = &scratch.reverse;
    let Some(bind) = maps::BINDS.get_ptr_mut(client) else { return 0 };
    // SAFETY: a map value: a client that binds waits for the answer, so nobody else writes it.
    let bind = unsafe { &mut *bind };
    if bind.phase != BindPhase::Requested as u32 || bind.sequence != scratch.response.sequence {
        return 0;
    }
    let key = world::aggregated(&headers.ip.destination, &settings.ipv6_mask);
    let (peer, source) = accounts::peer(&key, settings);
    let named = by_system_id(&bind.system_id);
    let number = named.unwrap_or(peer);
    let Some(account) = maps::ACCOUNTS.get_ptr_mut(number) else { return 0 };
    if scratch.response.status != 0 {
        counters::bind(account, BindCount::Rejected);
        if let Some(source) = source {
            // SAFETY: within the map value.
            let rejected = atomic::add(unsafe { &raw mut (*source).binds_rejected }, 1) + 1;
            if rejected.is_power_of_two() {
                let status = u64::from(scratch.response.status);
                events::send(EventKind::BindRejected, number, key, status, rejected, clock::now_ns());
            }
        }
        let _ = maps::BINDS.remove(client);
        return 1;
    }
    bind.phase = BindPhase::Bound as u32;
    bind.account = number;
    bind.bound_ns = clock::now_ns();
    move_place(number, 1);
    counters::bind(account, BindCount::Accepted);
    if let Some(source) = source {
        // SAFETY: within the map value.
        atomic::add(unsafe { &raw mut (*source).binds_accepted }, 1);
    }
    if let Some(flow) = maps::FLOWS.get_ptr_mut(client) {
        // SAFETY: within the map value; words of their own, which the way in reads.
        unsafe {
            (*flow).generation = settings.generation;
            (*flow).account = named.unwrap_or(0);
            (*flow).bound = 1;
        }
    }
    let server = &scratch.key;
    if let Some(flow) = maps::FLOWS.get_ptr_mut(server) {
        // SAFETY: as above; the way out reads them.
        unsafe {
            (*flow).generation = settings.generation;
            (*flow).account = number;
        }
    }
    1
}

/// The segment in the scratch brings the answer to an `enquire_link` of the other side: if it is the last that waits, the bind
/// learns how long it took. `outward` is not 0 on the way out.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_hear_link(outward: u64, now_ns: u64) -> u64 {
    let Some(scratch) = maps::SMPP_SCRATCH.get_ptr(0) else { return 0 };
    // SAFETY: this CPU's own value.
    let Scratch { walk, key, reverse, .. } = unsafe { &*scratch };
    let client = if outward != 0 { reverse } else { key };
    let (Some(asking), Some(bind)) = (maps::FLOWS.get_ptr_mut(reverse), maps::BINDS.get_ptr_mut(client))
    else {
        return 0;
    };
    // SAFETY: map values, whose words each stand for themselves.
    let (asking, bind) = unsafe { (&mut *asking, &mut *bind) };
    if asking.enquired_ns == 0 || asking.enquired != walk.tally.enquiry_answered {
        return 0;
    }
    let took_ns = now_ns.saturating_sub(asking.enquired_ns);
    asking.enquired_ns = 0;
    if outward != 0 {
        bind.server_link_ns = took_ns;
    } else {
        bind.client_link_ns = took_ns;
    }
    1
}

/// The session of the connection in the scratch is over: its bind ends, and nobody waits for answers any more.
/// `outward` is not 0 on the way out; with `forget` what was refused is forgotten, too.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_end_connection(outward: u64, forget: u64) -> u64 {
    let Some(scratch) = maps::SMPP_SCRATCH.get_ptr(0) else { return 0 };
    // SAFETY: this CPU's own value.
    let scratch = unsafe { &*scratch };
    let client = if outward != 0 { &scratch.reverse } else { &scratch.key };
    end(client);
    if let Some(refusals) = maps::REFUSALS.get_ptr_mut(client) {
        refusal::stop_waiting(u16::from_be_bytes(client.destination_port), refusals);
        if forget != 0 {
            let _ = maps::REFUSALS.remove(client);
        }
    }
    1
}

/// Ends the bind of a connection, if it has one.
#[inline(always)]
fn end(client: &FlowKey) {
    let Some(bind) = maps::BINDS.get_ptr(client) else { return };
    // SAFETY: a map value.
    let (phase, number) = unsafe { ((*bind).phase, (*bind).account) };
    if maps::BINDS.remove(client).is_ok() && phase == BindPhase::Bound as u32 {
        move_place(number, u64::MAX);
        if let Some(account) = maps::ACCOUNTS.get_ptr_mut(number) {
            counters::bind(account, BindCount::Ended);
        }
    }
}

/// Takes a place of an account, or gives it back (`u64::MAX` is minus one).
#[inline(always)]
pub(crate) fn move_place(number: u32, by: u64) {
    if let Some(account) = maps::ACCOUNTS.get_ptr_mut(number) {
        atomic::add(places(account), by);
    }
}

#[inline(always)]
fn places(account: *mut AccountState) -> *mut u64 {
    // SAFETY: within the map value.
    unsafe { &raw mut (*account).binds_active }
}

/// The account that binds under a name.
#[inline(always)]
fn by_system_id(system_id: &SystemId) -> Option<u32> {
    maps::SYSTEM_IDS.get_ptr(system_id).map(|number| {
        // SAFETY: a map value.
        unsafe { *number }
    })
}

#[inline(always)]
fn system_id(tally: &Tally) -> &SystemId {
    // SAFETY: four words of four octets each are sixteen octets.
    unsafe { &*tally.bind_system_id.as_ptr().cast::<SystemId>() }
}
