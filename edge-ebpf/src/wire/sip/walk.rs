//! The octet-by-octet reading of a To value: quoted strings with escapes (RFC 3261 25.1, quoted-string), angle
//! brackets, and the parameters behind the last of them, white space allowed around names and values.
//!
//! A request is within a dialog where every server finds the same tag. Of two tags most take the last, and an empty one
//! is none to them (Kamailio, PJSIP), so that only one counts that stands alone and has a value; all else is no tag.

use crate::wire::words::is_white;

/// Nothing has begun, or a name or value that does not matter.
pub(crate) const OUTSIDE: u32 = 0;
/// Behind a semicolon; then come `t`, `ta`, `tag`, and the equals sign behind it.
const BEGUN: u32 = 1;
const T: u32 = 2;
const TA: u32 = 3;
const NAMED: u32 = 4;
const VALUE: u32 = 5;
/// In a quoted string.
pub(crate) const QUOTED: u32 = 8;
const ESCAPED: u32 = 16;
/// In angle brackets.
pub(crate) const BRACKETED: u32 = 32;
/// All of the above.
pub(crate) const PLACE: u32 = 63;

/// Parameters have begun.
const PARAMETERS: u32 = 64;
/// One of them is a tag that has a value.
const TAGGED: u32 = 128;
/// Servers may not agree which tag there is.
const SPOILT: u32 = 256;

/// The next state.
#[inline(always)]
pub(crate) const fn step(state: u32, byte: u8) -> u32 {
    let (place, known) = (state & PLACE, state & !PLACE);
    if place & QUOTED != 0 {
        let next = match byte {
            _ if place & ESCAPED != 0 => QUOTED,
            b'\\' => QUOTED | ESCAPED,
            b'"' => OUTSIDE,
            _ => QUOTED,
        };
        return known | next;
    }
    if place == BRACKETED {
        return if byte == b'>' { OUTSIDE } else { BRACKETED };
    }
    if place == VALUE && is_token(byte) {
        return if known & TAGGED == 0 { known | TAGGED } else { known | SPOILT };
    }
    if is_white(byte) && matches!(place, BEGUN | NAMED | VALUE) {
        return state;
    }
    let known = if is_spoilt_by(byte, place, known) { known | SPOILT } else { known };
    match (byte, place) {
        (b'"', _) => known | QUOTED,
        // What stands before the address is no parameter of it.
        (b'<', _) => BRACKETED,
        (b'>', _) => OUTSIDE,
        (b';', _) => known | PARAMETERS | BEGUN,
        (b't' | b'T', BEGUN) => known | T,
        (b'a' | b'A', T) => known | TA,
        (b'g' | b'G', TA) => known | NAMED,
        (b'=', NAMED) => known | VALUE,
        _ => known,
    }
}

/// Whether a value that ends in this state has a tag.
#[inline(always)]
pub(crate) const fn is_tagged(state: u32) -> bool {
    state & (TAGGED | SPOILT) == TAGGED && !matches!(state & PLACE, NAMED | VALUE)
}

/// Whether an octet may begin a tag's value (RFC 3261 25.1, token).
#[inline(always)]
pub(super) const fn is_token(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+'
        | b'`' | b'\'' | b'~')
}

/// A tag without a value is a tag to Kamailio; PJSIP reads names that are escaped, and values in square brackets.
#[inline(always)]
const fn is_spoilt_by(byte: u8, place: u32, known: u32) -> bool {
    match place {
        VALUE => true,
        NAMED if byte == b';' => true,
        BEGUN | T | TA if byte == b'%' => true,
        _ => byte == b'[' && known & PARAMETERS != 0,
    }
}
