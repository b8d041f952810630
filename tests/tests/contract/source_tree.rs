//! The repository's own files, as text.

use std::fs;
use std::path::{Path, PathBuf};

/// One Rust file.
pub(crate) struct SourceFile {
    /// From the repository's root, with slashes.
    pub(crate) path: String,
    /// The text.
    pub(crate) text: String,
}

impl SourceFile {
    /// Numbered lines without comments and without string literals: what the compiler acts on.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, String)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, without_text(line)))
    }

    /// The part before the file's unit tests; nothing of a file that is a module of tests.
    pub(crate) fn product_code(&self) -> impl Iterator<Item = (usize, String)> {
        let is_test = self.path.contains("/src/")
            && (self.path.contains("/tests/") || self.path.ends_with("/tests.rs"));
        let lines: Vec<&str> = self.text.lines().map(str::trim).collect();
        // `mod tests;` names another file: what follows it is product code.
        let inline = |pair: &[&str]| pair[0] == "#[cfg(test)]" && !pair[1].ends_with(';');
        let tests = if is_test { Some(0) } else { lines.windows(2).position(inline) }.unwrap_or(usize::MAX);
        self.code().take_while(move |(line, _)| *line <= tests)
    }
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file under a directory of the repository.
pub(crate) fn rust_files(under: &str) -> Vec<SourceFile> {
    let mut found = Vec::new();
    collect(&root().join(under), &mut found);
    assert!(!found.is_empty(), "{under} has no Rust file");
    found
}

/// Whether `code` has `word` as a whole word.
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(part_of_word) && !code[at + word.len()..].starts_with(part_of_word)
    })
}

fn collect(directory: &Path, found: &mut Vec<SourceFile>) {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            found.push(SourceFile { path, text });
        }
    }
}

fn without_text(line: &str) -> String {
    let mut code = String::new();
    let mut in_string = false;
    let mut previous = ' ';
    for c in line.chars() {
        match c {
            '"' if previous != '\\' && previous != '\'' => in_string = !in_string,
            '/' if previous == '/' && !in_string => return code,
            _ if !in_string => code.push(c),
            _ => {}
        }
        previous = c;
    }
    code
}

#[test]
fn comments_and_strings_are_no_code() {
    assert_eq!(without_text("let a = \"unsafe\"; // unsafe").trim(), "let a = ; /");
    assert!(has_word("unsafe impl", "unsafe") && !has_word("unsafe_code", "unsafe"));
}
