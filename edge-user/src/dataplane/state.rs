//! Where an interface stands, and in which mode.

use super::egress::EgressHook;
use crate::config::XdpModeRequest;

/// The mode that an interface really has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpModeObtained {
    /// In the driver.
    Native,
    /// In the stack, after the kernel has made its own packet of it.
    Generic,
}

impl XdpModeObtained {
    /// `native` or `generic`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "native" => Some(Self::Native),
            "generic" => Some(Self::Generic),
            _ => None,
        }
    }

    pub(super) const fn satisfies(self, request: XdpModeRequest) -> bool {
        match (self, request) {
            (_, XdpModeRequest::Auto)
            | (Self::Native, XdpModeRequest::Native)
            | (Self::Generic, XdpModeRequest::Generic) => true,
            (Self::Native, XdpModeRequest::Generic) | (Self::Generic, XdpModeRequest::Native) => false,
        }
    }
}

/// Where an interface stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceState {
    /// The program is on it, by a pinned link.
    Attached {
        /// How.
        mode: XdpModeObtained,
        /// Why not native, when `auto` was asked for.
        reason: Option<String>,
        /// How the way out is heard.
        egress: EgressHook,
    },
    /// There is no interface of that name; it is attached as soon as there is one.
    Absent,
    /// It is there, but refuses.
    Failed {
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_any_mode_and_the_others_only_their_own() {
        use XdpModeObtained::{Generic, Native};
        assert!(Native.satisfies(XdpModeRequest::Auto) && Generic.satisfies(XdpModeRequest::Auto));
        assert!(Native.satisfies(XdpModeRequest::Native) && !Native.satisfies(XdpModeRequest::Generic));
        assert!(Generic.satisfies(XdpModeRequest::Generic) && !Generic.satisfies(XdpModeRequest::Native));
    }
}
