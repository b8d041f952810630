//! Running other programs: each is printed, and a failure names the whole command.

use std::{
    fmt::Write as _,
    io::{self, BufRead as _, BufReader},
    path::Path,
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// What `cargo run` and a rustup proxy set for this process, and what a cargo of another toolchain must not see:
/// it would take the wrong compiler, or flags that replace those of `.cargo/config.toml`.
const CARGO_VARIABLES: [&str; 14] = [
    "CARGO",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "RUST_RECURSION_COUNT",
    "LD_LIBRARY_PATH",
];

/// Runs it to its end with its standard output on our standard error: ours is for results.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    eprintln!("$ {shown}");
    let status = command
        .stdout(Stdio::from(io::stderr()))
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    succeeded(&shown, status)
}

fn succeeded(shown: &str, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

/// As [`run`], and every line of its standard output is seen by `watch`.
pub(crate) fn run_watched(command: &mut Command, mut watch: impl FnMut(&str)) -> Result<()> {
    let shown = show(command);
    eprintln!("$ {shown}");
    let starts = || format!("cannot start `{shown}`");
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(starts)?;
    let output = child.stdout.take().with_context(starts)?;
    // A test may print what is no text.
    for line in BufReader::new(output).split(b'\n') {
        let line = line.with_context(|| format!("cannot read what `{shown}` says"))?;
        let line = String::from_utf8_lossy(&line);
        eprintln!("{line}");
        watch(&line);
    }
    succeeded(&shown, child.wait().with_context(starts)?)
}

/// Runs it in silence and returns what it printed; an error when it fails.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Becomes that program, so that its exit status and the signals sent to us are its own: it cleans up after itself.
pub(crate) fn become_program(command: &mut Command) -> Result<()> {
    use std::os::unix::process::CommandExt as _;
    let shown = show(command);
    eprintln!("$ {shown}");
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start `{shown}`"))
}

/// A command with root's rights: itself when we are root, else through sudo.
pub(crate) fn privileged(program: &str) -> Result<Command> {
    if workspace::is_root() {
        return Ok(Command::new(program));
    }
    let mut command = sudo()?;
    command.arg(program);
    Ok(command)
}

/// A program of our own with root's rights.
pub(crate) fn privileged_path(program: &Path) -> Result<Command> {
    privileged(program.to_str().context("the workspace's path is not UTF-8")?)
}

/// `sudo`, with the environment kept; asks for a password only where somebody can type it.
pub(crate) fn sudo() -> Result<Command> {
    let sudo = workspace::find_program("sudo")
        .context("this step needs root: run it as root, or install sudo and allow it")?;
    let mut command = Command::new(sudo);
    if !io::IsTerminal::is_terminal(&io::stdin()) {
        command.arg("--non-interactive");
    }
    command.arg("--preserve-env");
    Ok(command)
}

/// The host's cargo, as whoever started us chose it.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace::root());
    command
}

/// A command that sees nothing of the cargo that started us; it still is in the workspace.
pub(crate) fn without_cargo(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace::root());
    for variable in CARGO_VARIABLES {
        command.env_remove(variable);
    }
    command
}

/// As it could be typed into a shell (quoting only what needs it).
fn show(command: &Command) -> String {
    let mut shown = String::new();
    for (name, value) in command.get_envs() {
        // PATH would hide the command.
        if let Some(value) = value
            && name != "PATH"
        {
            let _ = write!(shown, "{}={} ", name.to_string_lossy(), quote(&value.to_string_lossy()));
        }
    }
    shown.push_str(&quote(&command.get_program().to_string_lossy()));
    for argument in command.get_args() {
        shown.push(' ');
        shown.push_str(&quote(&argument.to_string_lossy()));
    }
    shown
}

fn quote(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,@+%~".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::{Command, quote, show};

    #[test]
    fn a_command_is_shown_as_it_could_be_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.env("RUSTC_BOOTSTRAP", "1").env_remove("CARGO").args(["build", "-C", "link arg"]);
        assert_eq!(show(&command), "RUSTC_BOOTSTRAP=1 /usr/bin/cargo build -C 'link arg'");
    }

    #[test]
    fn a_quote_inside_a_word_survives_the_shell() {
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }
}
