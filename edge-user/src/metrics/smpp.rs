//! Binds, and how refusals in SMPP's own words go.

use std::fmt;

use edge_ebpf::abi::BindCount;
use prometheus_client::encoding::DescriptorEncoder;

use super::{Measures, count_if_any, count_one, counter, float, gauge, set};

/// One SMPP port, and how its refusals in SMPP's own words go.
#[derive(Clone, Copy, Debug)]
pub struct ListenerMeasures {
    /// TCP port.
    pub port: u16,
    /// Refused, answered, unmatched.
    pub refusals: [u64; 3],
    /// Refused and not answered yet.
    pub waiting: u64,
    /// Whether it drops what it should answer.
    pub has_fallen_back: bool,
}

impl Measures {
    pub(super) fn smpp(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut active = gauge(encoder, "edge_binds_active", "SMPP binds alive now")?;
        for (name, account) in &self.accounts {
            set(&mut active, [("account", name.as_str())], float(account.binds_active))?;
        }
        let mut binds = counter(encoder, "edge_binds", "SMPP binds by what became of them")?;
        for (name, account) in &self.accounts {
            for count in BindCount::ALL {
                let labels = [("account", name.as_str()), ("result", count.name())];
                count_if_any(&mut binds, labels, account.counters.binds[count.index()])?;
            }
        }
        let ports = || self.listeners.iter().map(|it| (it.port.to_string(), it));
        let mut refusals = counter(encoder, "edge_smpp_refusals", "Messages refused in SMPP's own words")?;
        for (port, listener) in ports() {
            for (result, count) in ["refused", "answered", "unmatched"].into_iter().zip(listener.refusals) {
                count_one(&mut refusals, [("port", port.as_str()), ("result", result)], count)?;
            }
        }
        let mut waiting = gauge(encoder, "edge_smpp_refusals_waiting", "Refusals not answered yet")?;
        for (port, listener) in ports() {
            set(&mut waiting, [("port", port.as_str())], float(listener.waiting))?;
        }
        let help = "1 while a port drops what it should answer";
        let mut fallen = gauge(encoder, "edge_smpp_fallen_back", help)?;
        for (port, listener) in ports() {
            set(&mut fallen, [("port", port.as_str())], f64::from(u8::from(listener.has_fallen_back)))?;
        }
        Ok(())
    }
}
