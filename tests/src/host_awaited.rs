//! Requests whose answers are waited for, on the host.

use edge_ebpf::abi::{Method, Settings, SourceKey};
use edge_ebpf::awaited::{fingerprint, is_awaited, must_be_awaited};
use edge_ebpf::hash::mix;
use edge_ebpf::repeat;
use edge_ebpf::wire::sip::{Heard, Scratch};

use crate::host::Host;

impl Host {
    pub(crate) fn await_answer(
        &mut self,
        source: &SourceKey,
        account: u32,
        parsed: &Scratch,
        method: Method,
    ) {
        if !is_awaited(method, account) {
            return;
        }
        let source_key = source_key(source, &self.settings);
        let is_register = method == Method::Register;
        let fingerprint = fingerprint(source_key, parsed.call_id_hash(), parsed.cseq(), is_register);
        let now_ns = self.now_ns;
        repeat::remember(self.repeat_set(fingerprint), fingerprint, now_ns);
    }

    pub(crate) fn believes(&mut self, source: &SourceKey, account: u32, heard: &Heard) -> bool {
        if !must_be_awaited(heard, account) {
            return true;
        }
        let source_key = source_key(source, &self.settings);
        let is_register = heard.method == Method::Register;
        let fingerprint = fingerprint(source_key, heard.call_id_hash, heard.cseq, is_register);
        let (window_ns, now_ns) = (self.settings.repeat_window_ns, self.now_ns);
        repeat::take(self.repeat_set(fingerprint), fingerprint, window_ns, now_ns)
    }
}

/// A source as a keyed hash.
pub(crate) fn source_key(source: &SourceKey, settings: &Settings) -> u64 {
    let source = u128::from_ne_bytes(*source);
    let (low, high) = (source & u128::from(u64::MAX), source >> 64);
    let [_, key] = settings.hash_key;
    mix(mix(key, half(low)), half(high))
}

fn half(word: u128) -> u64 {
    u64::try_from(word).unwrap_or(0)
}
