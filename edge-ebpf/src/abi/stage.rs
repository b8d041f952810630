//! Stages: programs in which another goes on by a tail call. Each has the verifier's million instructions for itself.

use super::indexed_enum;

indexed_enum! {
    /// Where the way in goes on. Index of the map `INGRESS_STAGES`; the name is the program's.
    IngressStage {
        /// Datagrams of SIP.
        Sip = 0, "edge_sip";
        /// A datagram of SIP that is refused, and answered.
        SipReply = 1, "edge_sip_reply";
        /// Segments of SIP over TCP.
        SipStream = 2, "edge_sip_stream";
        /// Segments of SMPP.
        Smpp = 3, "edge_smpp";
        /// Segments whose messages cannot be read, and packets without ports.
        Unread = 4, "edge_unread";
        /// A segment of SMPP that has passed, with messages that leave a record.
        NoteMessages = 5, "edge_note_messages";
    }
}

indexed_enum! {
    /// Where the way out goes on. Index of the map `EGRESS_STAGES`; the name is the program's.
    EgressStage {
        /// A segment that has passed, with answers to such messages.
        RecordMessages = 0, "edge_record_messages";
        /// A segment that has passed, with delivery receipts. It goes on in the other, where that is called for.
        CountReceipts = 1, "edge_count_receipts";
        /// A segment of SIP over TCP, from a port that refuses in SIP's own words.
        SipAnswers = 2, "edge_sip_answers";
    }
}
