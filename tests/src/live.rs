//! Kernel programs on interfaces, and frames as a network card would bring them (`BPF_F_TEST_XDP_LIVE_FRAMES`).

use anyhow::{Context as _, Result};
use aya::programs::xdp::XdpLinkId;
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use nix::net::if_::if_nametoindex;

use crate::kernel::Kernel;

/// Frames that the kernel makes before it hands them on (`net/bpf/test_run.c`).
const BATCH: u32 = 64;

impl Kernel {
    /// Attaches a program natively, in the namespace of the calling thread.
    pub fn attach(&mut self, name: &str, interface: &str) -> Result<XdpLinkId> {
        let program = self.xdp(name)?;
        program.attach(interface, XdpMode::Driver).with_context(|| format!("cannot attach {name}"))
    }

    /// Takes it off.
    pub fn detach(&mut self, name: &str, link: XdpLinkId) -> Result<()> {
        Ok(self.xdp(name)?.detach(link)?)
    }

    /// Runs a program on `count` live frames that came, as they are told, from `interface`.
    pub fn live(&mut self, name: &str, frame: &[u8], interface: &str, count: u32) -> Result<()> {
        let index = if_nametoindex(interface).with_context(|| format!("no interface {interface}"))?;
        // struct xdp_md (include/uapi/linux/bpf.h): data, data_end, data_meta, ingress_ifindex, rx_queue_index,
        // egress_ifindex.
        let words = [0, u32::try_from(frame.len())?, 0, index, 0, 0];
        let context: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            repeat: count,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        };
        self.xdp(name)?.test_run(options).with_context(|| format!("{name} took no live frames"))?;
        Ok(())
    }

    fn xdp(&mut self, name: &str) -> Result<&mut Xdp> {
        let program = self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        Ok(program.try_into()?)
    }
}
