//! The kernels that Edge is meant for, in virtual machines.

use anyhow::{Result, bail};

/// Which kernel.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this kernel series; all of them when missing
    #[arg(long, value_parser = ["6.1", "6.12"])]
    kernel: Option<String>,
}

/// A Debian kernel.
pub(crate) struct Kernel {
    /// `6.1`.
    pub(crate) series: &'static str,
}

/// The oldest that Edge runs on, and a newer one.
pub(crate) const KERNELS: &[Kernel] = &[Kernel { series: "6.1" }, Kernel { series: "6.12" }];

/// Runs the suite on each kernel.
pub(crate) fn run(args: &Args) -> Result<()> {
    for kernel in KERNELS {
        if args.kernel.as_deref().is_none_or(|wanted| wanted == kernel.series) {
            run_kernel(kernel)?;
        }
    }
    Ok(())
}

/// Runs the suite on one kernel.
pub(crate) fn run_kernel(kernel: &Kernel) -> Result<()> {
    bail!("virtual machines are not there yet ({})", kernel.series)
}
