//! How many messages leave a record: `off`, `all` or `1/N`, and the same as the kernel compares it.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// `N` of `1/N`.
const ONE_IN: RangeInclusive<u32> = 2..=1_000_000;
/// All that a hash of 32 bits can be.
const HASHES: u64 = 1 << 32;

/// Which part of all messages of SMPP leaves a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// None.
    Off,
    /// Each.
    All,
    /// One in so many, 2 to 1,000,000, by chance.
    OneIn(u32),
}

impl Share {
    /// As [`edge_ebpf::abi::Settings::message_records`] has it: how many of 2^32.
    #[must_use]
    pub fn of_hashes(self) -> u32 {
        match self {
            Self::Off => 0,
            Self::All => u32::MAX,
            Self::OneIn(n) => u32::try_from(HASHES / u64::from(n.max(2))).unwrap_or(u32::MAX),
        }
    }

    /// The share that is meant by so many of 2^32. Where several are, beyond some 1/65,000, the roundest.
    #[must_use]
    pub fn from_hashes(hashes: u32) -> Self {
        match hashes {
            0 => Self::Off,
            u32::MAX => Self::All,
            hashes => {
                let (least, most) = (HASHES / (u64::from(hashes) + 1) + 1, HASHES / u64::from(hashes));
                let roundest = [1_000_000, 100_000, 10_000, 1_000, 100, 10]
                    .into_iter()
                    .map(|unit| most / unit * unit)
                    .find(|n| *n >= least);
                Self::OneIn(u32::try_from(roundest.unwrap_or(most)).unwrap_or(u32::MAX))
            }
        }
    }
}

impl FromStr for Share {
    type Err = String;

    /// The error is the fact to report.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => return Ok(Self::Off),
            "all" => return Ok(Self::All),
            _ => {}
        }
        let digits = text.strip_prefix("1/").filter(|it| it.bytes().all(|octet| octet.is_ascii_digit()));
        let Some(digits) = digits.filter(|digits| !digits.is_empty()) else {
            return Err(format!("`{text}` is none of off, all and 1/N; write for example `1/100`"));
        };
        match digits.parse() {
            Ok(n) if ONE_IN.contains(&n) => Ok(Self::OneIn(n)),
            _ => Err(format!("{digits} of `{text}` is not within {} to {}", ONE_IN.start(), ONE_IN.end())),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::All => f.write_str("all"),
            Self::OneIn(n) => write!(f, "1/{n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_reads_as_it_was_written_also_from_what_the_kernel_holds() {
        for text in ["off", "all", "1/2", "1/3", "1/100", "1/65535", "1/100000", "1/1000000"] {
            let share: Result<Share, String> = text.parse();
            let back = share.map(|share| Share::from_hashes(share.of_hashes()).to_string());
            assert_eq!(back.as_deref(), Ok(text));
        }
        assert_eq!(Share::OneIn(2).of_hashes(), 1 << 31);
        assert_eq!((Share::Off.of_hashes(), Share::All.of_hashes()), (0, u32::MAX));
    }

    #[test]
    fn what_is_no_share_says_what_would_be() {
        let fact = |text: &str| text.parse::<Share>().err().unwrap_or_default();
        for text in ["", "some", "1/", "1/x", "1/+5", "2/100", "0.01", "All"] {
            assert!(fact(text).contains("is none of off, all and 1/N"), "{text}: {}", fact(text));
        }
        for text in ["1/0", "1/1", "1/1000001", "1/99999999999999999999"] {
            assert!(fact(text).ends_with("is not within 2 to 1000000"), "{text}: {}", fact(text));
        }
    }
}
