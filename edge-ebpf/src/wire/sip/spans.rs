//! Where the lines stand that an answer repeats (RFC 3261 8.2.6.2), noted while they are read.

use super::header;

/// One line, or several that follow each other: from its first octet to the one behind its LF.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// The lines of a request.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Spans {
    /// All Via lines; they must follow each other.
    pub(super) vias: Span,
    /// Where the top one ends.
    pub(super) top_via_end: u32,
    pub(super) from: Span,
    pub(super) to: Span,
    pub(super) call_id: Span,
    pub(super) cseq: Span,
    /// Where the parser stopped: the first line that it has not read. 0 unless it read all that a decision needs.
    pub(super) rest_at: u32,
    /// Not zero if lines stand in an order, or so often, that nothing is answered.
    pub(super) is_unclear: u32,
}

impl Spans {
    /// Nothing read.
    #[cfg(not(target_arch = "bpf"))]
    pub(super) const NONE: Self = {
        let none = Span { start: 0, end: 0 };
        Self {
            vias: none,
            top_via_end: 0,
            from: none,
            to: none,
            call_id: none,
            cseq: none,
            rest_at: 0,
            is_unclear: 0,
        }
    };

    /// For another request.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.vias.end = 0;
        self.from.end = 0;
        self.rest_at = 0;
        self.is_unclear = 0;
    }

    /// Notes the line of the header `bit`.
    #[inline(always)]
    pub(super) fn note(&mut self, bit: u32, start: u32, end: u32) {
        let line = Span { start, end };
        match bit {
            header::VIA if self.vias.end == 0 => {
                self.vias = line;
                self.top_via_end = end;
            }
            header::VIA if self.vias.end == start => self.vias.end = end,
            header::FROM if self.from.end == 0 => self.from = line,
            header::TO => self.to = line,
            header::CALL_ID => self.call_id = line,
            header::CSEQ => self.cseq = line,
            header::VIA | header::FROM => self.is_unclear = 1,
            _ => {}
        }
    }
}
