//! Drives a walk on the host.

use super::{Finding, Next, SCAN_STEPS, STEPS, Segment, Walk, Witness};
use crate::packet::Packet;
use crate::stream::Flow;

impl Walk {
    /// Drives a whole segment with plain loops: the host's version of what the kernel does with `bpf_loop`.
    /// Commits nothing.
    pub fn run<P: Packet + ?Sized, W: Witness>(
        &mut self,
        flow: &Flow,
        packet: &P,
        segment: Segment,
        digits: u32,
        witness: &mut W,
    ) -> Finding {
        self.start(flow, segment, digits);
        if self.next() == Next::Scan {
            for _ in 0..SCAN_STEPS {
                if self.scan_step(packet).is_break() {
                    break;
                }
            }
            self.scanned(packet);
        }
        if self.next() == Next::Walk {
            for _ in 0..STEPS {
                if self.step(flow, packet, witness).is_break() {
                    break;
                }
            }
        }
        self.finding()
    }
}
