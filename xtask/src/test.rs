//! Every test, and one line that says how it went.

use std::{
    fmt, fs, panic,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context as _, Result, bail};

use crate::{build_ebpf, command, setup, vm, workspace};

/// Which tests.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also the suites that need a virtual machine, beside those that wait for real time
    #[arg(long)]
    all: bool,
    /// Only tests whose names contain one of these; everything else that nextest understands works too
    #[arg(last = true)]
    nextest: Vec<String>,
}

/// What nextest counted in one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    /// Of those that passed, the ones that needed a second try (.config/nextest.toml).
    unsteady: u64,
}

/// Host tests without privilege, then the suites as root.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::ensure_for_tests()?;
    build_ebpf::run()?;
    setup::ensure_bpf_filesystem()?;
    // All at once: both cores are busy to the end, and nothing is compiled beside tests. Dependencies have the features
    // that they have in the runs below, and are built once.
    command::run(command::cargo().args(["test", "--no-run", "--workspace"]))?;

    let machines = if args.all { vm::prepare(&vm::SERIES)? } else { Vec::new() };
    // Tests in namespaces wait more than they compute, and the machines take only what others leave.
    let counts = thread::scope(|scope| {
        let machines: Vec<_> = machines.iter().map(|machine| scope.spawn(|| run_vm(machine))).collect();
        let mut counts = run_suites(args)?;
        for machine in machines {
            counts.add(machine.join().unwrap_or_else(|panic| panic::resume_unwind(panic)));
        }
        anyhow::Ok(counts)
    })?;
    println!("{counts}");
    if counts.failed > 0 || counts.passed == 0 {
        bail!("not every test passed");
    }
    Ok(())
}

/// Everything that needs no other kernel.
fn run_suites(args: &Args) -> Result<Counts> {
    let mut counts = run_nextest(
        &["--package", "edge-ebpf", "--package", "edge-user", "--package", "xtask"],
        false,
        args,
    )?;
    if args.nextest.is_empty() {
        counts.add(run_kernel_suite()?);
        counts.add(run_nextest(&["--package", "edge-tests", "-E", "not binary(prog_run)"], true, args)?);
    } else {
        counts.add(run_nextest(&["--package", "edge-tests"], true, args)?);
    }
    Ok(counts)
}

/// One run of nextest; tests that need privilege are built as the user and run as root.
fn run_nextest(packages: &[&str], as_root: bool, args: &Args) -> Result<Counts> {
    let report = report_path();
    if report.exists() {
        fs::remove_file(&report).with_context(|| format!("cannot remove {}", report.display()))?;
    }
    let mut nextest = command::cargo();
    nextest.args(["nextest", "run", "--no-fail-fast", "--no-tests", "pass"]).args(packages);
    if workspace::is_ci() {
        nextest.args(["--profile", "ci"]);
    }
    nextest
        .args(&args.nextest)
        .env("PATH", setup::peer_programs()?)
        .env("EDGE_PEERS", workspace::peers())
        .env("EDGE_BIN", workspace::target().join("debug"));
    if as_root {
        run_tests_as_root(&mut nextest, &[])?;
    }
    let outcome = command::run(&mut nextest);
    let counts = fs::read_to_string(&report).ok().map(|report| Counts::of(&report));
    match (outcome, counts) {
        (Ok(()), None) => Ok(Counts::default()),
        (Ok(()), Some(counts)) => Ok(counts),
        // Failed tests are counted and do not hide the tests after them; anything else is not a test result.
        (Err(_), Some(counts)) if counts.failed > 0 => Ok(counts),
        (Err(error), _) => Err(error),
    }
}

/// For the suite `prog_run`, which takes half a minute where nothing else runs.
const KERNEL_SUITE_LIMIT_SECS: &str = "600";

/// The suite `prog_run` in one process, where tests hand kernels to each other. Nextest has a process for each test, and in
/// each the programs are verified once more, which takes longer than most of these tests.
fn run_kernel_suite() -> Result<Counts> {
    let mut suite = command::cargo();
    suite.args(["test", "--package", "edge-tests", "--test", "prog_run", "--", "--test-threads", "2"]);
    run_tests_as_root(&mut suite, &["timeout", KERNEL_SUITE_LIMIT_SECS])?;
    let mut counts = None;
    let outcome = command::run_watched(&mut suite, |line| counts = Counts::of_suite(line).or(counts));
    match (outcome, counts) {
        (Ok(()), Some(counts)) => Ok(counts),
        (Err(_), Some(counts)) if counts.failed > 0 => Ok(counts),
        (Err(error), _) => Err(error),
        (Ok(()), None) => bail!("prog_run did not say how it went"),
    }
}

/// Builds as the user, and runs what was built as root, started by `starter`.
fn run_tests_as_root(cargo: &mut Command, starter: &[&str]) -> Result<()> {
    let mut words: Vec<String> = Vec::new();
    if !workspace::is_root() {
        let sudo = command::sudo()?;
        let sudo = [sudo.get_program()].into_iter().chain(sudo.get_args());
        words.extend(sudo.map(|word| word.to_string_lossy().into_owned()));
    }
    words.extend(starter.iter().map(|word| (*word).to_owned()));
    if !words.is_empty() {
        cargo.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", words.join(" "));
    }
    Ok(())
}

/// The suites in a virtual machine count as one test.
fn run_vm(machine: &vm::Machine) -> Counts {
    match machine.run() {
        Ok(()) => Counts { passed: 1, ..Counts::default() },
        Err(error) => {
            eprintln!("in a virtual machine: {error:#}");
            Counts { failed: 1, ..Counts::default() }
        }
    }
}

/// Where nextest leaves its report (.config/nextest.toml).
fn report_path() -> PathBuf {
    let profile = if workspace::is_ci() { "ci" } else { "default" };
    workspace::target().join("nextest").join(profile).join(Path::new("junit.xml"))
}

impl Counts {
    /// The totals in the root element of a JUnit report, and the tests that have a failure and passed after it.
    fn of(report: &str) -> Self {
        let start = report.find("<testsuites ").unwrap_or(report.len());
        let root = report[start..].split('>').next().unwrap_or_default();
        let total = |attribute: &str| -> u64 {
            root.split_once(&format!(" {attribute}=\""))
                .and_then(|(_, rest)| rest.split('"').next()?.parse().ok())
                .unwrap_or(0)
        };
        let failed = total("failures") + total("errors");
        let unsteady = |test: &&str| test.contains("<flakyFailure") || test.contains("<flakyError");
        let unsteady = report.split("<testcase ").filter(unsteady).count().try_into().unwrap_or(0);
        Self { passed: total("tests").saturating_sub(failed), failed, unsteady }
    }

    /// What the last line of a suite that ran in one process says; `None` for every other line.
    fn of_suite(line: &str) -> Option<Self> {
        let (_, said) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what: &str| {
            said.split("; ")
                .find_map(|part| part.strip_suffix(what))
                .and_then(|number| number.trim().parse().ok())
        };
        Some(Self { passed: count(" passed")?, failed: count(" failed")?, unsteady: 0 })
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.unsteady += other.unsteady;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, unsteady } = self;
        write!(formatter, "{passed} passed, {failed} failed")?;
        if *unsteady > 0 {
            write!(formatter, "; {unsteady} of those that passed needed a second try (FLAKY above)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn failures_and_errors_are_not_counted_as_passed() {
        let report = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="12" failures="2" errors="1" time="0.5">
    <testsuite name="a" tests="99" failures="0">"#;
        assert_eq!(Counts::of(report), Counts { passed: 9, failed: 3, unsteady: 0 });
    }

    #[test]
    fn a_test_that_passed_at_the_second_try_is_counted_and_told() {
        let report = r#"<testsuites name="nextest-run" tests="3" failures="0" errors="0" time="0.5">
    <testsuite name="a" tests="3" failures="0">
        <testcase name="one"/>
        <testcase name="two"><flakyFailure type="test failure with exit code 101"/></testcase>
        <testcase name="three"/>"#;
        let counts = Counts::of(report);
        assert_eq!(counts, Counts { passed: 3, failed: 0, unsteady: 1 });
        assert!(counts.to_string().contains("1 of those that passed"), "{counts}");
    }

    #[test]
    fn a_suite_in_one_process_is_counted_by_its_last_line() {
        let said = "test result: FAILED. 42 passed; 2 failed; 0 ignored; 0 measured; 1 filtered out; finished in 31.20s";
        assert_eq!(Counts::of_suite(said), Some(Counts { passed: 42, failed: 2, unsteady: 0 }));
        assert_eq!(Counts::of_suite("test rows::every_row ... ok"), None);
        assert_eq!(Counts::of_suite("test result: ok. 42 pas"), None);
    }

    #[test]
    fn a_report_cut_short_counts_nothing() {
        assert_eq!(Counts::of("<?xml version"), Counts::default());
    }
}
