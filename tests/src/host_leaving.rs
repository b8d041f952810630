//! What leaves, heard on the host.

use edge_ebpf::abi::{Settings, SourceKey};
use edge_ebpf::outbound::{self, Outbound};
use edge_ebpf::wire::sip::Reading;
use edge_ebpf::wire::{sip, transport};

use crate::host::{Host, aggregated};

/// One packet on its way out.
pub(crate) struct Leaving<'a> {
    pub(crate) host: &'a mut Host,
    pub(crate) frame: &'a [u8],
    /// For how long a REGISTER was accepted, where the answer says.
    pub(crate) granted_s: Option<u32>,
}

impl Outbound for Leaving<'_> {
    fn services(&self, port: u16) -> u8 {
        self.host.ports.services[usize::from(port)]
    }

    fn read_sip(&mut self, transport: &transport::Header) -> sip::Heard {
        let end = transport.end.min(transport.payload + sip::PAYLOAD_BYTES_MAX as usize);
        let Some(payload) = self.frame.get(transport.payload..end) else { return sip::Heard::NOTHING };
        let Settings { hash_key: [hash_key, _], prefix_digits, .. } = self.host.settings;
        let reading = Reading { hash_key, source_key: 0, prefix_digits, hears: true, answers: false };
        let mut scratch = sip::read(payload, reading);
        self.granted_s = scratch.read_grants();
        scratch.heard()
    }

    fn hear(&mut self, peer: &SourceKey, heard: &sip::Heard) {
        let key = aggregated(peer, &self.host.settings);
        let (account, _) = self.host.resolve(&key);
        let is_believed = self.host.believes(&key, account, heard);
        if is_believed && let Some(source) = self.host.sources.get_mut(&key) {
            source.failures += u64::from(outbound::is_rejection(heard.status));
            if outbound::is_registration(heard) {
                source.registrations += 1;
                source.registered_until_ns = outbound::registered_until(
                    source.registered_until_ns,
                    self.granted_s,
                    self.host.settings.registered_for_ns,
                    self.host.now_ns,
                );
            }
        }
        let now_ns = self.host.now_ns;
        if let Some(state) = self.host.accounts.get_mut(&account) {
            self.host.calls.hear(account, state, heard, now_ns);
        }
    }
}
