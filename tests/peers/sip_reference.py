"""A second reading of SIP datagrams, written from RFC 3261 and from what Edge promises in docs and packet table, with
regular expressions over whole lines: nothing of Edge's parser is in it.

Reads messages from standard input, each after its length in four bytes, big-endian; writes a line for each:
kind, method, and what tells a request from another, as hexadecimal.
"""

import re
import struct
import sys

# What is looked at (README, "What Edge does not do"), and how much of it.
BYTES, LINE, LINES, BLANKS = 2048, 1024, 64, 7

METHODS = "INVITE ACK BYE CANCEL REGISTER OPTIONS MESSAGE SUBSCRIBE NOTIFY PUBLISH INFO REFER UPDATE PRACK".split()
ANY_CASE = {"INVITE", "REGISTER", "OPTIONS", "MESSAGE"}

STATUS = re.compile(rb"(?i:SIP)/2\.0 ([1-6])\d\d ", re.S)
REQUEST = re.compile(rb"([A-Za-z0-9.-]{1,15})([ \t\r\n])(?=.)", re.S)
VERSION = re.compile(rb"[^\n]* (?i:SIP)/2\.0\r", re.S)
HEADER = re.compile(rb"(?i:(via|v)|(to|t)|(call-id|i)|(cseq))[ \t]{0,%d}:" % BLANKS)
UNCLEAR = re.compile(rb"(?i:via|v|to|t|call-id|i|cseq|from|f)[ \t]{%d}" % (BLANKS + 1))
# What somebody may read as a To, and what ends a line or a value for somebody.
ANY_TO = re.compile(rb"(?i:to|t)[ \t\r\n:]")
ENDS = re.compile(rb"[\0-\x08\x0b-\x0d]")
# Quoted strings with escapes and what stands in angle brackets hold no parameters; neither need be closed.
OPAQUE = re.compile(rb'"(?:\\.|[^"\\])*(?:"|\\?\Z)|<[^>]*(?:>|\Z)', re.S)
# A parameter that is a tag to somebody: with its value, if it has one that everybody takes.
TAG = re.compile(rb"[ \t]*tag(?:[ \t]*=[ \t]*([\w.!%*+`'~-])|[ \t]*(?:=|\Z))", re.I | re.A)
ESCAPED = re.compile(rb"[ \t]*(?:|t|ta)%", re.I)


def method_of(token):
    name = token.decode("ascii")
    if name.upper() in ANY_CASE:
        return name.upper()
    return name if name in METHODS else "extension"


def read(data):
    if len(data) <= 4:
        return "keepalive", "", b""
    if len(data) >= 20 and data[0] < 0x40 and data[4:8] == b"\x21\x12\xa4\x42":
        return "keepalive", "", b""
    data = data[:BYTES]
    message = data.lstrip(b" \t\r\n")
    before = data[: len(data) - len(message)]
    response = STATUS.match(message)
    if response:
        if len(data) < 12:
            return "malformed", "", b""
        return "response", response[1].decode() + "xx", b""
    if re.match(rb"(?i:SIP)/2\.0 ", message):
        return "malformed", "", b""
    request = REQUEST.match(message)
    if not request:
        return "malformed", "", b""
    method = method_of(request[1])
    lines = message[request.end():].split(b"\n")
    first = lines[0]
    # The last piece has no end.
    if len(lines) < 2 or len(first) >= LINE or not (request[2] + first).endswith(b"\r") or odd(first[:-1]):
        return "doubtful", method, b""
    is_short = len(first) < 10
    if before.strip(b"\r\n") or request[2] != b" " or not VERSION.fullmatch(first) or is_short:
        # No request line by the grammar; servers are not so strict.
        is_http = first[-9:-4].lower() == b"http/"
        if method == "extension" and (is_short or is_http):
            return "malformed", "", b""
        return "doubtful", method, b""
    if method in ("ACK", "BYE", "CANCEL"):
        return "in_dialog", method, b""
    return headers(method, first, lines[1:])


def has_tag(value):
    """One tag, with a value (of two Kamailio and PJSIP take the last, of which nobody may be sure)."""
    plain = OPAQUE.sub(lambda part: b'"' if part[0].startswith(b'"') else b">", value)
    # RFC 3261 20.10: what stands before the `>` of an address is no parameter of the header.
    parameters = plain[plain.rfind(b">") + 1 :].split(b";")[1:]
    tags = [tag for tag in map(TAG.match, parameters) if tag]
    odd = any(b"[" in parameter or ESCAPED.match(parameter) for parameter in parameters)
    return len(tags) == 1 and tags[0][1] is not None and not odd


def has_one_to(lines):
    """Whether the headers end within what is looked at, and every server finds the same To in them."""
    whole = lines[:-1]
    if b"\r" not in whole:
        return False
    whole = whole[: whole.index(b"\r")]
    # Each tab costs another look, and each line one.
    if len(whole) + sum(line.count(b"\t") for line in whole) >= LINES:
        return False
    if any(len(line) >= LINE or not line.endswith(b"\r") or ENDS.search(line[:-1]) for line in whole):
        return False
    return sum(1 for line in whole if ANY_TO.match(line + b"\n")) == 1


def odd(text):
    """Whether a start line has what is no part of any by the grammar."""
    return ENDS.search(text) or b"\t" in text


def headers(method, first, lines):
    kind, identity, to = required(method, first, lines)
    if to is not None and method != "REGISTER" and has_tag(to):
        return "in_dialog" if has_one_to(lines) else "doubtful", method, b""
    return kind, method, identity


def required(method, first, lines):
    """What the request is without its tag, what tells it from another, and the To that was read."""
    seen, identity, to, looks = set(), {}, None, 0
    for number, line in enumerate(lines[:-1]):
        name = HEADER.match(line)
        kind = next((i for i in range(1, 5) if name and name[i]), None)
        value = line
        if kind == 3:
            behind = line[len(name[3]):]
            value = behind[len(re.match(rb"[:\t ]*", behind)[0]):]
        measured = value if kind == 3 and kind not in seen else line
        if len(measured) >= LINE or not line.endswith(b"\r") or line == b"\r" or UNCLEAR.match(line):
            break
        # Each tab costs another look.
        looks += 1 + measured.count(b"\t")
        if looks > LINES or ENDS.search(measured[:-1]) or lines[number + 1][:1] in (b" ", b"\t"):
            break
        if kind is None:
            continue
        if kind == 1:
            identity.setdefault(1, line)
        elif kind in seen:
            break
        else:
            identity[kind] = value
        seen.add(kind)
        if kind == 2:
            to = line[len(name[2]):-1]
        if seen == {1, 2, 3, 4}:
            told = b"\n".join((first, identity[1], identity[3], identity[4]))
            return "initial", told.replace(b"\t", b" "), to
    return "doubtful", b"", to


def main():
    source = sys.stdin.buffer
    while True:
        length = source.read(4)
        if len(length) < 4:
            return
        data = source.read(struct.unpack(">I", length)[0])
        kind, method, identity = read(data)
        sys.stdout.write(f"{kind} {method or '-'} {identity.hex() or '-'}\n")


main()
