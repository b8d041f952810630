//! User agents of known scanners, among strangers.

use edge_ebpf::abi::EventKind;

use crate::accounts::Party;
use crate::{events, maps, sip};

/// Between two events of one source.
const TELL_EVERY_NS: u64 = 10_000_000_000;

/// Tells of the source if its request names a known scanner.
#[inline(always)]
pub(crate) fn look(party: &Party, source: [u64; 2], now_ns: u64) {
    // SAFETY: within the map value that `source` points to; a lost race costs one event more.
    let told_ns = unsafe { &raw mut (*party.source).agent_told_ns };
    // SAFETY: as above.
    let before_ns = unsafe { told_ns.read() };
    if before_ns != 0 && now_ns.saturating_sub(before_ns) < TELL_EVERY_NS {
        return;
    }
    let agent = edge_scanner();
    if agent != 0 {
        // SAFETY: as above.
        unsafe { told_ns.write(now_ns) };
        events::send(EventKind::ScannerAgent, party.number, source, agent, 0, now_ns);
    }
}

/// The known scanner that the request in this CPU's scratch names; 0 if it names none.
///
/// A global function, so that the verifier proves it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_scanner() -> u64 {
    let Some(scratch) = maps::SIP_SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's own value; the parser's borrow has ended.
    let scratch = unsafe { &mut *scratch };
    sip::find_agent(scratch);
    scratch.scanner()
}
