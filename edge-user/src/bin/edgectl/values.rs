//! Values as people type them: checked before anybody is asked, with messages that teach.

use std::net::IpAddr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use edge_ebpf::abi::Class;
use edge_user::api::types::Scope;
use ipnet::IpNet;

/// One of the names of [`Class`].
pub(crate) fn class() -> PossibleValuesParser {
    PossibleValuesParser::new(Class::ALL.iter().map(|class| class.name()))
}

/// One of the names of [`Scope`].
pub(crate) fn scope() -> impl TypedValueParser<Value = Scope> {
    PossibleValuesParser::new(Scope::ALL.map(Scope::name))
        .map(|word| Scope::from_name(&word).unwrap_or(Scope::Account))
}

/// A time such as `15m` or `1d 12h`, in seconds; at least one.
pub(crate) fn duration_secs(text: &str) -> Result<u64, String> {
    if text.trim_start().starts_with('-') {
        return Err(format!("`{text}` is no time to come; write for example `15m`, `2h` or `1d 12h`"));
    }
    let duration: Duration = humantime::parse_duration(text)
        .map_err(|_| format!("`{text}` is not a time; write for example `15m`, `2h` or `1d 12h`"))?;
    if duration < Duration::from_secs(1) {
        return Err("less than a second would be over before it began; to lift it now, unset it".to_owned());
    }
    Ok(duration.as_secs())
}

/// A moment: itself, or how long ago it was.
pub(crate) fn since(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let ago = Duration::from_secs(duration_secs(text)?);
    jiff::Timestamp::now().checked_sub(ago).map_err(|_| format!("`{text}` ago is beyond the calendar"))
}

/// An address or a prefix whose host bits are zero, as it was typed.
pub(crate) fn prefix(text: &str) -> Result<String, String> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    let net: IpNet = text.parse().map_err(|_| {
        format!("`{text}` is no address or prefix; write for example `203.0.113.7`, `203.0.113.0/24` or `2001:db8::/32`")
    })?;
    if net.addr() != net.network() {
        let (trunc, host) = (net.trunc(), net.addr());
        return Err(format!(
            "`{text}` has bits beyond its prefix; `{trunc}` is the prefix, `{host}` the one address"
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds_and_at_least_one() {
        assert_eq!(duration_secs("2h"), Ok(7200));
        assert_eq!(duration_secs("1d 12h"), Ok(129_600));
        assert_eq!(duration_secs("1500ms"), Ok(1));
        for wrong in ["0s", "999ms", "2", "soon", "-1h", ""] {
            assert!(duration_secs(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_that_is_negative_or_another_option_is_called_no_time_to_come() {
        for wrong in ["-1h", " -5m", "--reason"] {
            let message = duration_secs(wrong).err().unwrap_or_default();
            assert!(message.contains("no time to come"), "{wrong}: {message}");
        }
    }

    #[test]
    fn a_prefix_with_host_bits_is_told_what_was_meant() {
        assert_eq!(prefix("203.0.113.7"), Ok("203.0.113.7".to_owned()));
        assert_eq!(prefix("2001:db8::/32"), Ok("2001:db8::/32".to_owned()));
        let message = prefix("203.0.113.7/24").err().unwrap_or_default();
        assert!(message.contains("`203.0.113.0/24` is the prefix"), "{message}");
        for wrong in ["203.0.113", "203.0.113.0/33", "example.org", ""] {
            assert!(prefix(wrong).is_err(), "{wrong}");
        }
    }
}
