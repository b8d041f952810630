//! What is wrong with a configuration is reported completely, in one pass, in an operator's words.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use edge_user::config::{self, Problems};
use proptest::prelude::*;
use tempfile::TempDir;

const INTERFACE: &str = "[[interfaces]]\nname = \"eth0\"\n";

const MANY_ERRORS: &str = r#"
mode = "enforced"
ipv6_source_prefix = 300
sip_repeat_window = "32"
history_retention = 30
colour = "red"

[[interfaces]]
name = "eth0"
xdp_mode = "fast"
speed = 10
[[interfaces]]
name = "eth0"
[[interfaces]]
name = "an-interface-too-long"
[[interfaces]]

[ports]
sip_udp = [5060, "5080", 0, 70000]
sip_tcp = [2775]

[capacity]
accounts = 1

[paths]
socket_mode = "0666"

[metrics]
listen = "localhost"

[plans.gold.account]
sip.invite = "20 per second"
sip.invites = "20/s"
packets = 20

[detect.spike]
faktor = 3.0
factor = 1.0
severity = "critcal"

[detect]
pumping = 3

[webhooks.ops]
url = "ftp://alerts.example/"
secret_files = ["missing.secret"]

[accounts.acme]
sources = ["203.0.113.5/24", "2001:db8::1/128", "::/0", "everywhere"]
plan = "glod"

[accounts."bad name"]
sources = []

[accounts.unknown]
sources = ["198.51.100.0/24"]
"#;

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("accounts.d")).unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn problems(files: &[(&str, &str)]) -> Problems {
    config::load(&directory(files).path().join("edge.toml")).unwrap_err()
}

/// `field: fact` of every problem of an `edge.toml` that has an interface.
fn facts(edge: &str) -> Vec<String> {
    let problems = problems(&[("edge.toml", &format!("{edge}\n{INTERFACE}"))]);
    problems.all().iter().map(|it| format!("{}: {}", it.field, it.fact)).collect()
}

/// The only problem, as `field: fact`.
fn fact(edge: &str) -> String {
    let facts = facts(edge);
    assert_eq!(facts.len(), 1, "{facts:#?}");
    facts[0].clone()
}

#[test]
fn a_configuration_with_many_errors_reports_each_of_them_at_once() {
    let second = r#"
mode = "observe"
[accounts.acme]
sources = ["198.51.100.0/24"]
system_ids = ["sixteen-octets--"]
caller_ids = ["+441632", "441632", "44-20", "1234567890123456"]
caller_id_mode = "block"
sender_ids = ["ACME", "+441632", "441632", "", "Twelve chars", "Größe", "1234567890123456"]
sender_id_mode = "refuse"
"#;
    let broken = "[accounts.other\n";
    let problems =
        problems(&[("edge.toml", MANY_ERRORS), ("accounts.d/b.toml", second), ("accounts.d/a.toml", broken)]);
    let fields: Vec<String> = problems
        .all()
        .iter()
        .map(|it| format!("{} {}", it.file.file_name().unwrap().to_string_lossy(), it.field))
        .collect();
    let expected = [
        "edge.toml colour",
        "edge.toml detect.spike.faktor",
        "edge.toml interfaces[0].speed",
        "edge.toml mode",
        "edge.toml ipv6_source_prefix",
        "edge.toml sip_repeat_window",
        "edge.toml history_retention",
        "edge.toml interfaces[0].xdp_mode",
        "edge.toml interfaces[1].name",
        "edge.toml interfaces[2].name",
        "edge.toml interfaces[3].name",
        "edge.toml ports.sip_udp[1]",
        "edge.toml ports.sip_udp[3]",
        "edge.toml ports.sip_udp[2]",
        "edge.toml ports.smpp_tcp",
        "edge.toml capacity.accounts",
        "edge.toml paths.socket_mode",
        "edge.toml metrics.listen",
        "edge.toml plans.gold.account.packets",
        "edge.toml plans.gold.account.sip.invite",
        "edge.toml plans.gold.account.sip.invites",
        "edge.toml detect.pumping",
        "edge.toml detect.spike.factor",
        "edge.toml detect.spike.severity",
        "edge.toml webhooks.ops.url",
        "edge.toml webhooks.ops.secret_files[0]",
        "edge.toml accounts.acme.plan",
        "edge.toml accounts.acme.sources[0]",
        "edge.toml accounts.acme.sources[1]",
        "edge.toml accounts.acme.sources[2]",
        "edge.toml accounts.acme.sources[3]",
        "edge.toml accounts.bad name",
        "edge.toml accounts.bad name.sources",
        "edge.toml accounts.unknown",
        "a.toml ",
        "b.toml mode",
        "b.toml accounts.acme.system_ids[0]",
        "b.toml accounts.acme.caller_ids[1]",
        "b.toml accounts.acme.caller_ids[2]",
        "b.toml accounts.acme.caller_ids[3]",
        "b.toml accounts.acme.caller_id_mode",
        "b.toml accounts.acme.sender_ids[2]",
        "b.toml accounts.acme.sender_ids[3]",
        "b.toml accounts.acme.sender_ids[4]",
        "b.toml accounts.acme.sender_ids[5]",
        "b.toml accounts.acme.sender_ids[6]",
        "b.toml accounts.acme.sender_id_mode",
        "b.toml accounts.acme",
    ];
    assert_eq!(fields, expected, "{problems}");
    for problem in problems.all() {
        assert!(!problem.fact.is_empty() && !problem.consequence.is_empty(), "{problem}");
        assert!(!problem.to_string().contains('\n'), "one line each: {problem}");
    }
}

#[test]
fn a_line_has_file_field_fact_and_consequence() {
    let directory = directory(&[("edge.toml", &format!("[detect.spike]\nfaktor = 4.0\n{INTERFACE}"))]);
    let path = directory.path().join("edge.toml");
    let problems = config::load(&path).unwrap_err();
    let line = format!(
        "{}: detect.spike.faktor: unknown key (did you mean `factor`?); it would have no effect",
        path.display()
    );
    assert_eq!(problems.lines(), [line]);
}

#[test]
fn the_facts_say_what_would_be_right() {
    let fact_of = |edge: &str, words: &str| {
        let fact = fact(edge);
        assert!(fact.contains(words), "{fact}");
    };
    fact_of("mode = \"enforc\"", "mode: `enforc` is none of observe, enforce (did you mean `enforce`?)");
    fact_of("mode = 3", "mode: integer `3`, expected a text in quotes");
    fact_of("ipv6_source_prefix = 129", "129 is not within 1 to 128");
    fact_of("sip_repeat_window = \"2h\"", "`2h` is not within 1s to 1h");
    fact_of("ports.sip_udp = [70000]", "integer `70000`, expected a whole number from 0 to 65535");
    fact_of("ports.sip_tcp = [2775]", "port 2775 stands at ports.sip_tcp[0] already");
    fact_of("ports = 5060", "`5060` instead of a table");
    fact_of("plans.x.source.packets = \"9\"", "write for example `20/s burst 40`");
    fact_of(
        "plans.x.source.sip.invit = \"9/s\"",
        "(did you mean `sip.invite`?); the classes are sip.invite, sip.reg",
    );
    fact_of("plans.x.source.bytes = \"9/s\"", "unknown class; the classes are sip.invite");
    fact_of(
        "plans.x.account.sip.invite = \"9/s\"\nplans.x.account.\"sip.invite\" = \"8/s\"",
        "plans.x.account.sip.invite: the class stands here twice",
    );
    fact_of("unknown.plan = \"standrad\"", "did you mean `standard`?");
    fact_of(
        "accounts.a.sources = [\"203.0.113.5/24\"]",
        "write 203.0.113.0/24 for the network or 203.0.113.5/32 for",
    );
    fact_of("accounts.a.sources = [\"::ffff:203.0.113.0/120\"]", "write it as IPv4");
    fact_of("accounts.a.sources = [\"2001:db8::/65\"]", "longer than ipv6_source_prefix, /64");
    fact_of("accounts.a.plan = \"standard\"", "accounts.a.sources: no source");
    fact_of("detect.pumping.resolve_share = 0.9", "0.9 is above share, 0.5");
    fact_of("detect.spike.factor = nan", "NaN is not within");
    fact_of("records.messages = \"few\"", "`few` is none of off, all and 1/N; write for example `1/100`");
    fact_of("records.messages = \"1/1\"", "1 of `1/1` is not within 2 to 1000000");
    fact_of("smpp.answer_within = \"30s\"", "smpp.answer_within: is called `native.answer_within` now");
    fact_of("native.answer_within = \"2h\"", "native.answer_within: `2h` is not within 1s to 1h");
    fact_of("records.messages = 100", "integer `100`, expected a text in quotes");
}

#[test]
fn what_two_accounts_claim_is_reported_with_the_first_claim() {
    let a = "[accounts.a]\nsources = [\"203.0.113.0/24\"]\nsystem_ids = [\"one\"]\n";
    let b = "[accounts.b]\nsources = [\"203.0.113.0/24\", \"203.0.113.0/25\"]\nsystem_ids = [\"one\"]\n";
    let problems = problems(&[("edge.toml", INTERFACE), ("accounts.d/a.toml", a), ("accounts.d/b.toml", b)]);
    assert_eq!(problems.all().len(), 2, "a longer prefix is no conflict: {problems}");
    assert!(problems.all()[0].fact.starts_with("203.0.113.0/24 belongs to account a ("), "{problems}");
    assert!(problems.all()[1].fact.starts_with("`one` belongs to account a ("), "{problems}");
}

#[test]
fn a_trunk_is_a_part_of_its_account_and_of_nobody_else() {
    let facts = facts(
        "[accounts.acme]\nsources = [\"203.0.113.0/24\"]\n\
         [accounts.acme.trunks.london]\nsources = [\"203.0.113.0/28\", \"198.51.100.0/28\"]\ncalls = 5\n\
         [accounts.acme.trunks.paris]\nsources = [\"203.0.113.0/28\"]\n\
         [accounts.acme.trunks.rome]\ncalls = 2000000\n\
         [accounts.brown]\nsources = [\"203.0.113.0/28\"]\n",
    );
    let expected = [
        "198.51.100.0/28 is within no source of the account",
        "203.0.113.0/28 belongs to trunk london already",
        "2000000",
        "no source; name some of the account's own",
        "203.0.113.0/28 belongs to account acme",
    ];
    assert_eq!(facts.len(), expected.len(), "{facts:?}");
    for (fact, expected) in facts.iter().zip(expected) {
        assert!(fact.contains(expected), "{fact} is not {expected}");
    }
}

#[test]
fn senders_are_refused_only_where_refusals_can_be_told() {
    let account = |mode: &str| {
        format!(
            "[accounts.a]\nsources = [\"203.0.113.0/24\"]\nsender_ids = [\"ACME\"]\nsender_id_mode = {mode:?}\n"
        )
    };
    let native = "smpp.refusal = \"native\"\n";
    let cannot = "accounts.a.sender_id_mode: no SMPP port refuses in SMPP's own words; write `refusal = \"native\"` \
                  under `[smpp]`, or `count` here";
    assert_eq!(fact(&account("refuse")), cannot);
    assert_eq!(fact(&format!("smpp.refusal = \"observe\"\n{}", account("refuse"))), cannot);
    assert_eq!(fact(&format!("{native}ports.smpp_tcp = []\n{}", account("refuse"))), cannot);
    for edge in [account("count"), account("off"), format!("{native}{}", account("refuse"))] {
        let directory = directory(&[("edge.toml", &format!("{edge}{INTERFACE}"))]);
        config::load(&directory.path().join("edge.toml")).unwrap();
    }
    // Where the file that says how SMPP is refused cannot be read, that is the only problem.
    let problems = problems(&[("edge.toml", "mode ="), ("accounts.d/a.toml", &account("refuse"))]);
    assert_eq!(problems.all().len(), 1, "{problems}");
    let none = "[accounts.a]\nsources = [\"203.0.113.0/24\"]\nsender_id_mode = \"count\"\n";
    let none = fact(none);
    assert!(none.starts_with("accounts.a.sender_id_mode: `sender_ids` names none"), "{none}");
}

#[test]
fn more_accounts_than_room_are_reported() {
    let fact = fact(
        "capacity.accounts = 2\naccounts.a.sources = [\"10.0.0.1\"]\naccounts.b.sources = [\"10.0.0.2\"]",
    );
    assert_eq!(fact, "capacity.accounts: 2 is less than the 3 accounts (`unknown` included) configured");
    let shown = self::fact(
        "capacity.caller_ids = 2\naccounts.a.sources = [\"10.0.0.1\"]\naccounts.a.caller_ids = [\"4420\"]\n\
         accounts.a.sender_ids = [\"ACME\", \"4420\"]",
    );
    assert_eq!(shown, "capacity.caller_ids: 2 is less than the 3 caller and sender IDs configured");
}

#[test]
fn a_main_file_that_is_missing_or_broken_is_one_problem_and_hides_no_other() {
    let account = "[accounts.a]\nsources = [\"203.0.113.5/24\"]\nplan = \"gold\"\n";
    for edge in [None, Some("mode = \"observe\"\nmode = \"enforce\"\n")] {
        let mut files = vec![("accounts.d/a.toml", account)];
        files.extend(edge.map(|text| ("edge.toml", text)));
        let problems = problems(&files);
        let fields: Vec<&str> = problems.all().iter().map(|it| it.field.as_str()).collect();
        assert_eq!(fields, ["", "accounts.a.sources[0]"], "{problems}");
    }
    let problems = problems(&[("edge.toml", "mode = \"observe\"\nmode = \"enforce\"\n")]);
    assert!(problems.all()[0].fact.starts_with("line 2: not valid TOML: duplicate key"), "{problems}");
}

#[test]
fn a_secret_that_everybody_can_read_or_that_is_none_is_refused_and_never_printed() {
    let edge = format!(
        "{INTERFACE}[webhooks.ops]\nurl = \"https://alerts.example/\"\nsecret_files = [\"secret\"]\n"
    );
    let directory = directory(&[("edge.toml", &edge), ("secret", "hunter2hunter2")]);
    let secret = directory.path().join("secret");
    let load = |mode: u32| {
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        config::load(&directory.path().join("edge.toml")).unwrap_err()
    };
    assert_eq!(load(0o640).all().len(), 1);
    let open = load(0o644);
    assert_eq!(open.all().len(), 2);
    assert!(open.all()[1].fact.contains("mode 0644"), "{open}");
    assert!(!open.to_string().contains("hunter2"), "{open}");
    fs::remove_file(&secret).unwrap();
    let missing = config::load(&directory.path().join("edge.toml")).unwrap_err();
    assert!(missing.all()[0].fact.contains("cannot be read"), "{missing}");
}

#[test]
fn a_secret_that_nobody_may_sign_with_is_told_with_every_other_problem() {
    // Eight bytes: the sender would refuse what the check let pass.
    let edge = format!(
        "mode = \"often\"\n{INTERFACE}[webhooks.ops]\nurl = \"https://alerts.example/\"\nsecret_files = [\"secret\"]\n"
    );
    let directory = directory(&[("edge.toml", &edge), ("secret", "whsec_AAAAAAAAAAA=")]);
    fs::set_permissions(directory.path().join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let problems = config::load(&directory.path().join("edge.toml")).unwrap_err();
    let fields: Vec<&str> = problems.all().iter().map(|it| it.field.as_str()).collect();
    assert_eq!(fields, ["mode", "webhooks.ops.secret_files[0]"], "{problems}");
    assert!(problems.all()[1].fact.contains("24 to 64 bytes"), "{problems}");
}

#[test]
fn what_is_no_regular_file_is_refused_instead_of_waited_for() {
    let directory = directory(&[("accounts.d/ok.toml", "")]);
    let accounts = directory.path().join("accounts.d/pipe.toml");
    let edge = directory.path().join("edge.toml");
    for path in [&edge, &accounts] {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    }
    let problems = config::load(&edge).unwrap_err();
    let facts: Vec<&str> = problems.all().iter().map(|it| it.fact.as_str()).collect();
    assert_eq!(facts, ["cannot be read: it is not a regular file"; 2], "{problems}");
}

#[test]
fn a_url_with_a_password_is_refused_without_repeating_it() {
    let facts = facts("webhooks.ops.url = \"https://user:hunter2@alerts.example/\"");
    assert!(facts[0].contains("holds a user name or password") && !facts[0].contains("hunter2"), "{facts:?}");
}

#[test]
fn a_file_that_is_not_toml_by_name_or_is_hidden_is_left_alone() {
    let files =
        [("edge.toml", INTERFACE), ("accounts.d/a.toml.bak", "nonsense"), ("accounts.d/.a.toml", "nonsense")];
    let directory = directory(&files);
    assert!(config::load(&directory.path().join("edge.toml")).is_ok());
}

#[test]
fn both_ways_to_write_a_class_mean_the_same() {
    let load = |line: &str| {
        let text = format!("{INTERFACE}[plans.x.account]\n{line}\n");
        let directory = directory(&[("edge.toml", &text)]);
        config::load(&directory.path().join("edge.toml")).unwrap().plans["x"].clone()
    };
    assert_eq!(load("sip.invite = \"9/s\""), load("\"sip.invite\" = \"9/s\""));
    assert_eq!(load("sip.invite = \"9/s\"").account.len(), 1);
}

#[test]
fn the_path_may_be_relative_and_the_directory_of_accounts_may_be_missing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("edge.toml");
    fs::write(&path, format!("paths.socket = \"s\"\n{INTERFACE}")).unwrap();
    let config = config::load(&path).unwrap();
    assert_eq!(config.paths.socket, directory.path().join("s"));
    assert!(config::load(Path::new("no-such-edge.toml")).is_err());
}

const ODD_VALUES: &[&str] = &[
    "0",
    "-1",
    "1e400",
    "nan",
    "true",
    "\"\"",
    "\"\\u0000\"",
    "[]",
    "[[]]",
    "[{}]",
    "{}",
    "{ a = 1 }",
    "2026-01-01",
];

proptest! {
    /// Whatever stands for a value, and whatever is missing, ends in a configuration or in problems.
    #[test]
    fn no_value_makes_it_panic(line in 0usize..200, odd in prop::sample::select(ODD_VALUES), also_gone in 0usize..200) {
        let shipped = include_str!("../../config/edge.toml");
        let text: Vec<String> = shipped
            .lines()
            .enumerate()
            .filter(|(index, _)| *index != also_gone)
            .map(|(index, text)| match text.split_once(" = ") {
                Some((key, _)) if index == line => format!("{} = {odd}", key.trim_start_matches('#')),
                _ => text.to_owned(),
            })
            .collect();
        let directory = directory(&[("edge.toml", &text.join("\n"))]);
        if let Err(problems) = config::load(&directory.path().join("edge.toml")) {
            prop_assert!(!problems.all().is_empty());
        }
    }
}
