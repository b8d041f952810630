//! The byte-by-byte reading of a To value: quoted strings with escapes (RFC 3261 25.1, quoted-string), angle
//! brackets, and the parameter name after each semicolon, white space allowed around it.

/// Nothing has begun.
pub(crate) const OUTSIDE: u32 = 0;
/// The tag parameter was found.
pub(crate) const FOUND: u32 = 5;
/// How far into `; tag =` the walk is: 1 after the semicolon, then `t`, `ta`, `tag`.
const PROGRESS: u32 = 7;
/// In a quoted string.
pub(crate) const QUOTED: u32 = 8;
const ESCAPED: u32 = 16;
/// In angle brackets.
pub(crate) const BRACKETED: u32 = 32;

/// The next state.
#[inline(always)]
pub(crate) const fn step(state: u32, byte: u8) -> u32 {
    if state & QUOTED != 0 {
        if state & ESCAPED != 0 {
            return QUOTED;
        }
        return match byte {
            b'\\' => QUOTED | ESCAPED,
            b'"' => 0,
            _ => QUOTED,
        };
    }
    if state & BRACKETED != 0 {
        return if byte == b'>' { 0 } else { BRACKETED };
    }
    match (byte, state & PROGRESS) {
        (b'"', _) => QUOTED,
        (b'<', _) => BRACKETED,
        (b';', _) | (b' ' | b'\t', 1) => 1,
        (b't' | b'T', 1) => 2,
        (b'a' | b'A', 2) => 3,
        (b'g' | b'G', 3) | (b' ' | b'\t', 4) => 4,
        (b'=', 4) => FOUND,
        _ => 0,
    }
}
