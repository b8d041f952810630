//! Everything that is known of a packet, and the one outcome it comes to: the truth table.
