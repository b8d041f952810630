//! What the parser says of single messages, and that it agrees with a plain reading of generated ones.

use proptest::prelude::*;

use super::*;

const INVITE: &str = "INVITE sip:+442079460123@203.0.113.9 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 203.0.113.5:5060;branch=z9hG4bK-1\r\n\
    From: <sip:acme@203.0.113.5>;tag=from\r\n\
    To: <sip:+442079460123@203.0.113.9>\r\n\
    Call-ID: 1@203.0.113.5\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:acme@203.0.113.5>\r\n\
    Content-Length: 0\r\n\r\n";

fn read(message: &str) -> Message {
    parse(message.as_bytes(), 7, 6)
}

fn kind(message: &str) -> Kind {
    read(message).kind
}

#[test]
fn an_initial_invite_is_known_with_its_called_prefix() {
    let message = read(INVITE);
    assert_eq!((message.kind, message.method, message.called), (Kind::Initial, Method::Invite, 1_442_079));
}

#[test]
fn a_retransmission_has_the_same_fingerprint_and_another_request_has_not() {
    let first = read(INVITE).fingerprint;
    assert_eq!(first, read(INVITE).fingerprint);
    for (what, other) in [
        ("branch", INVITE.replace("z9hG4bK-1", "z9hG4bK-2")),
        ("Call-ID", INVITE.replace("Call-ID: 1@", "Call-ID: 2@")),
        ("CSeq", INVITE.replace("CSeq: 1", "CSeq: 2")),
    ] {
        assert_ne!(first, read(&other).fingerprint, "{what}");
    }
    assert_eq!(first, read(&INVITE.replace("Contact: <sip:acme", "Contact: <sip:other")).fingerprint);
}

/// Two bits that one step of the hash moves to known places whatever the key, put back by the word after it.
#[test]
fn nobody_can_make_two_requests_with_one_fingerprint() {
    let message = INVITE.replace("1@203.0.113.5", "abcdefghijklmnopqrstuvwx");
    let at = message.find("Call-ID: ").unwrap();
    for bit in [0x80, 0x40, 0x20] {
        let mut twin = message.clone().into_bytes();
        for place in [15, 19, 23] {
            twin[at + place] ^= bit;
        }
        let alike = (0..256)
            .filter(|&key| {
                let [one, other] = [message.as_bytes(), &twin].map(|bytes| parse(bytes, mix(7, key), 6));
                assert_eq!((one.kind, other.kind), (Kind::Initial, Kind::Initial));
                one.fingerprint == other.fingerprint
            })
            .count();
        assert_eq!(alike, 0, "of 256 keys, bit {bit:#x}");
    }
}

#[test]
fn each_method_is_known() {
    for &method in &Method::ALL[..14] {
        let message = read(&INVITE.replace("INVITE", method.name()));
        assert_eq!(message.method, method);
        let in_dialog = matches!(method, Method::Ack | Method::Bye | Method::Cancel);
        assert_eq!(message.kind, if in_dialog { Kind::InDialog } else { Kind::Initial }, "{method}");
    }
    for name in ["FOO", "EIGHTLEN", "LONGEXTENSION", "a.b-c"] {
        let message = read(&INVITE.replace("INVITE", name));
        assert_eq!((message.kind, message.method), (Kind::Initial, Method::Extension), "{name}");
    }
    for name in ["", "IN(VITE", "SIXTEENCHARACTER"] {
        assert_eq!(kind(&INVITE.replacen("INVITE", name, 1)), Kind::Malformed, "{name:?}");
    }
}

/// Kamailio and PJSIP take `invite` for INVITE, though names of methods have a case (RFC 3261 7.1).
#[test]
fn methods_with_a_limit_of_their_own_are_known_in_any_case() {
    for method in [Method::Invite, Method::Register, Method::Options, Method::Message] {
        let lower = method.name().to_lowercase();
        let mixed = format!("{}{}", &lower[..1], &method.name()[1..]);
        for name in [lower, mixed] {
            let message = read(&INVITE.replacen("INVITE", &name, 1));
            assert_eq!((message.kind, message.method), (Kind::Initial, method), "{name}");
        }
    }
    for name in ["ack", "bye", "cancel"] {
        let message = read(&INVITE.replacen("INVITE", name, 1));
        assert_eq!((message.kind, message.method), (Kind::Initial, Method::Extension), "{name}");
    }
}

#[test]
fn a_to_tag_makes_a_request_in_dialog() {
    let to = "To: <sip:+442079460123@203.0.113.9>";
    for (value, expected) in [
        ("To: <sip:a@b>;tag=1", Kind::InDialog),
        ("t:<sip:a@b>;TAG=1", Kind::InDialog),
        ("TO : <sip:a@b> ; tag = 1", Kind::InDialog),
        ("To: sip:a@b;tag=1", Kind::InDialog),
        ("To: \"x\" <sip:a@b>;tag=1", Kind::InDialog),
        ("To: \"\\\";tag=\" <sip:a@b>;x=\"y\";tag=1", Kind::InDialog),
        ("To: <sip:a@b>;x=1;tag=1", Kind::InDialog),
        ("To: <sip:a@b;tag=1>", Kind::Initial),
        ("To: \";tag=1\" <sip:a@b>", Kind::Initial),
        ("To: \"a\\\";tag=1\" <sip:a@b>", Kind::Initial),
        ("To: <sip:a@b>;x=\";tag=1\"", Kind::Initial),
        ("To: <sip:a@b>;tagged=1", Kind::Initial),
        ("To: <sip:a@b>;stag=1", Kind::Initial),
        ("To: <sip:a@b>;tag", Kind::Initial),
        ("To: <sip:a@b>;tag=1;tagged=2", Kind::InDialog),
        ("To: <sip:a@b>;tag=1;x=\";tag=\"", Kind::InDialog),
        ("To: <sip:a@b>;tag=YWJj==", Kind::InDialog),
        ("To: sip:a@[2001:db8::1];tag=1", Kind::InDialog),
        ("To: <sip:a@b>", Kind::Initial),
        // No tag, or two of which the last may be none.
        ("To: <sip:a@b>;tag=", Kind::Initial),
        ("To: <sip:a@b>;tag= ", Kind::Initial),
        ("To: <sip:a@b>;tag=;x=1", Kind::Initial),
        ("To: <sip:a@b>;tag=\"\"", Kind::Initial),
        ("To: <sip:a@b>;tag=\"a\"", Kind::Initial),
        ("To: <sip:a@b>;tag=1;tag=", Kind::Initial),
        ("To: <sip:a@b>;tag=1;tag", Kind::Initial),
        ("To: <sip:a@b>;tag=1;Tag;x", Kind::Initial),
        ("To: <sip:a@b>;tag=1;tag=2", Kind::Initial),
        ("To: <sip:a@b>;tag=1 ; TAG = \t", Kind::Initial),
        ("To: <sip:a@b>;tag=1234567890123456789;tag=", Kind::Initial),
        ("To: <sip:a@b>;tag=1;%74ag=", Kind::Initial),
        ("To: <sip:a@b>;tag=1;ta%67=", Kind::Initial),
        ("To: <sip:a@b>;x=[;tag=1]", Kind::Initial),
        ("To: <sip:a@b>;tag=1<;tag=", Kind::Initial),
    ] {
        assert_eq!(kind(&INVITE.replace(to, value)), expected, "{value}");
    }
}

/// Kamailio takes the first To and PJSIP the last; PJSIP ends a line at a bare CR, and so does Kamailio in some headers.
#[test]
fn a_tag_is_believed_only_where_nobody_can_find_another_to() {
    let tagged = INVITE.replace("To: <sip:+442079460123@203.0.113.9>", "To: <sip:a@b>;tag=1");
    assert_eq!(kind(&tagged), Kind::InDialog);
    let behind = |text: &str| tagged.replace("Contact:", &format!("{text}Contact:"));
    let before = |text: &str| tagged.replace("To:", &format!("{text}To:"));
    for message in [
        behind("To: <sip:a@b>\r\n"),
        behind("t : <sip:a@b>\r\n"),
        behind("TO        : <sip:a@b>\r\n"),
        behind("To\r\n : <sip:a@b>\r\n"),
        behind("Subject: x\nTo: <sip:a@b>\r\n"),
        behind("Subject: x\rTo: <sip:a@b>\r\n"),
        before("To: <sip:a@b>\r\n"),
        before("t\t\t\t\t\t\t\t\t\t: <sip:a@b>\r\n"),
        before("X: y\rTo: <sip:a@b>\r\n"),
        tagged.replace("To: <sip:a@b>;tag=1", "To: <sip:a@b>\rX: ;tag=1"),
        tagged.replace("To: <sip:a@b>;tag=1", "To: <sip:a@b>\0;tag=1"),
        tagged.replace("Length: 0\r\n\r\n", "Length: 0\r\n"),
        behind(&"X: y\r\n".repeat(64)),
    ] {
        assert_eq!(kind(&message), Kind::Doubtful, "{message:?}");
    }
    for message in [
        behind("Timestamp: 1\r\nT140: x\r\nTom: y\r\nTag:\t\tx\r\n folded\r\n"),
        behind(&"X: y\r\n".repeat(40)),
        format!("{tagged}To: <sip:a@b>\r\n\0"),
    ] {
        assert_eq!(kind(&message), Kind::InDialog, "{message:?}");
    }
    let bye = behind("To: <sip:a@b>\r\n").replace("INVITE", "BYE");
    assert_eq!(kind(&bye), Kind::InDialog);
}

/// A server that skips them all, or ends a line at a bare CR, finds another header than the next of that name.
#[test]
fn a_header_that_only_some_servers_find_is_doubtful() {
    for name in ["Via", "To", "Call-ID", "CSeq"] {
        let hidden = format!("Subject: x\r{name}: x\r\nFrom:");
        assert_eq!(kind(&INVITE.replace("From:", &hidden)), Kind::Doubtful, "{name} behind a bare CR");
        assert_eq!(kind(&INVITE.replace(&format!("{name}:"), &format!("{name}       :"))), Kind::Initial);
        for blanks in [8, 9, 20] {
            let other = format!("{name}{}: x\r\nFrom:", " ".repeat(blanks));
            assert_eq!(kind(&INVITE.replace("From:", &other)), Kind::Doubtful, "{name}");
        }
    }
}

#[test]
fn a_register_is_metered_whatever_its_to_carries() {
    let register =
        INVITE.replace("INVITE", "REGISTER").replace("0123@203.0.113.9>\r", "0123@203.0.113.9>;tag=1\r");
    assert_eq!(kind(&register), Kind::Initial);
}

#[test]
fn compact_forms_and_odd_spacing_are_read() {
    let compact = "INVITE sip:1@a SIP/2.0\r\nv: SIP/2.0/UDP a;branch=1\r\nf: <sip:a@b>\r\n\
        t:<sip:b@c>\r\ni  :1\r\ncSEQ\t: 1 INVITE\r\n\r\n";
    assert_eq!(kind(compact), Kind::Initial);
}

#[test]
fn line_ends_before_the_start_line_are_skipped_as_servers_do() {
    let plain = read(INVITE);
    for lead in ["\n".to_owned(), "\r\n".to_owned(), "\r\n".repeat(4), "\r\n".repeat(63)] {
        assert_eq!(read(&format!("{lead}{INVITE}")), plain, "{lead:?}");
    }
    let too_many = read(&format!("{}{INVITE}", "\r\n".repeat(65)));
    assert_eq!(
        (too_many.kind, too_many.method),
        (Kind::Doubtful, Method::Invite),
        "metered as what costs most"
    );
    assert_eq!(kind("\r\nSIP/2.0 200 OK\r\n\r\n"), Kind::Response);
    assert_eq!(kind(&"\r\n".repeat(30)), Kind::Malformed);
    assert_eq!(kind(&" \t\r\n".repeat(15)), Kind::Malformed);
}

#[test]
fn what_is_doubtful_is_no_message_but_known_by_its_method() {
    for (what, message) in [
        ("folded To", INVITE.replace("0.113.9>\r\n", "0.113.9>\r\n ;tag=1\r\n")),
        ("folded CSeq", INVITE.replace("1 INVITE\r\n", "1\r\n INVITE\r\n")),
        ("bare LF", INVITE.replace("tag=from\r\n", "tag=from\n")),
        ("no Via", INVITE.replace("Via:", "Xia:")),
        ("no To", INVITE.replace("To:", "Xo:")),
        ("no Call-ID", INVITE.replace("Call-ID:", "Xall-ID:")),
        ("no CSeq", INVITE.replace("CSeq:", "XSeq:")),
        ("two Call-IDs", INVITE.replace("From:", "i: 2\r\nFrom:")),
        ("headers in the body only", INVITE.replace("From:", "\r\nFrom:")),
        ("cut within the line", INVITE[..INVITE.find("1 INVITE").unwrap()].to_owned()),
        ("a line too long", INVITE.replace("tag=from", &"x".repeat(1100))),
        ("too many lines", INVITE.replace("Via:", &format!("{}Via:", "X:\r\n".repeat(70)))),
        ("a bare LF at the start", INVITE.replacen("\r\n", "\n", 1)),
        ("a bare CR at the start", INVITE.replacen("\r\n", "\r", 1)),
        ("white space first", format!(" {INVITE}")),
        ("and among empty lines", format!("\r\n\t\r\n{INVITE}")),
        ("a tab behind the method", INVITE.replacen("INVITE ", "INVITE\t", 1)),
        ("a line end there", INVITE.replacen("INVITE ", "invite\r\n ", 1)),
        ("a tab before the version", INVITE.replacen(" SIP/2.0\r", "\tSIP/2.0\r", 1)),
        ("white space within it", INVITE.replacen("SIP/2.0\r", "SIP/ 2.0\r", 1)),
        ("white space behind it", INVITE.replacen("SIP/2.0\r", "SIP/2.0 \r", 1)),
        ("a lot of it", INVITE.replacen("SIP/2.0\r", &format!("SIP/2.0{}\r", " \t".repeat(300)), 1)),
        ("more behind it", INVITE.replacen("SIP/2.0\r", "SIP/2.0x\r", 1)),
        ("another version", INVITE.replacen("SIP/2.0\r", "SIP/3.0\r", 1)),
        ("no Request-URI", INVITE.replace("sip:+442079460123@203.0.113.9 SIP", "SIP")),
    ] {
        let read = read(&message);
        assert_eq!((read.kind, read.method), (Kind::Doubtful, Method::Invite), "{what}");
    }
}

#[test]
fn a_method_of_somebodys_own_is_doubtful_in_an_odd_line() {
    for line in ["FOO sip:x@y SIP/2.0 \r\n", " FOO sip:x@y SIP/2.0\r\n", "FOO\tsip:x@y SIP/2.0\r\n"] {
        let read = read(&INVITE.replacen("INVITE sip:+442079460123@203.0.113.9 SIP/2.0\r\n", line, 1));
        assert_eq!((read.kind, read.method), (Kind::Doubtful, Method::Extension), "{line:?}");
    }
}

#[test]
fn what_is_no_sip_is_malformed() {
    for (what, message) in [
        ("not SIP", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("nor that", "GET /a/longer/path HTTP/1.0\r\n\r\n".to_owned()),
        ("a word and a line end", "hello\r\n".to_owned()),
        ("status of two digits", "SIP/2.0 20 OK\r\n\r\n".to_owned()),
        ("status 700", "SIP/2.0 700 No\r\n\r\n".to_owned()),
    ] {
        assert_eq!(kind(&message), Kind::Malformed, "{what}");
    }
}

#[test]
fn responses_and_keepalives_are_told_apart() {
    assert_eq!(read("SIP/2.0 180 Ringing\r\n\r\n").method, Method::Status1xx);
    assert_eq!(read("sip/2.0 603 Decline\r\n\r\n").method, Method::Status6xx);
    for keepalive in ["", "\0", "\r\n", "\r\n\r\n"] {
        assert_eq!(kind(keepalive), Kind::Keepalive, "{keepalive:?}");
    }
    let stun = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(parse(&stun, 7, 6).kind, Kind::Keepalive);
}

#[test]
fn called_numbers_are_read_from_sip_and_tel() {
    for (uri, called) in [
        ("sip:442079460123@b", 1_442_079),
        ("SIPS:+442079460123@b", 1_442_079),
        ("tel:+442079460123", 1_442_079),
        ("sip:1001@b", 0),
        ("sip:alice@b", 0),
        ("sip:b", 0),
        ("urn:service:sos", 0),
    ] {
        assert_eq!(
            read(&INVITE.replace("sip:+442079460123@203.0.113.9 ", &format!("{uri} "))).called,
            called
        );
    }
}

#[test]
fn no_truncation_is_read_as_another_message() {
    let whole = read(INVITE);
    for length in 0..INVITE.len() {
        let cut = parse(&INVITE.as_bytes()[..length], 7, 6);
        let expected = matches!(cut.kind, Kind::Malformed | Kind::Keepalive | Kind::Doubtful) || cut == whole;
        assert!(expected, "length {length}: {cut:?}");
    }
}

/// A plain reading of the same grammar, line by line and byte by byte.
fn reference(message: &[u8]) -> Option<(Kind, Method)> {
    let mut lines = Vec::new();
    let mut rest = message;
    while let Some(feed) = rest.iter().position(|&byte| byte == b'\n') {
        let line = rest[..feed].strip_suffix(b"\r")?;
        rest = &rest[feed + 1..];
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let (start, headers) = lines.split_first()?;
    let start = std::str::from_utf8(start).ok()?;
    let name = start.split(' ').next()?;
    let method = Method::ALL[..14].iter().copied().find(|m| m.name() == name)?;
    if matches!(method, Method::Ack | Method::Bye | Method::Cancel) {
        return Some((Kind::InDialog, method));
    }
    let (mut found, mut tagged) = (0, false);
    for header in headers {
        if found == 15 {
            break;
        }
        if header.iter().any(|&byte| byte < 14 && byte != b'\t') {
            return None;
        }
        let colon = header.iter().position(|&byte| byte == b':')?;
        let name = std::str::from_utf8(&header[..colon]).ok()?.trim_end().to_ascii_lowercase();
        let bit = match name.as_str() {
            "via" | "v" => 1,
            "to" | "t" => 2,
            "call-id" | "i" => 4,
            "cseq" => 8,
            _ => continue,
        };
        found |= bit;
        if bit == 2 && method != Method::Register {
            let mut state = 0;
            for &byte in &header[colon..] {
                state = walk::step(state, byte);
            }
            tagged = walk::is_tagged(state);
        }
        if tagged {
            let is_plain =
                headers.iter().flat_map(|line| line.iter()).all(|&byte| byte >= 14 || byte == b'\t');
            return is_plain.then_some((Kind::InDialog, method));
        }
    }
    (found == 15).then_some((Kind::Initial, method))
}

fn header_line(names: &'static [&'static str], value: &'static str) -> impl Strategy<Value = String> {
    (proptest::sample::select(names), "[ \t]{0,3}", value)
        .prop_map(|(name, blank, value)| format!("{name}{blank}:{value}"))
}

prop_compose! {
    fn message()(
        method in proptest::sample::select(&Method::ALL[..14]),
        via in header_line(&["Via", "v", "VIA"], " ?SIP/2.0/UDP [a-z0-9.]{1,60};branch=z9hG4bK[a-z0-9]{1,20}"),
        to in header_line(&["To", "t", "TO"],
            "( ?\"([a-z;=<>]|\\\\.){0,20}\" ?)?<sip:[a-z0-9]{1,20}(;tag=x)?@[a-z.]{1,20}>( ?; ?(x|tag|tags|t%61g)( ?= ?[a-z0-9\"\\[]{0,9})?){0,3}"),
        call_id in header_line(&["Call-ID", "i", "CALL-id"], " ?[a-z0-9@.]{1,70}"),
        cseq in header_line(&["CSeq", "CSEQ"], " ?[0-9]{1,9} [A-Z]{3,9}"),
        other in proptest::collection::vec("(X-[a-z]{1,9}|From|Viable|Tom|Max): [ -~]{0,300}", 0..4),
        order in Just((0..8).collect::<Vec<usize>>()).prop_shuffle(),
        dropped in 0_usize..12,
    ) -> String {
        let mut lines = vec![via, to, call_id, cseq];
        if dropped < lines.len() {
            lines.remove(dropped);
        }
        lines.extend(other);
        let mut message = format!("{method} sip:1@example SIP/2.0\r\n");
        for place in order {
            if let Some(line) = lines.get(place) {
                message += line;
                message += "\r\n";
            }
        }
        message + "\r\nv=0\r\nTo: <sip:a@b>;tag=1\r\n"
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn generated_messages_read_as_plainly(message in message()) {
        let read = read(&message);
        let expected = reference(message.as_bytes());
        if let Some((kind, method)) = expected {
            prop_assert_eq!((read.kind, read.method), (kind, method), "{}", message);
        } else {
            prop_assert_eq!(read.kind, Kind::Doubtful, "{}", message);
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2500)) {
        let _ = parse(&bytes, 1, 6);
    }

    #[test]
    fn one_changed_byte_never_panics(at in 0_usize..400, value: u8) {
        let mut bytes = INVITE.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = value;
        let _ = parse(&bytes, 1, 6);
    }
}
