//! What is wrong with a configuration: every fact, with what would follow from it.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In which file.
    pub file: PathBuf,
    /// Which field, as a path: `detect.spike.factor`, `interfaces[0].name`; empty when it is the whole file.
    pub field: String,
    /// What is wrong, and what would be right.
    pub fact: String,
    /// What would happen if it were let be.
    pub consequence: String,
}

/// Everything that is wrong, in the order of files and fields. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// Collects the problems of one file.
pub(super) struct Report<'a> {
    file: &'a Path,
    problems: &'a mut Vec<Problem>,
}

impl Problems {
    /// `None` when there are none. The main file's come first, the others' by file.
    pub(super) fn of(main: &Path, mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort_by(|a, b| (a.file != main, &a.file).cmp(&(b.file != main, &b.file)));
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Problem] {
        &self.0
    }

    /// One line each: file, field, fact, consequence.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0.iter().map(Problem::to_string).collect()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{}; {}", self.fact, self.consequence)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} {}", if count == 1 { "problem" } else { "problems" })?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a Path, problems: &'a mut Vec<Problem>) -> Self {
        Self { file, problems }
    }

    pub(super) fn file(&self) -> &'a Path {
        self.file
    }

    pub(super) fn say(&mut self, field: &str, fact: impl Into<String>, consequence: impl Into<String>) {
        self.problems.push(Problem {
            file: self.file.to_owned(),
            field: field.to_owned(),
            fact: fact.into(),
            consequence: consequence.into(),
        });
    }
}

/// ` (did you mean …?)` when one of the known words is close, else nothing.
pub(super) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .min()
        // A third of the letters may be wrong: `faktor`, but not `color`, for `factor`.
        .filter(|(distance, candidate)| distance * 3 <= candidate.len().max(3))
        .map_or_else(String::new, |(_, candidate)| format!(" (did you mean `{candidate}`?)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        let known = ["factor", "floor_per_sec"];
        assert_eq!(suggestion("faktor", known), " (did you mean `factor`?)");
        assert_eq!(suggestion("floor_per_secs", known), " (did you mean `floor_per_sec`?)");
        assert_eq!(suggestion("colour", known), "");
    }
}
