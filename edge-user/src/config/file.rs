//! What may be written: the shape of `edge.toml` and `accounts.d/*.toml`. What it means is said once, at the
//! checked types of [`super`] and in `config/edge.toml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::field::{Field, Named, Section, Tables, keys_of};

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct EdgeFile {
    pub(super) mode: Field<String>,
    pub(super) ipv6_source_prefix: Field<u8>,
    pub(super) sip_repeat_window: Field<String>,
    pub(super) sip_registered_for: Field<String>,
    pub(super) history_retention: Field<String>,
    pub(super) interfaces: Tables<InterfaceFile>,
    pub(super) ports: Section<PortsFile>,
    pub(super) tcp: Section<TcpFile>,
    pub(super) capacity: Section<CapacityFile>,
    pub(super) paths: Section<PathsFile>,
    pub(super) metrics: Section<MetricsFile>,
    pub(super) sip: Section<SipFile>,
    pub(super) smpp: Section<SmppFile>,
    pub(super) native: Section<NativeFile>,
    pub(super) calls: Section<CallsFile>,
    pub(super) records: Section<RecordsFile>,
    pub(super) plans: Named<LimitsFile>,
    pub(super) unknown: Section<UnknownFile>,
    pub(super) accounts: Named<AccountFile>,
    pub(super) detect: Section<DetectFile>,
    pub(super) webhooks: Named<WebhookFile>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct AccountsFile {
    pub(super) accounts: Named<AccountFile>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct InterfaceFile {
    pub(super) name: Field<String>,
    pub(super) xdp_mode: Field<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct PortsFile {
    pub(super) sip_udp: Field<Vec<Field<u16>>>,
    pub(super) sip_tcp: Field<Vec<Field<u16>>>,
    pub(super) smpp_tcp: Field<Vec<Field<u16>>>,
    pub(super) sip_tls: Field<Vec<Field<u16>>>,
    pub(super) smpp_tls: Field<Vec<Field<u16>>>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct TcpFile {
    pub(super) reset: Field<bool>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct CapacityFile {
    pub(super) accounts: Field<u32>,
    pub(super) prefixes: Field<u32>,
    pub(super) sources: Field<u32>,
    pub(super) flows: Field<u32>,
    pub(super) caller_ids: Field<u32>,
    pub(super) calls: Field<u32>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct PathsFile {
    pub(super) pin_dir: Field<PathBuf>,
    pub(super) database: Field<PathBuf>,
    pub(super) socket: Field<PathBuf>,
    pub(super) socket_mode: Field<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct MetricsFile {
    pub(super) listen: Field<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct SipFile {
    pub(super) stream_refusal: Field<String>,
    pub(super) stream_server: Field<String>,
    pub(super) doubtful: Field<String>,
    pub(super) answer: Section<AnswerFile>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct SmppFile {
    pub(super) refusal: Field<String>,
    pub(super) refused_status: Field<String>,
    pub(super) refusals: Field<String>,
    pub(super) bind_idle: Field<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct NativeFile {
    pub(super) answer_within: Field<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct AnswerFile {
    pub(super) invite: Field<String>,
    pub(super) register: Field<String>,
    pub(super) options: Field<String>,
    pub(super) message: Field<String>,
    pub(super) other: Field<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct CallsFile {
    pub(super) unanswered: Field<String>,
    pub(super) answered: Field<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct RecordsFile {
    pub(super) numbers: Field<String>,
    pub(super) retention: Field<String>,
    pub(super) max_rows: Field<u64>,
    pub(super) messages: Field<String>,
}

/// Limits of a plan, or an account's own.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct LimitsFile {
    pub(super) calls: Field<u32>,
    pub(super) binds: Field<u32>,
    pub(super) account: Section<ClassesFile>,
    pub(super) source: Section<ClassesFile>,
    pub(super) registered: Section<ClassesFile>,
}

/// Class to rate. Classes have dots in their names: `sip.invite = "20/s"` is a table in a table to TOML, with
/// the same meaning here as `"sip.invite" = "20/s"`.
pub(super) type ClassesFile = BTreeMap<String, toml::Value>;

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct UnknownFile {
    pub(super) plan: Field<String>,
    pub(super) mode: Field<String>,
    pub(super) limits: Section<LimitsFile>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct AccountFile {
    pub(super) sources: Field<Vec<Field<String>>>,
    pub(super) system_ids: Field<Vec<Field<String>>>,
    pub(super) caller_ids: Field<Vec<Field<String>>>,
    pub(super) caller_id_mode: Field<String>,
    pub(super) sender_ids: Field<Vec<Field<String>>>,
    pub(super) sender_id_mode: Field<String>,
    pub(super) plan: Field<String>,
    pub(super) mode: Field<String>,
    pub(super) limits: Section<LimitsFile>,
    pub(super) trunks: Named<TrunkFile>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct TrunkFile {
    pub(super) sources: Field<Vec<Field<String>>>,
    pub(super) calls: Field<u32>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct DetectFile {
    pub(super) spike: Section<SpikeFile>,
    pub(super) pumping: Section<PumpingFile>,
    pub(super) undelivered: Section<UndeliveredFile>,
    pub(super) scanning: Section<ScanningFile>,
    pub(super) caller_id: Section<ForeignIdsFile>,
    pub(super) sender_id: Section<ForeignIdsFile>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct SpikeFile {
    pub(super) enabled: Field<bool>,
    pub(super) factor: Field<f64>,
    pub(super) floor_per_sec: Field<f64>,
    pub(super) resolve_ratio: Field<f64>,
    pub(super) resolve_after: Field<String>,
    pub(super) baseline_half_life: Field<String>,
    pub(super) severity: Field<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct PumpingFile {
    pub(super) enabled: Field<bool>,
    pub(super) prefix_digits: Field<u32>,
    pub(super) window: Field<String>,
    pub(super) min_messages: Field<u64>,
    pub(super) share: Field<f64>,
    pub(super) resolve_share: Field<f64>,
    pub(super) severity: Field<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct UndeliveredFile {
    pub(super) enabled: Field<bool>,
    pub(super) window: Field<String>,
    pub(super) min_receipts: Field<u64>,
    pub(super) share: Field<f64>,
    pub(super) resolve_share: Field<f64>,
    pub(super) severity: Field<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct ScanningFile {
    pub(super) enabled: Field<bool>,
    pub(super) action: Field<String>,
    pub(super) threshold: Field<u64>,
    pub(super) window: Field<String>,
    pub(super) ban_for: Field<String>,
    pub(super) severity: Field<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct ForeignIdsFile {
    pub(super) enabled: Field<bool>,
    pub(super) threshold: Field<u64>,
    pub(super) window: Field<String>,
    pub(super) severity: Field<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct WebhookFile {
    pub(super) url: Field<String>,
    pub(super) secret_files: Field<Vec<Field<PathBuf>>>,
    pub(super) min_severity: Field<String>,
    pub(super) timeout: Field<String>,
    pub(super) give_up_after: Field<String>,
}

/// The keys that may stand in the table at this path; names and indices are part of the path.
pub(super) fn keys_at(path: &[String]) -> &'static [&'static str] {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        [] => keys_of::<EdgeFile>(),
        ["interfaces", _] => keys_of::<InterfaceFile>(),
        ["ports"] => keys_of::<PortsFile>(),
        ["tcp"] => keys_of::<TcpFile>(),
        ["capacity"] => keys_of::<CapacityFile>(),
        ["paths"] => keys_of::<PathsFile>(),
        ["metrics"] => keys_of::<MetricsFile>(),
        ["sip"] => keys_of::<SipFile>(),
        ["sip", "answer"] => keys_of::<AnswerFile>(),
        ["smpp"] => keys_of::<SmppFile>(),
        ["native"] => keys_of::<NativeFile>(),
        ["records"] => keys_of::<RecordsFile>(),
        ["calls"] => keys_of::<CallsFile>(),
        ["plans", _] | ["unknown", "limits"] | ["accounts", _, "limits"] => keys_of::<LimitsFile>(),
        ["unknown"] => keys_of::<UnknownFile>(),
        ["accounts", _] => keys_of::<AccountFile>(),
        ["accounts", _, "trunks", _] => keys_of::<TrunkFile>(),
        ["detect"] => keys_of::<DetectFile>(),
        ["detect", "spike"] => keys_of::<SpikeFile>(),
        ["detect", "pumping"] => keys_of::<PumpingFile>(),
        ["detect", "undelivered"] => keys_of::<UndeliveredFile>(),
        ["detect", "scanning"] => keys_of::<ScanningFile>(),
        ["detect", "caller_id" | "sender_id"] => keys_of::<ForeignIdsFile>(),
        ["webhooks", _] => keys_of::<WebhookFile>(),
        _ => &[],
    }
}

/// Every key that takes a value: names are `NAME`, arrays of tables have `[]`, limits stand as one key a scope.
pub(super) fn every_key() -> Vec<String> {
    let mut keys = Vec::new();
    keys_below(&mut Vec::new(), &mut keys);
    keys
}

fn keys_below(table: &mut Vec<String>, keys: &mut Vec<String>) {
    for key in keys_at(table) {
        table.push((*key).to_owned());
        let depth = table.len();
        let named = (["plans", "accounts", "webhooks"].contains(key) && depth == 1)
            || (*key == "trunks" && depth == 3);
        if named {
            table.push("NAME".to_owned());
        } else if *key == "interfaces" {
            table.push("[]".to_owned());
        }
        if keys_at(table).is_empty() {
            keys.push(table.join(".").replace(".[]", "[]"));
        } else {
            keys_below(table, keys);
        }
        table.truncate(depth - 1);
    }
}
