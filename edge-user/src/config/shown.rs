//! What an account may show as a caller or a sender, and what becomes of those that show something else.

use std::fmt;

use edge_ebpf::abi::policy_flag;

use super::field::Field;
use super::problem::Report;

/// Digits of an E.164 number (ITU-T E.164, 6).
const DIGITS_MAX: usize = 15;
/// Characters of a sender ID that is no number (3GPP TS 23.040, 9.1.2.5: ten octets of seven-bit characters).
const TEXT_MAX: usize = 11;

/// What becomes of calls and messages that show a caller ID or a sender ID which is none of the account's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignMode {
    /// Nobody looks.
    Off,
    /// They are counted and told of.
    Count,
    /// They are refused, too.
    Refuse,
}

impl ForeignMode {
    pub(super) const WORDS: [(&str, Self); 3] = [
        (Self::Off.name(), Self::Off),
        (Self::Count.name(), Self::Count),
        (Self::Refuse.name(), Self::Refuse),
    ];

    /// As the configuration writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Count => "count",
            Self::Refuse => "refuse",
        }
    }

    /// As bits of `Policy::flags`, for caller IDs.
    pub(super) const fn caller_flags(self) -> u32 {
        self.flags(policy_flag::CALLER_IDS_CHECKED, policy_flag::CALLER_IDS_ENFORCED)
    }

    /// As bits of `Policy::flags`, for sender IDs.
    pub(super) const fn sender_flags(self) -> u32 {
        self.flags(policy_flag::SENDER_IDS_CHECKED, policy_flag::SENDER_IDS_ENFORCED)
    }

    const fn flags(self, checked: u32, enforced: u32) -> u32 {
        match self {
            Self::Off => 0,
            Self::Count => checked,
            Self::Refuse => checked | enforced,
        }
    }
}

/// What an SMPP message may have as its source address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SenderId {
    /// Every one that begins with these digits.
    Digits(String),
    /// This one alone.
    Text(String),
}

/// As the configuration writes it.
impl fmt::Display for SenderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Digits(id) | Self::Text(id)) = self;
        f.write_str(id)
    }
}

/// Leading digits of numbers, without a `+`.
pub(super) fn caller_ids(
    field: &str,
    value: Field<Vec<Field<String>>>,
    report: &mut Report<'_>,
) -> Vec<String> {
    each_once(field, value, report, |text| {
        digits(text).filter(|digits| digits.len() <= DIGITS_MAX).ok_or_else(|| {
            let fact =
                format!("`{text}` is not 1 to {DIGITS_MAX} digits of E.164; write for example \"441632\"");
            (fact, "no caller ID would match it")
        })
    })
}

/// Leading digits of numbers, and whole sender IDs.
pub(super) fn sender_ids(
    field: &str,
    value: Field<Vec<Field<String>>>,
    report: &mut Report<'_>,
) -> Vec<SenderId> {
    each_once(field, value, report, |text| {
        let is_text = |text: &str| {
            (1..=TEXT_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        };
        match digits(text) {
            Some(digits) if digits.len() <= DIGITS_MAX => Ok(SenderId::Digits(digits)),
            None if is_text(text) => Ok(SenderId::Text(text.to_owned())),
            _ => {
                let fact = format!(
                    "`{text}` is neither 1 to {DIGITS_MAX} digits nor 1 to {TEXT_MAX} printable ASCII \
                     characters; write for example \"441632\" or \"ACME\""
                );
                Err((fact, "no sender ID would match it"))
            }
        }
    })
}

/// The digits, where there is nothing else but a `+` before them.
fn digits(text: &str) -> Option<String> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.to_owned())
}

fn each_once<T: PartialEq + fmt::Display>(
    field: &str,
    value: Field<Vec<Field<String>>>,
    report: &mut Report<'_>,
    read: impl Fn(&str) -> Result<T, (String, &'static str)>,
) -> Vec<T> {
    let mut ids: Vec<T> = Vec::new();
    for (path, text) in report.list(field, value).unwrap_or_default() {
        match read(&text) {
            Err((fact, consequence)) => report.say(&path, fact, consequence),
            Ok(id) if ids.contains(&id) => {
                report.say(&path, format!("`{id}` stands here twice"), "one of them says nothing");
            }
            Ok(id) => ids.push(id),
        }
    }
    ids
}
