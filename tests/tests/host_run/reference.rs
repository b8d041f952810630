//! The parser beside a reading of SIP that shares nothing with it, on messages that nobody would write by hand.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use edge_ebpf::wire::sip::{self, Kind};
use edge_tests::fixtures::packets;
use edge_tests::sip::{Request, SDP, response};

const MESSAGES: usize = 100_000;

/// Bytes that mean something in SIP, and a few that do not.
const TELLING: &[u8] = b"\r\n \t:;,<>\"\\=@/.-tTgGvVi0159SsI\0\x7f\x80\xff";

#[test]
fn an_independent_reading_decides_the_same_on_a_hundred_thousand_mutated_messages() {
    let messages = messages();
    let theirs = reference(&messages);
    assert_eq!(theirs.len(), messages.len());
    let mut kinds: HashMap<&str, usize> = HashMap::new();
    // Requests are told apart exactly where the reference does.
    let (mut by_fingerprint, mut by_identity) = (HashMap::new(), HashMap::new());
    for (message, line) in messages.iter().zip(&theirs) {
        let read = sip::parse(message, 0x5eed, 5);
        let [kind, method, identity] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let shown = || String::from_utf8_lossy(message).escape_debug().to_string();
        assert_eq!(word(read.kind), kind, "{}", shown());
        if method != "-" {
            assert_eq!(read.method.name(), method, "{}", shown());
        }
        if read.kind == Kind::Initial {
            let first = by_identity.entry(identity.to_owned()).or_insert(read.fingerprint);
            assert_eq!(*first, read.fingerprint, "one request, two fingerprints: {}", shown());
            let first = by_fingerprint.entry(read.fingerprint).or_insert_with(|| identity.to_owned());
            assert_eq!(first, identity, "two requests, one fingerprint: {}", shown());
        }
        *kinds.entry(word(read.kind)).or_default() += 1;
    }
    for kind in ["malformed", "keepalive", "response", "in_dialog", "initial", "doubtful"] {
        assert!(kinds.get(kind).is_some_and(|count| *count > 100), "{kind} was hardly tried: {kinds:?}");
    }
}

const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Malformed => "malformed",
        Kind::Keepalive => "keepalive",
        Kind::Response => "response",
        Kind::InDialog | Kind::Absorbed => "in_dialog",
        Kind::Initial => "initial",
        Kind::Doubtful => "doubtful",
    }
}

/// What `peers/sip_reference.py` says of each.
fn reference(messages: &[Vec<u8>]) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/sip_reference.py");
    let mut python = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("python3: {error}"));
    let mut input = python.stdin.take().unwrap_or_else(|| unreachable!("it was piped"));
    let output = BufReader::new(python.stdout.take().unwrap_or_else(|| unreachable!("it was piped")));
    let framed: Vec<u8> = messages
        .iter()
        .flat_map(|message| {
            [&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes(), &message[..]].concat()
        })
        .collect();
    let writer = thread::spawn(move || input.write_all(&framed));
    let lines: Vec<String> = output.lines().map_while(Result::ok).collect();
    assert!(writer.join().is_ok_and(|written| written.is_ok()), "the reference stopped reading");
    assert!(python.wait().is_ok_and(|status| status.success()), "the reference failed");
    lines
}

/// Messages of every kind, and then what is left of them after a few accidents each.
fn messages() -> Vec<Vec<u8>> {
    let seeds = seeds();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut messages = seeds.clone();
    while messages.len() < MESSAGES {
        let mut message = seeds[dice.below(seeds.len())].clone();
        for _ in 0..=dice.below(4) {
            damage(&mut message, &mut dice);
        }
        messages.push(message);
    }
    messages
}

fn seeds() -> Vec<Vec<u8>> {
    let methods = [
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "REGISTER",
        "OPTIONS",
        "MESSAGE",
        "SUBSCRIBE",
        "NOTIFY",
        "PUBLISH",
        "INFO",
        "REFER",
        "UPDATE",
        "PRACK",
        "invite",
        "Register",
        "Ack",
        "PING",
        "x-y.z1",
    ];
    let mut seeds = Vec::new();
    for method in methods {
        let request = Request::new(method);
        seeds.push(request.bytes());
        seeds.push(request.clone().compact().body(SDP).bytes());
        seeds.push(request.clone().in_dialog("314159").bytes());
        seeds.push(request.clone().header("Subject: ;tag=1\r\nX-Long: ").padded_to(1500));
        seeds.push(request.header("Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKsecond").bytes());
    }
    for to in [
        "\"A ;tag=1 \\\" B\" <sip:b@example.org>",
        "<sip:b@example.org;tag=x>",
        "<sip:b@example.org> ; TAG = x",
        "sip:b@example.org;tag=x",
        "\"<\" <sip:b@example.org>;x=\"y\";tag=z",
        "<sip:b@example.org>;tag=",
        "<sip:b@example.org>;tag=\"\";x",
        "<sip:b@example.org>;tag=1;tag=",
        "<sip:b@example.org>;tag=12345678901234567890; tag;x=1",
        "<sip:b@example.org>;tag=1;%74ag=2;x=[;tag=3]",
    ] {
        let text = String::from_utf8_lossy(&Request::new("INVITE").bytes()).into_owned();
        let at = text.find("To: ").unwrap_or(0);
        let end = text[at..].find("\r\n").unwrap_or(0) + at;
        seeds.push(format!("{}To: {to}{}", &text[..at], &text[end..]).into_bytes());
    }
    let invite = String::from_utf8_lossy(&Request::new("INVITE").bytes()).into_owned();
    for (form, other) in [
        (" SIP/2.0\r", " SIP/2.0 \t\r"),
        (" SIP/2.0\r", "\tSIP/2.0\r"),
        (" SIP/2.0\r", " SIP/ 2.0\r"),
        ("INVITE ", "INVITE\t"),
        ("INVITE ", "INVITE\r\n "),
        ("INVITE ", " \r\n\tINVITE "),
        ("INVITE ", "GET "),
    ] {
        seeds.push(invite.replacen(form, other, 1).into_bytes());
    }
    seeds.push(b"GET /index.html HTTP/1.1\r\nHost: example.org\r\n\r\n".to_vec());
    let tagged = String::from_utf8_lossy(&Request::new("INVITE").in_dialog("1").bytes()).into_owned();
    for other in ["To: <sip:b@c>", "t        : <sip:b@c>", "X: y\rTo: <sip:b@c>", "TO\r\n : <sip:b@c>"] {
        let behind = tagged.replacen("\r\n\r\n", &format!("\r\n{other}\r\n\r\n"), 1);
        let before = tagged.replacen("\r\n", &format!("\r\n{other}\r\n"), 1);
        seeds.extend([behind.into_bytes(), before.into_bytes()]);
    }
    for status in [100, 180, 200, 302, 407, 486, 503, 603] {
        seeds.push(response(status, "Reason", "INVITE"));
    }
    seeds.extend([b"\r\n\r\n".to_vec(), vec![0], b"\r\n\r\n\r\n\r\nhello".to_vec()]);
    let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    stun.resize(20, 7);
    seeds.push(stun);
    seeds.extend(packets::torture());
    seeds
}

fn damage(message: &mut Vec<u8>, dice: &mut Dice) {
    if message.is_empty() {
        return;
    }
    let at = dice.below(message.len());
    match dice.below(10) {
        0 | 1 => message[at] = TELLING[dice.below(TELLING.len())],
        2 | 3 => message.insert(at, TELLING[dice.below(TELLING.len())]),
        4 => drop(message.remove(at)),
        5 => message.truncate(at),
        6 => message[at] ^= 0x20,
        7 => {
            // A piece of it again.
            let end = (at + 1 + dice.below(60)).min(message.len());
            let piece = message[at..end].to_vec();
            let to = dice.below(message.len());
            message.splice(to..to, piece);
        }
        8 => {
            // A line moved before another.
            let mut lines: Vec<Vec<u8>> =
                message.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            let line = lines.remove(dice.below(lines.len()));
            let to = dice.below(lines.len() + 1);
            lines.insert(to, line);
            *message = lines.concat();
        }
        _ => {
            // White space before a colon, or behind it.
            let colons: Vec<usize> = (0..message.len()).filter(|at| message[*at] == b':').collect();
            if let Some(colon) = colons.get(dice.below(colons.len().max(1))) {
                let blank = if dice.below(2) == 0 { b' ' } else { b'\t' };
                message.insert(colon + dice.below(2), blank);
            }
        }
    }
}

/// The same numbers each time (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or(0) % end.max(1)
    }
}
