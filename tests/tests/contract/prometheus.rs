//! The shipped rules, judged by Prometheus's own checker.

use std::process::Command;

use crate::source_tree::root;

#[test]
fn prometheus_takes_the_shipped_rules_and_they_alert_when_they_should() {
    promtool(&["check", "rules", "edge.rules.yml", "edge.alerts.yml"]);
    promtool(&["test", "rules", "edge.test.yml"]);
}

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(root().join("config/prometheus"))
        .output()
        .unwrap_or_else(|error| panic!("promtool: {error}; `cargo xtask test` brings it"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "promtool {arguments:?}:\n{}", String::from_utf8_lossy(&said));
}
