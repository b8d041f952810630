//! Time of processors.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// Keeps the calling thread, and what it starts, on one processor.
pub(crate) fn pin(processor: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("cannot choose the processor")
}

/// Keeps the first thread of a process on one processor.
pub(crate) fn pin_process(id: u32, processor: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    sched_setaffinity(Pid::from_raw(i32::try_from(id)?), &set).context("cannot choose a process's processor")
}

/// What all threads of a process have used.
pub(crate) fn of_threads(id: u32) -> Result<Duration> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).context("a process has ended")?;
    let of_thread = |thread: std::io::Result<fs::DirEntry>| of_process(&thread.ok()?.path());
    Ok(threads.filter_map(of_thread).sum())
}

/// What softirqs have used on all processors, as the kernel's ticks have seen it.
pub(crate) fn softirqs() -> Result<Duration> {
    /// `USER_HZ` of x86-64.
    const TICKS: f64 = 100.0;
    let said = fs::read_to_string("/proc/stat")?;
    // cpu, user, nice, system, idle, iowait, irq, softirq (Documentation/filesystems/proc.rst).
    let ticks = said.split_whitespace().nth(7).context("/proc/stat tells of softirqs")?;
    Ok(Duration::from_secs_f64(ticks.parse::<f64>()? / TICKS))
}

/// What the calling thread and the `ksoftirqd` of processor 0 have used. Softirqs that run within the thread count as its own
/// time (no `CONFIG_IRQ_TIME_ACCOUNTING`).
pub(crate) fn spent() -> Result<Duration> {
    let own = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    let own = Duration::new(u64::try_from(own.tv_sec())?, u32::try_from(own.tv_nsec())?);
    Ok(own + of_processes(|name| name == "ksoftirqd/0")?)
}

/// What all processes have used whose name is wanted.
pub(crate) fn of_processes(is_wanted: impl Fn(&str) -> bool) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Ok(name) = fs::read_to_string(path.join("comm")) else { continue };
        if is_wanted(name.trim()) {
            sum += of_process(&path).unwrap_or_default();
        }
    }
    Ok(sum)
}

/// The first field: nanoseconds on a processor (Documentation/scheduler/sched-stats.rst).
fn of_process(path: &std::path::Path) -> Option<Duration> {
    let said = fs::read_to_string(path.join("schedstat")).ok()?;
    Some(Duration::from_nanos(said.split(' ').next()?.parse().ok()?))
}
