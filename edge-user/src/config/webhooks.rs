//! Webhook endpoints and their secret files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;

use super::check::for_everybody;
use super::field::{Field, Named};
use super::file::WebhookFile;
use super::problem::Report;
use super::secret::{SecretError, read_secret};
use super::values::SEVERITIES;
use super::{Webhook, defaults};

const SECOND: Duration = Duration::from_secs(1);
const NOT_SENT: &str = "no alert could be sent there";
const NOT_SIGNED: &str = "alerts could not be signed";

pub(super) fn check(
    named: Named<WebhookFile>,
    base: &Path,
    report: &mut Report<'_>,
) -> BTreeMap<String, Webhook> {
    let mut webhooks = BTreeMap::new();
    for (name, section) in report.table("webhooks", named) {
        let field = format!("webhooks.{name}");
        report.name(&field, &name);
        let file = report.table(&field, section);
        let at = |key: &str| format!("{field}.{key}");
        let webhook = Webhook {
            url: url(&at("url"), file.url, report),
            secret_files: secret_files(&at("secret_files"), file.secret_files, base, report),
            min_severity: report.word(
                &at("min_severity"),
                file.min_severity,
                defaults::WEBHOOK_MIN_SEVERITY,
                &SEVERITIES,
            ),
            timeout: report.duration(
                &at("timeout"),
                file.timeout,
                defaults::WEBHOOK_TIMEOUT,
                SECOND..=SECOND * 60,
            ),
            give_up_after: report.duration(
                &at("give_up_after"),
                file.give_up_after,
                defaults::WEBHOOK_GIVE_UP_AFTER,
                SECOND * 60..=SECOND * 86_400 * 30,
            ),
        };
        webhooks.insert(name, webhook);
    }
    webhooks
}

fn url(field: &str, value: Field<String>, report: &mut Report<'_>) -> String {
    let missing = matches!(value, Field::Missing);
    let Some(text) = report.given(field, value) else {
        if missing {
            report.say(field, "missing; write for example \"https://alerts.example/edge\"", NOT_SENT);
        }
        return String::new();
    };
    match Url::parse(&text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            report.say(field, format!("the scheme `{}` is neither http nor https", url.scheme()), NOT_SENT);
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            // Not repeated here: problems are printed.
            report.say(
                field,
                "holds a user name or password",
                "secrets in a URL end up in logs; use secret_files",
            );
        }
        Ok(_) => {}
        Err(error) => {
            report.say(
                field,
                format!("not a URL ({error}); write for example \"https://alerts.example/edge\""),
                NOT_SENT,
            );
        }
    }
    text
}

fn secret_files(
    field: &str,
    value: Field<Vec<Field<PathBuf>>>,
    base: &Path,
    report: &mut Report<'_>,
) -> Vec<PathBuf> {
    let missing = matches!(value, Field::Missing);
    let list = report.list(field, value);
    if missing || list.as_ref().is_some_and(Vec::is_empty) {
        report.say(
            field,
            "no file with a secret; write for example `secret_files = [\"webhook.secret\"]`",
            NOT_SIGNED,
        );
    }
    let list = list.unwrap_or_default();
    list.into_iter()
        .map(|(path, file)| {
            let file = base.join(file);
            secret(&path, &file, report);
            file
        })
        .collect()
}

/// That the file is there, holds a secret, and is not for everybody. The secret itself is never repeated.
fn secret(field: &str, file: &Path, report: &mut Report<'_>) {
    let shown = file.display();
    let read = read_secret(file);
    if let Err(error) = &read {
        report.say(field, format!("{shown} {error}"), NOT_SIGNED);
    }
    if matches!(read, Err(SecretError::Unreadable(_))) {
        return;
    }
    let mode = fs::metadata(file).map_or(0, |metadata| metadata.permissions().mode());
    if for_everybody(mode) {
        let fact = format!("{shown} is open to everybody (mode {:04o}); chmod 0640 or less", mode & 0o7777);
        report.say(field, fact, "every local user could forge alerts");
    }
}
