//! Which way dependencies point, and the absences that the architecture promises.

use crate::source_tree::{SourceFile, has_word, root, rust_files};

#[test]
fn aya_is_named_only_in_the_dataplane() {
    let outside = |file: &SourceFile| !file.path.starts_with("edge-user/src/dataplane");
    assert_absent("edge-user/src", outside, &["aya", "aya_log"]);
}

#[test]
fn unsafe_is_only_where_it_is_argued() {
    let argued = |path: &str| {
        path.starts_with("edge-ebpf/src/bin/edge-kernel/")
            || path == "edge-ebpf/src/verifier.rs"
            || path == "edge-ebpf/src/abi/mod.rs"
    };
    for tree in ["edge-ebpf", "edge-user", "tests", "xtask"] {
        assert_absent(tree, |file| !argued(&file.path), &["unsafe"]);
    }
}

#[test]
fn clocks_are_read_in_the_daemon_and_in_binaries_only() {
    let pure = |file: &SourceFile| {
        !file.path.starts_with("edge-user/src/daemon") && !file.path.starts_with("edge-user/src/bin/")
    };
    assert_absent(
        "edge-user/src",
        pure,
        &["Instant::now", "SystemTime::now", "Timestamp::now", "Zoned::now"],
    );
    let core = |file: &SourceFile| !file.path.starts_with("edge-ebpf/src/bin/");
    assert_absent("edge-ebpf/src", core, &["bpf_ktime_get_ns", "Instant", "SystemTime"]);
}

#[test]
fn detectors_know_nothing_but_what_they_are_shown() {
    let detect = |file: &SourceFile| file.path.starts_with("edge-user/src/detect");
    assert_absent(
        "edge-user/src",
        detect,
        &["store", "webhook", "dataplane", "daemon", "api", "rusqlite", "reqwest", "tokio", "async"],
    );
}

#[test]
fn webhooks_know_nothing_of_detectors_and_the_data_plane() {
    let webhook = |file: &SourceFile| file.path.starts_with("edge-user/src/webhook");
    assert_absent("edge-user/src", webhook, &["detect", "dataplane", "reconcile"]);
}

#[test]
fn the_wire_knows_nothing_of_accounts() {
    let wire = |file: &SourceFile| file.path.starts_with("edge-ebpf/src/wire");
    assert_absent(
        "edge-ebpf/src",
        wire,
        &["Policy", "AccountState", "SourceState", "meter", "decide", "aya_ebpf"],
    );
}

/// But for `detach`, the emergency exit, which must work when no daemon answers.
#[test]
fn the_command_line_reaches_the_daemon_through_the_api_only() {
    let edgectl = |file: &SourceFile| {
        file.path.starts_with("edge-user/src/bin/edgectl") && !file.path.ends_with("/detach.rs")
    };
    let modules =
        ["dataplane", "store", "daemon", "webhook", "reconcile"].map(|name| format!("edge_user::{name}"));
    assert_absent("edge-user/src", edgectl, &modules.each_ref().map(String::as_str));
}

#[test]
fn a_file_is_short_enough_to_hold_in_ones_head() {
    let long: Vec<String> = ["edge-ebpf", "edge-user", "tests", "xtask"]
        .iter()
        .flat_map(|tree| rust_files(tree))
        .map(|file| (file.text.lines().count(), file.path))
        .filter(|(lines, _)| *lines > 500)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "more than 500 lines:\n{}", long.join("\n"));
}

#[test]
fn every_package_inherits_the_workspaces_lints() {
    for package in ["edge-ebpf", "edge-user", "tests", "xtask"] {
        let manifest = std::fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{package} does not inherit the lints");
    }
}

/// None of the words in the product code of the files chosen.
fn assert_absent(tree: &str, chosen: impl Fn(&SourceFile) -> bool, words: &[&str]) {
    let files: Vec<_> = rust_files(tree).into_iter().filter(chosen).collect();
    assert!(!files.is_empty(), "nothing of {tree} is looked at");
    let found: Vec<String> = files
        .iter()
        .flat_map(|file| file.product_code().map(move |(line, code)| (file, line, code)))
        .filter(|(_, _, code)| words.iter().any(|word| has_word(code, word)))
        .map(|(file, line, code)| format!("{}:{line}: {}", file.path, code.trim()))
        .collect();
    assert!(found.is_empty(), "none of {words:?} belongs here:\n{}", found.join("\n"));
}
