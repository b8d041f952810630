//! Reading the files: text to file types, and every key that means nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_ignored::Path as KeyPath;

use super::Config;
use super::check;
use super::field::keys_of;
use super::file::{AccountsFile, EdgeFile, keys_at};
use super::problem::{Problem, Problems, Report, suggestion};

/// Directory of account files, next to the configuration file.
const ACCOUNTS_DIR: &str = "accounts.d";

/// Keys that have another name now.
const RENAMED: [(&str, &str); 1] = [("smpp.answer_within", "native.answer_within")];

/// Reads `path` and `accounts.d/*.toml` next to it, and checks all of it, the secret files of webhooks
/// included. On error, every problem of every file is in the list.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let mut problems = Vec::new();
    let edge: Option<EdgeFile> = read(path, &mut problems);
    let accounts = read_accounts(&directory_of(path).join(ACCOUNTS_DIR), &mut problems);
    let config = check::config(path, &directory_of(path), edge, accounts, &mut problems);
    match Problems::of(path, problems) {
        Some(problems) => Err(problems),
        None => Ok(config),
    }
}

/// Absolute where that can be told, so that paths of the configuration do not depend on where the daemon runs.
fn directory_of(path: &Path) -> PathBuf {
    let directory = path.parent().unwrap_or(Path::new("")).join("");
    std::path::absolute(&directory).unwrap_or(directory)
}

/// Files in the order of their names, hidden ones left out.
fn read_accounts(directory: &Path, problems: &mut Vec<Problem>) -> Vec<(PathBuf, AccountsFile)> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            let fact = format!("cannot be listed: {error}");
            Report::new(directory, problems).say("", fact, "none of its accounts would exist");
            return Vec::new();
        }
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .filter(|path| !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")))
        .collect();
    paths.sort();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        if let Some(file) = read(&path, problems) {
            files.push((path, file));
        }
    }
    files
}

fn read<T: DeserializeOwned>(path: &Path, problems: &mut Vec<Problem>) -> Option<T> {
    let mut report = Report::new(path, problems);
    let text = match read_regular(path) {
        Ok(text) => text,
        Err(error) => {
            report.say("", format!("cannot be read: {error}"), "nothing of it can hold");
            return None;
        }
    };
    let mut unknown = Vec::new();
    let file = toml::Deserializer::parse(&text)
        .and_then(|parsed| serde_ignored::deserialize(parsed, |key| unknown.push(segments(&key))));
    for path in unknown {
        report_unknown::<T>(&path, &mut report);
    }
    match file {
        Ok(file) => Some(file),
        Err(error) => {
            let line = error.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            let line = line.map_or_else(String::new, |line| format!("line {line}: "));
            let message = error.message().trim().replace('\n', ", ");
            report.say("", format!("{line}not valid TOML: {message}"), "nothing in this file can be read");
            None
        }
    }
}

/// A file's text. What is no regular file is refused: a pipe would be waited for, perhaps for ever.
pub(super) fn read_regular(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    fs::read_to_string(path)
}

fn report_unknown<T: DeserializeOwned>(path: &[String], report: &mut Report<'_>) {
    let Some((key, table)) = path.split_last() else { return };
    if table.is_empty() && keys_of::<EdgeFile>().contains(&key.as_str()) {
        report.say(key, "belongs into the main file, not into a file of accounts", "it would have no effect");
        return;
    }
    let field = joined(path);
    if let Some((_, name)) = RENAMED.iter().find(|(before, _)| *before == field) {
        report.say(&field, format!("is called `{name}` now"), "it would have no effect");
        return;
    }
    let known = if table.is_empty() { keys_of::<T>() } else { keys_at(table) };
    let near = suggestion(key, known.iter().copied());
    report.say(&field, format!("unknown key{near}"), "it would have no effect");
}

/// `interfaces`, `[0]`, `name`.
fn segments(path: &KeyPath<'_>) -> Vec<String> {
    let (parent, last) = match path {
        KeyPath::Root => return Vec::new(),
        KeyPath::Seq { parent, index } => (parent, Some(format!("[{index}]"))),
        KeyPath::Map { parent, key } => (parent, Some(key.clone())),
        KeyPath::Some { parent } | KeyPath::NewtypeStruct { parent } | KeyPath::NewtypeVariant { parent } => {
            (parent, None)
        }
    };
    let mut segments = segments(parent);
    segments.extend(last);
    segments
}

/// `interfaces[0].name`.
fn joined(path: &[String]) -> String {
    path.iter().fold(String::new(), |mut joined, segment| {
        if !joined.is_empty() && !segment.starts_with('[') {
            joined.push('.');
        }
        joined.push_str(segment);
        joined
    })
}
