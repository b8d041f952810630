//! The contract of the shipped configuration: it is valid, complete, and says what holds without it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use edge_ebpf::abi::{Class, Mode};
use edge_user::config::{self, Config};
use tempfile::TempDir;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(name);
    fs::read_to_string(path).unwrap()
}

/// A directory with `edge.toml`, a webhook secret, and account files.
struct Etc(TempDir);

impl Etc {
    fn new(edge: &str, accounts: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("edge.toml"), edge).unwrap();
        let secret = directory.path().join("webhook.secret");
        fs::write(&secret, SECRET).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(directory.path().join("accounts.d")).unwrap();
        for (name, text) in accounts {
            fs::write(directory.path().join("accounts.d").join(name), text).unwrap();
        }
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("edge.toml")
    }

    /// The configuration, as if it lay in no particular place.
    fn load(&self) -> Config {
        let config = config::load(&self.path()).unwrap_or_else(|problems| panic!("{problems}"));
        Config { path: PathBuf::new(), ..config }
    }
}

/// The examples of `edge.toml` made real: `#key = …` and `#[table]`.
fn with_examples(edge: &str) -> String {
    let is_example =
        |rest: &str| rest.starts_with('[') || rest.starts_with(|first: char| first.is_ascii_lowercase());
    edge.lines()
        .map(|line| line.strip_prefix('#').filter(|rest| is_example(rest)).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn edge_toml_says_what_holds_without_it() {
    let shipped = Etc::new(&shipped("edge.toml"), &[]).load();
    let minimal = Etc::new("[[interfaces]]\nname = \"eth0\"\n", &[]).load();
    assert_eq!(shipped, minimal);
}

#[test]
fn edge_toml_with_its_examples_is_valid_and_names_every_key() {
    let text = with_examples(&shipped("edge.toml"));
    let etc = Etc::new(&text, &[("acme.toml", &shipped("accounts.d/acme.toml.example"))]);
    let config = etc.load();
    assert_eq!(config.webhooks["ops"].secret_files, [etc.0.path().join("webhook.secret")]);
    assert_eq!(config.accounts[config::UNKNOWN_ACCOUNT].mode, Mode::Enforce);

    let mut written = keys(&text.parse().unwrap());
    written.extend(keys(&shipped("accounts.d/acme.toml.example").parse().unwrap()));
    let missing: Vec<_> = config::every_key().into_iter().filter(|key| !written.contains(key)).collect();
    assert!(missing.is_empty(), "not in config/edge.toml or accounts.d: {missing:?}");
}

#[test]
fn the_example_account_is_valid_with_limits_of_its_own() {
    let etc = Etc::new(&shipped("edge.toml"), &[("acme.toml", &shipped("accounts.d/acme.toml.example"))]);
    let config = etc.load();
    let acme = &config.accounts["acme"];
    let policy = config.policy(acme);
    assert_eq!(acme.mode, Mode::Enforce);
    assert_eq!(policy.mode, Mode::Observe as u32, "as shipped, observe holds for all");
    assert_eq!(policy.account[Class::SipInvite.index()].interval_ns, 20_000_000);
    assert_eq!(policy.account[Class::SmppSubmit.index()].interval_ns, 33_333_334);
    assert_eq!(policy.source[Class::Packets.index()].interval_ns, 0);
}

#[test]
fn demo_toml_is_valid_and_lies_in_its_own_directory() {
    let etc = Etc::new(&shipped("demo.toml"), &[]);
    let config = etc.load();
    for path in [&config.paths.pin_dir, &config.paths.database, &config.paths.socket] {
        assert!(path.starts_with(etc.0.path()), "{}", path.display());
    }
    assert_eq!(config.mode, Mode::Enforce);
    assert_eq!(config.accounts["acme"].mode, Mode::Enforce);
    assert_eq!(config.interfaces[0].name, "edge-srv");
    let policy = config.policy(&config.accounts["acme"]);
    assert_eq!(policy.account[Class::SipInvite.index()].interval_ns, 50_000_000);
    let submit = policy.account[Class::SmppSubmit.index()];
    assert_eq!((submit.interval_ns, submit.burst_ns), (33_333_334, 30 * 33_333_334));
}

#[test]
fn the_documentation_has_a_row_for_every_key_and_for_nothing_else() {
    let mut found: Vec<String> = documented().into_iter().map(|(key, _)| key).collect();
    let mut expected = config::every_key();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn the_documentation_has_the_defaults_of_edge_toml() {
    let edge: toml::Table = shipped("edge.toml").parse().unwrap();
    let mut compared = 0;
    for (key, default) in documented() {
        let value =
            key.split('.').try_fold(&toml::Value::Table(edge.clone()), |value, key| value.get(key)).cloned();
        if let Some(value) = value {
            let written = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            assert_eq!(default, format!("`{written}`"), "{key}");
            compared += 1;
        }
    }
    assert!(compared > 30, "only {compared} defaults were compared");
}

#[test]
fn every_shipped_alert_says_what_to_do_and_nothing_else_is_explained() {
    let rules = shipped("prometheus/edge.alerts.yml");
    let help = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/alerts.md")).unwrap();
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let headings: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert!(!alerts.is_empty());
    assert_eq!(alerts, headings);
    for alert in alerts {
        let link = format!("runbook_url: docs/alerts.md#{}\n", alert.to_lowercase());
        assert_eq!(rules.matches(&link).count(), 1, "{alert}");
    }
}

#[test]
fn the_dashboard_is_json_and_every_panel_asks_for_a_metric_of_ours() {
    let dashboard: serde_json::Value = serde_json::from_str(&shipped("grafana/edge.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    for panel in panels {
        let targets = panel["targets"].as_array().unwrap();
        assert!(targets.iter().all(|target| target["expr"].as_str().unwrap().contains("edge_")), "{panel}");
    }
}

#[test]
fn rules_and_dashboard_ask_only_for_metrics_that_are_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let documented = fs::read_to_string(path).unwrap();
    for file in ["prometheus/edge.rules.yml", "prometheus/edge.alerts.yml", "grafana/edge.json"] {
        let text = shipped(file);
        let is_word = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | ':');
        // Recorded names have a colon; what they are made of is checked where they are recorded.
        let metrics = text.split(|it| !is_word(it)).filter(|it| it.starts_with("edge_") && !it.contains(':'));
        let mut asked = 0;
        for metric in metrics {
            let row = |metric: &str| [format!("| `{metric}{{"), format!("| `{metric}`")];
            // A histogram is documented once, by the name of which its series are made.
            let names = [Some(metric), metric.strip_suffix("_bucket")].into_iter().flatten();
            let mut rows = names.flat_map(row);
            assert!(rows.any(|row| documented.contains(&row)), "{file} asks for {metric}");
            asked += 1;
        }
        assert!(asked > 2, "{file} asks for {asked} metrics");
    }
}

/// Key and default of every row in `docs/configuration.md`.
fn documented() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
            let key = cells.next()?.trim_matches('`');
            Some((key.to_owned(), cells.next()?.to_owned()))
        })
        .collect()
}

/// Keys with a value, names of plans, accounts and webhooks as `NAME`, arrays of tables as `[]`, limits as a whole.
fn keys(table: &toml::Table) -> Vec<String> {
    let mut keys = Vec::new();
    collect("", &toml::Value::Table(table.clone()), &mut keys);
    keys
}

fn collect(path: &str, value: &toml::Value, keys: &mut Vec<String>) {
    let is_limits = [".account", ".source", ".registered"].iter().any(|scope| path.ends_with(scope));
    match value {
        toml::Value::Table(table) if !is_limits => {
            for (key, value) in table {
                let named = matches!(path, "plans" | "accounts" | "webhooks" | "accounts.NAME.trunks");
                let key = if named { "NAME" } else { key };
                collect(&if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }, value, keys);
            }
        }
        toml::Value::Array(elements) if elements.first().is_some_and(toml::Value::is_table) => {
            for element in elements {
                collect(&format!("{path}[]"), element, keys);
            }
        }
        _ => keys.push(path.to_owned()),
    }
}

#[test]
fn the_configuration_in_the_readme_holds() {
    let blocks = blocks("README.md", "toml");
    let [edge, acme] = &blocks[..] else { panic!("{} blocks of TOML", blocks.len()) };
    let config = Etc::new(edge, &[("acme.toml", acme)]).load();
    assert_eq!(config.accounts["acme"].plan, "wholesale");
    assert_eq!(config.webhooks.len(), 1);
}

#[test]
fn the_webhook_that_is_documented_is_the_one_that_is_sent() {
    let [body] = &blocks("docs/webhooks.md", "json")[..] else { panic!("not one block of JSON") };
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let alert: edge_user::alert::Alert = serde_json::from_value(body["data"].clone()).unwrap();
    assert_eq!(serde_json::to_value(&alert).unwrap(), body["data"], "no field more, no field less");
    assert_eq!(body["type"], format!("alert.{}", alert.phase.name()));
}

/// The blocks of code in that language in a document.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document)).unwrap();
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).map(ToOwned::to_owned).collect()
}
