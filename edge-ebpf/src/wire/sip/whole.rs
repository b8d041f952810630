//! The headers of a tagged request, read to their end: a tag is believed only where no server can find another To.
//!
//! PJSIP takes the last To, Kamailio the first. PJSIP ends a line at a bare CR, and Kamailio some; a NUL ends a To.

use core::ops::ControlFlow;

use super::{Kind, Scratch, header};
use crate::verifier::word;
use crate::wire::words::{LOW_16, text};

impl Scratch {
    /// Whether the request is one whose tag has been read, and may be refused without it. What is not shown to have one To
    /// is doubtful.
    #[inline(always)]
    pub fn begin_whole(&mut self) -> bool {
        let is_tagged = self.kind == Kind::InDialog as u32 && self.wanted == header::ALL;
        if is_tagged {
            self.kind = Kind::Doubtful as u32;
            self.position = self.headers_at;
            self.walk = 0;
        }
        is_tagged
    }

    /// One line of it. Breaks at the end of the headers, and where the request stays doubtful.
    #[inline(always)]
    pub fn whole_line_is_plain(&mut self) -> ControlFlow<()> {
        let start = self.position;
        let first = word(&self.bytes, start);
        if first & LOW_16 == text(b"\r\n\0\0\0\0\0\0") {
            if start + 1 < self.length && self.walk == 1 {
                self.kind = Kind::InDialog as u32;
            }
            return ControlFlow::Break(());
        }
        let Some(end) = self.line_end(start) else { return self.again() };
        if is_to(first) {
            self.walk += 1;
        }
        self.position = end + 1;
        ControlFlow::Continue(())
    }
}

/// Whether somebody may read a line that begins so as a To: however much white space stands before the colon, and even
/// where it begins on the next line.
#[inline(always)]
const fn is_to(first: u64) -> bool {
    let (initial, second, third) = (first as u8, (first >> 8) as u8, (first >> 16) as u8);
    let behind = if second | 0x20 == b'o' { third } else { second };
    initial | 0x20 == b't' && matches!(behind, b':' | b' ' | b'\t' | b'\r' | b'\n')
}
