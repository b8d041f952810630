//! The command line as it is typed: the real binary before the daemon of paper.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use edge_user::api::types::ApiError;
use serde_json::Value;

use crate::fake::{self, Served, myself};

/// Every command that asks the daemon, as it is typed.
const QUESTIONS_AND_CHANGES: &[&str] = &[
    "status",
    "accounts list",
    "accounts show acme",
    "limits show",
    "limits show acme",
    "limits set acme sip.invite 20/s burst 40 --for 2h --reason peak",
    "limits unset acme sip.invite",
    "ban 203.0.113.0/24 --reason scanner",
    "allow 203.0.113.7 --for 15m --reason test",
    "unban 203.0.113.7",
    "measures list",
    "suspend acme --for 2d --reason unpaid",
    "resume acme",
    "binds list --account acme --limit 5",
    "binds show 203.0.113.7:40000-198.51.100.10:2775",
    "calls list --account acme --limit 5",
    "calls show 1-00000000000000ab --full",
    "calls drop-slot 1-00000000000000ab --reason stale",
    "calls stats --since 1h",
    "messages list --account acme --limit 5 --full",
    "messages stats --since 1h --account acme",
    "top --once",
    "alerts list --open --account acme",
    "alerts show 0195a0c0-0000-7000-8000-000000000001",
    "webhook test noc",
    "audit --limit 2",
    "plan",
    "reload",
    "detach --reason maintenance",
];

#[test]
fn every_command_answers_with_one_json_document_and_nothing_else() {
    let served = Served::start();
    for line in QUESTIONS_AND_CHANGES {
        let output = edgectl(&served.socket, &format!("{line} --json"));
        assert_eq!(said(&output), (Some(0), String::new()), "{line}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    let completions = edgectl(&served.socket, "completions zsh --json");
    let document: Value = serde_json::from_slice(&completions.stdout).unwrap();
    assert!(document["script"].as_str().unwrap().contains("#compdef edgectl"));
}

#[test]
fn every_command_has_text_for_people_without_colours_in_a_pipe() {
    let served = Served::start();
    for line in QUESTIONS_AND_CHANGES {
        let output = edgectl(&served.socket, line);
        assert_eq!(said(&output), (Some(0), String::new()), "{line}");
        let text = text(&output);
        assert!(!text.trim().is_empty(), "{line}");
        assert!(!text.contains('\u{1b}'), "{line}: {text}");
        assert!(serde_json::from_str::<Value>(&text).is_err(), "{line}: {text}");
    }
    let colored = edgectl(&served.socket, "status --color always");
    assert!(text(&colored).contains("\u{1b}[38;5;11mgeneric"), "{}", text(&colored));
}

#[test]
fn what_was_typed_reaches_the_daemon() {
    let served = Served::start();
    for line in [
        "limits set acme sip.invite 20/s burst 40 --for 2h --reason peak",
        "limits set acme packets 600/min --scope source --reason flood",
        "limits unset acme packets --scope source",
        "ban 203.0.113.0/24 --for 1d --reason scanner",
        "allow 2001:db8::/32 --reason test",
        "unallow 2001:db8::/32 --reason done",
        "calls drop-slot 1-00000000000000ab --reason stale",
        "webhook test noc",
        "reload",
        "detach --reason maintenance",
    ] {
        assert_eq!(said(&edgectl(&served.socket, line)), (Some(0), String::new()), "{line}");
    }
    let diary = served.daemon.diary();
    let deeds: Vec<&str> = diary.iter().map(|(_, deed)| deed.as_str()).collect();
    assert_eq!(
        deeds,
        [
            "set acme Account sip.invite 20/s burst 40 Some(7200) peak",
            "set acme Source packets 600/min None flood",
            "unset acme Source packets no reason given",
            "Ban 203.0.113.0/24 Some(86400) scanner",
            "Allow 2001:db8::/32 None test",
            "lift 2001:db8::/32 done",
            "drop 1-00000000000000ab stale",
            "test Some(\"noc\")",
            "reload",
            "detach maintenance",
        ]
    );
    assert!(diary.iter().all(|(actor, _)| *actor == myself()));
}

#[test]
fn top_prints_as_many_objects_as_asked_one_a_line() {
    let served = Served::start();
    let output = edgectl(&served.socket, "top --json --count 2");
    let text = text(&output);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["rows"][0]["account"], "acme");
}

#[test]
fn the_live_table_needs_a_terminal_and_says_what_else_there_is() {
    let served = Served::start();
    let (code, message) = said(&edgectl(&served.socket, "top"));
    assert_eq!(code, Some(2));
    assert!(message.contains("--once"), "{message}");
}

#[test]
fn a_refusal_of_the_daemon_is_exit_code_1_with_fact_and_advice() {
    let served = Served::start();

    let (code, message) = said(&edgectl(&served.socket, "accounts show nobody"));
    assert_eq!(code, Some(1));
    assert_eq!(message, "error: there is no account `nobody`\n  see `edgectl accounts list`\n");

    let output = edgectl(&served.socket, "plan /etc/edge/broken.toml --json");
    assert_eq!((output.status.code(), text(&output).as_str()), (Some(1), ""));
    let error: ApiError = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((error.code.as_str(), error.problems.len()), ("invalid_config", 2));
}

#[test]
fn a_failed_endpoint_is_exit_code_1_and_its_result_is_still_shown() {
    let served = Served::start();
    let output = edgectl(&served.socket, "webhook test");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("connection refused"));
    assert!(said(&output).1.contains("1 of 2 endpoints did not take the test message"));
}

#[test]
fn an_absent_daemon_is_exit_code_3_and_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nobody.sock");
    for line in QUESTIONS_AND_CHANGES.iter().filter(|line| !line.starts_with("detach")) {
        let (code, message) = said(&edgectl(&socket, line));
        assert_eq!(code, Some(3), "{line}");
        assert!(message.contains("edged is not running or listens elsewhere"), "{message}");
        assert!(message.contains("EDGE_SOCKET"), "{message}");
    }
    let output = edgectl(&socket, "status --json");
    let error: ApiError = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((output.status.code(), error.code.as_str()), (Some(3), "unreachable"));
}

#[test]
fn without_a_daemon_root_detaches_and_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let pins = directory.path().join("pins");
    let version = pins.join("v1");
    std::fs::create_dir_all(&version).unwrap();
    std::fs::write(version.join("link-eth0"), "").unwrap();

    let line = format!("detach --reason emergency --pin-dir {} --json", pins.display());
    let output = edgectl(&directory.path().join("nobody.sock"), &line);

    if nix::unistd::Uid::effective().is_root() {
        assert_eq!(said(&output), (Some(0), String::new()));
        assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["interfaces"][0], "eth0");
        assert!(!pins.exists());
    } else {
        assert_eq!(output.status.code(), Some(3));
        assert!(version.exists());
    }
}

#[test]
fn a_configuration_is_checked_without_a_daemon_and_every_problem_told() {
    let directory = tempfile::tempdir().unwrap();
    let (nobody, path) = (directory.path().join("nobody.sock"), directory.path().join("edge.toml"));
    let check = |json: &str| edgectl(&nobody, &format!("check {} {json}", path.display()));

    std::fs::write(&path, "[[interfaces]]\nname = \"eth0\"\n").unwrap();
    assert_eq!(said(&check("")), (Some(0), String::new()));
    let document: Value = serde_json::from_slice(&check("--json").stdout).unwrap();
    assert_eq!(document["interfaces"][0], "eth0");

    std::fs::write(&path, "mode = \"x\"\nipv6_source_prefix = 0\n[[interfaces]]\nname = \"eth0\"\n").unwrap();
    let (code, message) = said(&check(""));
    assert_eq!(code, Some(1));
    assert!(message.contains("mode: ") && message.contains("ipv6_source_prefix: "), "{message}");
    let error: ApiError = serde_json::from_slice(&check("--json").stderr).unwrap();
    assert_eq!((error.code.as_str(), error.problems.len()), ("invalid_config", 2), "{:?}", error.problems);
}

#[test]
fn a_wrong_command_line_is_exit_code_2_teaches_and_asks_nobody() {
    let served = Served::start();
    for (line, lesson) in [
        ("limits set acme sip.invte 20/s --reason x", "sip.invite"),
        ("limits set acme sip.invite 20 --reason x", "20/s burst 40"),
        ("limits set acme sip.invite 20/fortnight --reason x", "min"),
        ("limits set acme sip.invite 20/s", "--reason"),
        ("limits set acme sip.invite 20/s --scope all --reason x", "source"),
        ("ban 203.0.113.7/24 --reason x", "203.0.113.0/24"),
        ("ban 203.0.113.0/24", "--reason"),
        ("ban 203.0.113.0/24 --for soon --reason x", "15m"),
        ("ban 203.0.113.0/24 --for -5m --reason x", "no time to come"),
        ("limits set acme sip.invite 5/s --reason x --for -5m", "no time to come"),
        ("frobnicate", "unrecognized subcommand"),
    ] {
        let (code, message) = said(&edgectl(&served.socket, line));
        assert_eq!(code, Some(2), "{line}: {message}");
        assert!(message.contains(lesson), "{line}: {message}");

        let output = edgectl(&served.socket, &format!("{line} --json"));
        let error: ApiError = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!((output.status.code(), error.code.as_str()), (Some(2), "usage"), "{line}");
        assert!(error.message.contains(lesson), "{line}: {}", error.message);
    }
    assert!(served.daemon.diary().is_empty());
}

#[test]
fn every_verb_has_help_that_ends_well() {
    let verbs = [
        "",
        "status",
        "accounts",
        "accounts list",
        "accounts show",
        "limits",
        "limits show",
        "limits set",
        "limits unset",
        "ban",
        "allow",
        "unban",
        "measures",
        "measures list",
        "calls",
        "calls export",
        "messages",
        "messages list",
        "messages stats",
        "messages export",
        "top",
        "alerts",
        "alerts list",
        "alerts show",
        "webhook",
        "webhook test",
        "audit",
        "check",
        "plan",
        "reload",
        "detach",
        "completions",
    ];
    for verb in verbs {
        let output = edgectl(Path::new("/nowhere"), &format!("{verb} --help"));
        assert_eq!(said(&output), (Some(0), String::new()), "{verb}");
        assert!(text(&output).contains(&format!("Usage: edgectl {verb}").trim_end().to_owned()), "{verb}");
    }
    let top = text(&edgectl(Path::new("/nowhere"), "--help"));
    assert!(top.contains("3  edged could not be reached"), "{top}");
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let served = Served::start();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command(&served.socket, "accounts list").stdout(Stdio::from(writer)).output().unwrap();
    assert_eq!(said(&output), (Some(0), String::new()));
}

#[test]
fn the_socket_may_come_from_the_environment() {
    let served = Served::start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgectl"));
    let output = command.arg("measures").arg("list").env("EDGE_SOCKET", &served.socket).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output).contains(&fake::measure().prefix));
}

/// Runs the line against the socket, with nothing of this process's surroundings.
pub(crate) fn edgectl(socket: &Path, line: &str) -> Output {
    command(socket, line).output().unwrap()
}

fn command(socket: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgectl"));
    command.env_clear().args(line.split_whitespace()).arg("--socket").arg(socket);
    command
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Exit code and stderr.
fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr.clone()).unwrap())
}
