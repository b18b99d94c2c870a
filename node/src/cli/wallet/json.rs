//! The same as `words`, for programs.

use serde_json::{Value, json};
use wallet::{RegisterContent, RegisterRow, RegisterView, ServiceKey};
use wire::{DecisionId, ServiceName, Timestamp, consent::Verdict};

pub fn service_key(service: &ServiceName, own: &ServiceKey) -> Value {
    json!({
        "service": service,
        "subject": own.subject,
        "key": own.key.key_hash(),
        "not_after": own.not_after,
        "begun": own.begun,
    })
}

/// The names under which many denies go together.
pub fn together(view: &RegisterView, denies: &[DecisionId]) -> Value {
    let name = |(reopen, count)| json!({ "reopen": reopen, "denies": count });
    Value::Array(view.together(denies).into_iter().map(name).collect())
}

/// Each entry of a register; what a permit allows is worked out for `now`.
pub fn register(view: &RegisterView, now: Timestamp) -> Value {
    let row = |row: &RegisterRow| {
        let mut json = json!({
            "home": row.home, "seq": row.seq, "status": row.status, "scope": row.scope,
        });
        match &row.content {
            RegisterContent::Decision { id, key, decision } => {
                json["kind"] = json!(if row.is_deny() { "deny" } else { "permit" });
                json["id"] = json!(id);
                json["key"] = json!(key);
                json["time"] = json!(decision.time);
                json["expressed_by"] = json!(decision.expressed_by);
                if let Verdict::Permit(permit) = &decision.verdict {
                    json["valid_until"] = json!(permit.valid_until);
                    json["reopens"] = json!(permit.reopens);
                    json["uses"] = json!(permit.uses);
                    json["allows"] = match view.standing(id, now) {
                        Some(Ok(permitted)) => {
                            json!(
                                permitted.leaves().iter().map(|(leaf, _)| leaf).collect::<Vec<_>>()
                            )
                        }
                        Some(Err(refused)) => json!({ "nothing": refused }),
                        None => Value::Null,
                    };
                }
            }
            RegisterContent::KeyBegin(begin) => {
                json["kind"] = json!("key-begin");
                json["until"] = json!(begin.until);
            }
            RegisterContent::KeyEnd(end) => {
                json["kind"] = json!("key-end");
                json["key"] = json!(end.key);
                json["keeps"] = json!(end.keeps);
            }
            RegisterContent::MoveBegin(moving) => {
                json["kind"] = json!("move-begin");
                json["from"] = json!(moving.from);
                json["epoch"] = json!(moving.epoch);
            }
            RegisterContent::MoveEnd(moving) => {
                json["kind"] = json!("move-end");
                json["to"] = json!(moving.to);
                json["epoch"] = json!(moving.epoch);
            }
            RegisterContent::Collapse(collapse) => {
                json["kind"] = json!("collapse");
                json["digest"] = json!(wire::consent::collapse_digest(&collapse.denies));
                json["denies"] = json!(collapse.denies);
            }
            RegisterContent::Unreadable { kind, stands_as, fault } => {
                json["kind"] = json!("unreadable");
                json["entry_kind"] = json!(kind);
                json["stands_as"] = json!(stands_as);
                json["fault"] = json!(fault);
            }
        }
        json
    };
    Value::Array(view.rows().iter().map(row).collect())
}
