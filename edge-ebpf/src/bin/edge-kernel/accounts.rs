//! From a source to its account: one hash lookup for a source that is known, two walks of the prefix tries
//! for one that is new or was resolved under another generation.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::maps::lpm_trie::Key;
use edge_ebpf::abi::{
    AccountState, Class, Limit, Member, Policy, Settings, SourceState, Standing, StandingKind,
};
use edge_ebpf::decide::Scope;
use edge_ebpf::meter;
use edge_ebpf::verifier::opaque;

use crate::{atomic, maps};

/// The account of unknown sources.
const UNKNOWN: Member = Member { account: 0, trunk: 0 };
/// Races that a charge may lose before it gives up and refuses.
const CHARGE_TRIES: usize = 16;

/// A source with its account, as found for one packet.
#[derive(Clone, Copy)]
pub(crate) struct Party {
    /// The account's number.
    pub(crate) number: u32,
    /// The source's entry.
    pub(crate) source: *mut SourceState,
    /// The account's limits.
    pub(crate) policy: *const Policy,
    /// The account's buckets and counters.
    pub(crate) account: *mut AccountState,
}

/// The account of a peer outside, and its entry if it has one: what the way out needs, which remembers nobody.
#[inline(always)]
pub(crate) fn peer(key: &[u64; 2], settings: &Settings) -> (u32, Option<*mut SourceState>) {
    let source = maps::SOURCES.get_ptr_mut(key);
    if let Some(source) = source {
        // SAFETY: a map value, whose words each stand for themselves.
        let (account, generation) = unsafe { ((*source).account, (*source).generation) };
        if generation == settings.generation {
            return (account, Some(source));
        }
    }
    (resolve(key).0.account, source)
}

impl Party {
    /// Finds the source, or makes it. `None`: no room, or new and not to be remembered.
    #[inline(always)]
    pub(crate) fn find(key: &[u64; 2], remember: bool, settings: &Settings, now_ns: u64) -> Option<Self> {
        let source = match maps::SOURCES.get_ptr_mut(key) {
            Some(source) => source,
            None if remember => insert(key, settings.generation, now_ns),
            None => return None,
        };
        if source.is_null() {
            return None;
        }
        // SAFETY: pointers into map values, which outlive the program run; other CPUs may write the same words,
        // and each word stands for itself.
        unsafe {
            if (*source).generation != settings.generation {
                renew(source, key, settings.generation);
            }
            (*source).seen_ns = now_ns;
            if (*source).registered_until_ns <= now_ns {
                (*source).registered_until_ns = 0;
            }
            let number = (*source).account;
            // A number beyond the map is an account that was taken away while the source was cached.
            match (maps::POLICIES.get_ptr(number), maps::ACCOUNTS.get_ptr_mut(number)) {
                (Some(policy), Some(account)) => Some(Self { number, source, policy, account }),
                _ => None,
            }
        }
    }

    /// A source that was found before, with its account.
    #[inline(always)]
    pub(crate) fn of(source: *mut SourceState) -> Option<Self> {
        // SAFETY: as in `find`.
        Self::numbered(source, unsafe { (*source).account })
    }

    /// A source that was found before, under an account.
    #[inline(always)]
    pub(crate) fn numbered(source: *mut SourceState, number: u32) -> Option<Self> {
        let (policy, account) = (maps::POLICIES.get_ptr(number)?, maps::ACCOUNTS.get_ptr_mut(number)?);
        Some(Self { number, source, policy, account })
    }

    /// The same source under the account of a bind; `None` if there is none.
    #[inline(always)]
    pub(crate) fn under(&self, number: u32) -> Option<Self> {
        if number == 0 {
            return None;
        }
        Self::numbered(self.source, number)
    }

    /// The source's standing, unless it has ended.
    #[inline(always)]
    pub(crate) fn standing(&self, now_ns: u64) -> StandingKind {
        // SAFETY: as in `find`.
        let standing = unsafe { (*self.source).standing };
        if standing.until_ns <= now_ns {
            return StandingKind::Metered;
        }
        if standing.kind == StandingKind::Banned as u32 {
            StandingKind::Banned
        } else if standing.kind == StandingKind::Allowed as u32 {
            StandingKind::Allowed
        } else {
            StandingKind::Metered
        }
    }

    /// The limit in force.
    #[inline(always)]
    pub(crate) fn limit(&self, scope: Scope, class: Class) -> Limit {
        let class = opaque(class.index() as u64) as usize;
        if class >= Class::COUNT {
            return Limit::NONE;
        }
        // SAFETY: as in `find`; the index was checked.
        unsafe {
            match scope {
                Scope::Source if self.is_registered() => (*self.policy).registered[class],
                Scope::Source => (*self.policy).source[class],
                Scope::Account => (*self.policy).account[class],
            }
        }
    }

    /// Whether the server has accepted a REGISTER of the source, and not too long ago.
    #[inline(always)]
    pub(crate) fn is_registered(&self) -> bool {
        // SAFETY: as in `find`, which has seen to it that it is not over.
        unsafe { (*self.source).registered_until_ns != 0 }
    }

    /// Charges a bucket if the cost conforms.
    #[inline(always)]
    pub(crate) fn charge(&self, scope: Scope, class: Class, limit: Limit, cost: u32, now_ns: u64) -> bool {
        match self.bucket(scope, class) {
            Some(bucket) => charge(bucket, limit, cost, now_ns),
            None => true,
        }
    }

    /// The same by a call.
    #[inline(always)]
    pub(crate) fn charge_apart(
        &self,
        scope: Scope,
        class: Class,
        limit: Limit,
        cost: u32,
        now_ns: u64,
    ) -> bool {
        match self.bucket(scope, class) {
            Some(bucket) => {
                edge_charge(bucket, limit.interval_ns, limit.burst_ns, u64::from(cost), now_ns) != 0
            }
            None => true,
        }
    }

    /// Charges a bucket that has just refused, beyond its limit.
    #[inline(always)]
    pub(crate) fn owe(&self, scope: Scope, class: Class, limit: Limit, cost: u32, now_ns: u64) {
        if let Some(bucket) = self.bucket(scope, class) {
            edge_owe(bucket, limit.interval_ns, limit.burst_ns, u64::from(cost), now_ns);
        }
    }

    /// Charges the source's bucket of answers and records.
    #[inline(always)]
    pub(crate) fn attend(&self, limit: Limit, now_ns: u64) -> bool {
        // SAFETY: as in `find`.
        let bucket = unsafe { &raw mut (*self.source).answers_ns };
        charge(bucket, limit, 1, now_ns)
    }

    /// Gives back what was charged.
    #[inline(always)]
    pub(crate) fn refund(&self, scope: Scope, class: Class, limit: Limit, cost: u32) {
        if let Some(bucket) = self.bucket(scope, class) {
            atomic::add(bucket, meter::price_ns(limit, cost).wrapping_neg());
        }
    }

    #[inline(always)]
    fn bucket(&self, scope: Scope, class: Class) -> Option<*mut u64> {
        let class = opaque(class.index() as u64) as usize;
        if class >= Class::COUNT {
            return None;
        }
        // SAFETY: as in `find`; the index was checked.
        Some(unsafe {
            match scope {
                Scope::Source => &raw mut (*self.source).buckets[class],
                Scope::Account => &raw mut (*self.account).buckets[class],
            }
        })
    }
}

/// Charges a bucket, exactly over all CPUs, if the cost conforms. In place, for a call costs more than the arithmetic where
/// the kernel guards its returns; only a race that is lost goes on in [`edge_charge`].
#[inline(always)]
pub(crate) fn charge(bucket: *mut u64, limit: Limit, cost: u32, now_ns: u64) -> bool {
    let tat_ns = atomic::load(bucket);
    let Some(next_ns) = meter::charge(tat_ns, limit, cost, now_ns) else { return false };
    atomic::compare_exchange(bucket, tat_ns, next_ns).1
        || edge_charge(bucket, limit.interval_ns, limit.burst_ns, u64::from(cost), now_ns) != 0
}

/// [`charge`] in a race with other CPUs; 0 if the cost does not conform.
///
/// A global function: the verifier proves it once and by itself. Inlined at each of its calls, the branches of
/// the arithmetic in each turn of the loop are multiplied with all that follows, beyond a million instructions.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_charge(bucket: *mut u64, interval_ns: u64, burst_ns: u64, cost: u64, now_ns: u64) -> u64 {
    if bucket.is_null() {
        return 1;
    }
    let limit = Limit { interval_ns, burst_ns };
    let mut tat_ns = atomic::load(bucket);
    for _ in 0..CHARGE_TRIES {
        let Some(next_ns) = meter::charge(tat_ns, limit, cost as u32, now_ns) else { return 0 };
        let (before_ns, charged) = atomic::compare_exchange(bucket, tat_ns, next_ns);
        if charged {
            return 1;
        }
        tat_ns = before_ns;
    }
    0
}

/// Charges a bucket beyond its limit. A function beside [`edge_charge`], whose stack has no room for more.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_owe(bucket: *mut u64, interval_ns: u64, burst_ns: u64, cost: u64, now_ns: u64) -> u64 {
    if bucket.is_null() {
        return 1;
    }
    let limit = Limit { interval_ns, burst_ns };
    let mut tat_ns = atomic::load(bucket);
    for _ in 0..CHARGE_TRIES {
        let next_ns = meter::owe(tat_ns, limit, cost as u32, now_ns);
        let (before_ns, charged) = atomic::compare_exchange(bucket, tat_ns, next_ns);
        if charged {
            return 1;
        }
        tat_ns = before_ns;
    }
    0
}

/// Account and standing by longest prefix.
#[inline(always)]
fn resolve(key: &[u64; 2]) -> (Member, Standing) {
    let whole = Key::new(128, *key);
    let member = match maps::MEMBERS.get(&whole) {
        Some(member) => *member,
        None => UNKNOWN,
    };
    let standing = match maps::STANDINGS.get(&whole) {
        Some(standing) => *standing,
        None => Standing { kind: StandingKind::Metered as u32, reserved: 0, until_ns: 0 },
    };
    (member, standing)
}

/// Finds out anew whose a source is. By a call, as [`insert`]: it is rare, and its stack would be needed by every packet.
#[inline(never)]
fn renew(source: *mut SourceState, key: &[u64; 2], generation: u32) {
    let (member, standing) = resolve(key);
    // SAFETY: as in `Party::find`.
    unsafe {
        (*source).account = member.account;
        (*source).trunk = member.trunk;
        (*source).standing = standing;
        (*source).generation = generation;
    }
}

/// Makes an entry for a new source. Null: there is no room.
#[inline(never)]
fn insert(key: &[u64; 2], generation: u32, now_ns: u64) -> *mut SourceState {
    let Some(fresh) = maps::FRESH_SOURCE.get_ptr_mut(0) else { return core::ptr::null_mut() };
    let (member, standing) = resolve(key);
    // SAFETY: this CPU's own value; all that is not written here is zero in it, always.
    let fresh = unsafe { &mut *fresh };
    fresh.account = member.account;
    fresh.trunk = member.trunk;
    fresh.generation = generation;
    fresh.standing = standing;
    fresh.seen_ns = now_ns;
    // Another CPU may have been first; then its entry is found below.
    let fresh: &SourceState = fresh;
    let _ = maps::SOURCES.insert(key, fresh, u64::from(BPF_NOEXIST));
    maps::SOURCES.get_ptr_mut(key).unwrap_or(core::ptr::null_mut())
}
