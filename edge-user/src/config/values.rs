//! From written values to checked ones: each reports what is wrong and returns something to go on with.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edge_ebpf::abi::Mode;

use super::field::{Field, Section};
use super::problem::{Report, suggestion};
use crate::alert::Severity;

const UNUSABLE: &str = "the value cannot be used";

pub(super) const MODES: [(&str, Mode); 2] = [("observe", Mode::Observe), ("enforce", Mode::Enforce)];
pub(super) const SEVERITIES: [(&str, Severity); 3] =
    [("info", Severity::Info), ("warning", Severity::Warning), ("critical", Severity::Critical)];

impl Report<'_> {
    pub(super) fn table<T: Default>(&mut self, field: &str, section: Section<T>) -> T {
        match section {
            Section::Given(table) => table,
            Section::Wrong(found) => {
                self.say(field, found, "nothing in it can be read");
                T::default()
            }
        }
    }

    pub(super) fn given<T>(&mut self, field: &str, value: Field<T>) -> Option<T> {
        match value {
            Field::Missing => None,
            Field::Given(value) => Some(value),
            Field::Wrong(found) => {
                self.say(field, found, UNUSABLE);
                None
            }
        }
    }

    /// The elements with their paths; `None` when the field is missing.
    pub(super) fn list<T>(&mut self, field: &str, value: Field<Vec<Field<T>>>) -> Option<Vec<(String, T)>> {
        let elements = self.given(field, value)?;
        let mut list = Vec::with_capacity(elements.len());
        for (index, element) in elements.into_iter().enumerate() {
            let path = format!("{field}[{index}]");
            if let Some(value) = self.given(&path, element) {
                list.push((path, value));
            }
        }
        Some(list)
    }

    pub(super) fn number<T: PartialOrd + Copy + Display>(
        &mut self,
        field: &str,
        value: Field<T>,
        default: T,
        range: RangeInclusive<T>,
    ) -> T {
        match self.given(field, value) {
            None => default,
            Some(value) if range.contains(&value) => value,
            Some(value) => {
                self.say(
                    field,
                    format!("{value} is not within {} to {}", range.start(), range.end()),
                    UNUSABLE,
                );
                default
            }
        }
    }

    pub(super) fn word<T: Copy>(
        &mut self,
        field: &str,
        value: Field<String>,
        default: T,
        words: &[(&str, T)],
    ) -> T {
        let Some(value) = self.given(field, value) else { return default };
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == value) {
            return *meaning;
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let near = suggestion(&value, known.iter().copied());
        self.say(field, format!("`{value}` is none of {}{near}", known.join(", ")), UNUSABLE);
        default
    }

    pub(super) fn duration(
        &mut self,
        field: &str,
        value: Field<String>,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(text) = self.given(field, value) else { return default };
        match humantime::parse_duration(&text) {
            Ok(duration) if range.contains(&duration) => duration,
            Ok(_) => {
                let [least, most] = [range.start(), range.end()].map(|it| humantime::format_duration(*it));
                self.say(field, format!("`{text}` is not within {least} to {most}"), UNUSABLE);
                default
            }
            Err(_) => {
                self.say(
                    field,
                    format!("`{text}` is not a duration; write for example `30s` or `2h 30m`"),
                    UNUSABLE,
                );
                default
            }
        }
    }

    /// A relative path is meant from the directory of the configuration file.
    pub(super) fn path(
        &mut self,
        field: &str,
        value: Field<PathBuf>,
        default: PathBuf,
        base: &Path,
    ) -> PathBuf {
        match self.given(field, value) {
            None => default,
            Some(path) if path.as_os_str().is_empty() => {
                self.say(field, "an empty path", UNUSABLE);
                default
            }
            Some(path) => base.join(path),
        }
    }

    /// Names of plans, accounts and webhooks: they become labels, map entries and words of the command line.
    pub(super) fn name(&mut self, field: &str, name: &str) {
        const MOST_BYTES: usize = 63;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric) || !name.bytes().all(allowed) {
            self.say(
                field,
                format!("`{name}` is not a name: letters, digits, `.`, `_` and `-`, beginning with a letter or digit"),
                "it could not be written on the command line or in metrics",
            );
        } else if name.len() > MOST_BYTES {
            self.say(
                field,
                format!("the name has {} bytes, at most {MOST_BYTES} are possible", name.len()),
                "the kernel's table of names could not hold it",
            );
        }
    }
}
