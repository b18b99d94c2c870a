//! Plain words for people: what a permit means before it is signed, what stands in a register, and
//! dates without a library for them.

use std::fmt::Write;

use wallet::{PermitDraft, RegisterContent, RegisterView};
use wire::{
    DecisionId, Timestamp,
    citizen::InForce,
    consent::{ExpressedBy, Items, Onward, PurposeScope, Recipient, Scope, Uses, Verdict},
};

/// The notice's version: to be raised whenever [`notice`] says something else.
pub const NOTICE_VERSION: u32 = 2;
pub const NOTICE_LANGUAGE: &str = "en";

/// Who, what, why, how long: the words that the permit carries the hash of.
pub fn notice(draft: &PermitDraft) -> String {
    let items: Vec<_> = draft.items.iter().map(|item| item.as_str()).collect();
    let uses = match draft.uses {
        Uses::Once => "one release".to_owned(),
        Uses::Per { count, period_ms } => {
            format!("at most {count} releases every {} s", period_ms / 1000)
        }
        Uses::Unlimited => "any number of releases".to_owned(),
    };
    let data = match draft.window {
        Some(window) => {
            format!("of {} and later, before {}", date(window.from), date(window.until))
        }
        None => "of whatever time".to_owned(),
    };
    let retention = match draft.retention_days {
        Some(days) => format!("{days} days"),
        None => "as long as the law says".to_owned(),
    };
    let onward = match draft.onward {
        Onward::Forbidden => "not allowed",
        Onward::Allowed => "allowed",
    };
    format!(
        "Who:       {recipient} may get from {source}\n\
         What:      {items}\n\
         Data:      {data}\n\
         Why:       {purpose}\n\
         How long:  {days} days, {uses}\n\
         Kept:      {retention}\n\
         Passed on: {onward}\n",
        recipient = draft.recipient,
        source = draft.source,
        items = items.join(", "),
        purpose = draft.purpose,
        days = draft.valid_days,
    )
}

/// On whose behalf a key speaks, where that is not the citizen.
pub fn basis(basis: ExpressedBy) -> &'static str {
    match basis {
        ExpressedBy::Oneself => "",
        ExpressedBy::Guardian => " of the guardian (法定代理人)",
        ExpressedBy::Proxy => " of the proxy (任意代理人)",
    }
}

/// The denies that stand in a permit's way, each with what it says.
pub fn denies(view: &RegisterView, ids: &[DecisionId]) -> String {
    let mut text = String::new();
    for id in ids {
        let says = view.pair().deny(id).map(|deny| scope(&deny.scope)).unwrap_or_default();
        let _ = writeln!(text, "  {id}  {says}");
    }
    text
}

pub fn scope(scope: &Scope) -> String {
    let recipient = match &scope.recipient {
        Recipient::Any => "everyone",
        Recipient::Service(service) => service.as_str(),
    };
    let items = match &scope.items {
        Items::All => "everything".to_owned(),
        Items::Types(types) => {
            types.iter().map(|item| item.as_str()).collect::<Vec<_>>().join(", ")
        }
    };
    let purpose = match &scope.purpose {
        PurposeScope::Any => "any purpose",
        PurposeScope::Code(code) => code.as_str(),
    };
    format!("{recipient}: {items}, for {purpose}")
}

/// Said of a deny that bites at a source whose witnesses have not answered.
pub const DURABLE_AT_SOURCE: &str =
    "発効 in force at the source; its witnesses have not cosigned it yet, so there is no receipt";
/// Said of a deny that a municipality could not bring to its source.
pub const KEPT_FOR_LATER: &str = "NOT in force yet: the node has it on disk and brings it to the source \
                                  as soon as that can be reached";

/// 発効, in one phrase.
pub fn status(status: &InForce) -> String {
    match status {
        InForce::Accepted => "accepted, on its way".to_owned(),
        InForce::Durable => "durable here, on its way; witnesses have not answered yet".to_owned(),
        InForce::Acknowledged(since) => format!("発効 in force since {}", date(*since)),
        InForce::LeasesLapsed(since) => format!("発効 in force since {} (leases)", date(*since)),
        InForce::Unreadable(since) => {
            format!("the source could not read it; it permits nothing (since {})", date(*since))
        }
    }
}

/// The register as lines: number, what, whom and what it covers, whether it is in force, and for a
/// permit what it allows now.
pub fn register(view: &RegisterView, now: Timestamp) -> String {
    let mut text = String::new();
    for row in view.rows() {
        let (what, id) = match &row.content {
            RegisterContent::Decision { id, decision, .. } => match &decision.verdict {
                Verdict::Deny => ("deny  拒否", id.to_string()),
                Verdict::Permit(_) => ("permit 同意", id.to_string()),
            },
            RegisterContent::KeyBegin(begin) => {
                ("key begins", format!("until {}{}", date(begin.until), basis(begin.basis)))
            }
            RegisterContent::KeyEnd(end) => ("key ends", end.key.to_string()),
            RegisterContent::MoveBegin(moving) => ("moved here", format!("from {}", moving.from)),
            RegisterContent::MoveEnd(moving) => ("moved away", format!("to {}", moving.to)),
            RegisterContent::Collapse(collapse) => {
                let digest = wire::consent::collapse_digest(&collapse.denies);
                ("collapsed", format!("{} denies, {digest}", collapse.denies.len()))
            }
            RegisterContent::Unreadable { stands_as, fault, .. } => {
                let stands = match stands_as {
                    Some(id) => format!("stands as a deny {id}: {fault}"),
                    None => format!("has no effect: {fault}"),
                };
                ("unreadable", stands)
            }
        };
        let standing = match &row.status {
            Some(standing) => status(standing),
            None => format!("brought from {}", row.home),
        };
        let _ = writeln!(text, "{:>5}  {what:<11}  {}  [{standing}]", row.seq, id);
        if row.decision().is_some() || matches!(row.content, RegisterContent::Unreadable { .. }) {
            let _ = writeln!(text, "       {}", scope(&row.scope));
        }
        if let Some(line) = allows(view, row.decision().map(|(id, _)| id), now) {
            let _ = writeln!(text, "       {line}");
        }
    }
    if text.is_empty() { "nothing stands: nobody gets anything\n".to_owned() } else { text }
}

/// What a permit allows at `now`, in one line; nothing for anything else.
pub fn allows(view: &RegisterView, id: Option<DecisionId>, now: Timestamp) -> Option<String> {
    Some(match view.standing(&id?, now)? {
        Ok(permitted) => {
            let leaves: Vec<_> = permitted.leaves().iter().map(|(leaf, _)| leaf.as_str()).collect();
            format!("allows {}", leaves.join(", "))
        }
        Err(refused) => format!("allows nothing: {refused}"),
    })
}

/// `YYYY-MM-DD HH:MM:SSZ`.
pub fn date(time: Timestamp) -> String {
    let seconds = time.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of the Gregorian calendar from days since 1970-01-01 (H. Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`; years are counted from March).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use wire::consent::Window;

    use super::*;

    #[test]
    fn dates_agree_with_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_399, "2000-02-28 23:59:59Z"),
            (951_782_400, "2000-02-29 00:00:00Z"),
            (1_709_251_199, "2024-02-29 23:59:59Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
            (253_402_300_799, "9999-12-31 23:59:59Z"),
        ] {
            assert_eq!(date(Timestamp::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_notice_says_who_what_why_and_how_long() {
        let draft = PermitDraft {
            source: "9000020102016/school-lunch".parse().unwrap(),
            recipient: "9000020102016/hospital".parse().unwrap(),
            items: ["health.allergy".parse().unwrap()].into(),
            purpose: "treatment".parse().unwrap(),
            reopens: Default::default(),
            valid_days: 7,
            uses: Uses::Once,
            window: None,
            retention_days: Some(90),
            onward: Onward::Forbidden,
            notice: wallet::NoticeText { text: "x".into(), language: "en".into(), version: 1 },
            request: None,
        };
        assert_eq!(
            notice(&draft),
            "Who:       9000020102016/hospital may get from 9000020102016/school-lunch\n\
             What:      health.allergy\n\
             Data:      of whatever time\n\
             Why:       treatment\n\
             How long:  7 days, one release\n\
             Kept:      90 days\n\
             Passed on: not allowed\n"
        );
        let (from, until) = (Timestamp::from_secs(0), Timestamp::from_secs(86_400));
        let windowed = PermitDraft { window: Some(Window { from, until }), ..draft };
        let told = "Data:      of 1970-01-01 00:00:00Z and later, before 1970-01-02 00:00:00Z\n";
        assert!(notice(&windowed).contains(told));
    }

    #[test]
    fn a_scope_reads_as_a_sentence() {
        assert_eq!(scope(&Scope::EVERYTHING), "everyone: everything, for any purpose");
    }
}
