//! What a recipient may ask a citizen to permit, and how many such requests may wait. The recipient,
//! the home and the wallet each check by the same function.

use wire::{Timestamp, asking::ConsentRequest, consent::Uses, limits};

use crate::scope;

/// Most requests of one recipient that wait for one citizen's answer.
pub const WAITING: usize = 16;
/// Most requests of one recipient to one citizen within [`A_DAY_MS`], answered, expired or waiting: who
/// asks for a minute only must not ask every minute.
pub const IN_A_DAY: usize = 16;
pub const A_DAY_MS: u64 = 24 * 3_600_000;
/// Most requests of one recipient that are remembered for one citizen, answered ones included.
pub const REMEMBERED: usize = 256;
/// Longest permit that may be asked for, in days.
pub const VALID_DAYS: u32 = 3660;
/// How far two organisations' clocks may differ, in milliseconds.
const SKEW_MS: u64 = 60_000;

/// A request that a home took before, as far as it counts against the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Taken {
    pub taken: Timestamp,
    pub expires: Timestamp,
    pub answered: bool,
}

impl Taken {
    /// Whether it may be forgotten: it is over, and its day is.
    pub fn is_past(&self, at: Timestamp) -> bool {
        at >= self.expires && at.ms_since(self.taken) >= A_DAY_MS
    }
}

/// Whether a home takes one more request of a recipient to a citizen after these. What the citizen
/// decided is not looked at: a recipient learns nothing from being told that it asks too much.
pub fn has_room<'a>(before: impl IntoIterator<Item = &'a Taken>, at: Timestamp) -> bool {
    let (mut waiting, mut today, mut remembered) = (0, 0, 0);
    for one in before {
        waiting += usize::from(!one.answered && at < one.expires);
        today += usize::from(at.ms_since(one.taken) < A_DAY_MS);
        remembered += usize::from(!one.is_past(at));
    }
    waiting < WAITING && today < IN_A_DAY && remembered < REMEMBERED
}

/// What is wrong with a consent request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AskFault {
    #[error("name 1 to 64 item types, sorted, each once, none of them public")]
    Items,
    #[error("the source and the recipient are one service")]
    SameService,
    #[error("a permit lasts 1 to 3660 days")]
    Days,
    #[error("uses per period need a count of at least 1 and a period of at least 1 s")]
    Uses,
    #[error("the window of the data must end after it begins")]
    Window,
    #[error("the text has 1 to 2000 characters, none of them a control character but line ends")]
    Text,
    #[error("the language tag has 1 to 35 letters, digits and hyphens")]
    Language,
    #[error("a request waits at most 30 days")]
    Expiry,
    #[error("the request has expired")]
    Expired,
    #[error("the request was issued in the future")]
    Future,
}

/// Whether a request is in its form, and waits at `at`.
pub fn check(request: &ConsentRequest, at: Timestamp) -> Result<(), AskFault> {
    let ConsentRequest { items, issued, expires, .. } = request;
    let sorted = items.windows(2).all(|pair| pair[0] < pair[1]);
    if !(1..=limits::ITEMS).contains(&items.len()) || !sorted || items.iter().any(scope::is_public)
    {
        return Err(AskFault::Items);
    }
    if request.source == request.recipient {
        return Err(AskFault::SameService);
    }
    if !(1..=VALID_DAYS).contains(&request.valid_days) {
        return Err(AskFault::Days);
    }
    if let Uses::Per { count, period_ms } = request.uses
        && (count == 0 || period_ms < 1000)
    {
        return Err(AskFault::Uses);
    }
    if request.window.is_some_and(|window| window.from >= window.until) {
        return Err(AskFault::Window);
    }
    // The words go to a screen, a terminal among them.
    let shown = |c: char| !c.is_control() || c == '\n';
    if request.text.trim().is_empty()
        || request.text.chars().count() > limits::NOTICE_TEXT
        || !request.text.chars().all(shown)
    {
        return Err(AskFault::Text);
    }
    let tag = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
    if !(1..=limits::LANGUAGE_TAG).contains(&request.language.len())
        || !request.language.bytes().all(tag)
    {
        return Err(AskFault::Language);
    }
    if expires <= issued || expires.ms_since(*issued) > limits::CONSENT_REQUEST_MS {
        return Err(AskFault::Expiry);
    }
    if at >= *expires {
        return Err(AskFault::Expired);
    }
    if issued.ms_since(at) > SKEW_MS {
        return Err(AskFault::Future);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use wire::{
        Nonce, ServiceId,
        consent::{Onward, Window},
    };

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_775_001_600);

    fn request() -> ConsentRequest {
        ConsentRequest {
            id: Nonce([1; 16]),
            source: "9000020102016/school-lunch".parse().unwrap(),
            recipient: "9000020102016/hospital".parse().unwrap(),
            subject: ServiceId([2; 32]),
            items: ["health.allergy", "health.condition"].map(|item| item.parse().unwrap()).into(),
            purpose: "treatment".parse().unwrap(),
            valid_days: 90,
            uses: Uses::Unlimited,
            window: None,
            retention_days: None,
            onward: Onward::Forbidden,
            text: "診療のため。\nアレルギーの情報。".to_owned(),
            language: "ja".to_owned(),
            version: 1,
            issued: NOW,
            expires: NOW.plus_ms(limits::CONSENT_REQUEST_MS),
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Change = fn(&mut ConsentRequest);
        let cases: [(Change, AskFault); 20] = [
            (|r| r.items.clear(), AskFault::Items),
            (|r| r.items.reverse(), AskFault::Items),
            (|r| r.items[1] = r.items[0].clone(), AskFault::Items),
            (|r| r.items.push("public.weather".parse().unwrap()), AskFault::Items),
            (
                |r| r.items = (10..75).map(|n| format!("x.a{n}").parse().unwrap()).collect(),
                AskFault::Items,
            ),
            (|r| r.source = r.recipient.clone(), AskFault::SameService),
            (|r| r.valid_days = 0, AskFault::Days),
            (|r| r.valid_days = VALID_DAYS + 1, AskFault::Days),
            (|r| r.uses = Uses::Per { count: 0, period_ms: 1000 }, AskFault::Uses),
            (|r| r.uses = Uses::Per { count: 1, period_ms: 999 }, AskFault::Uses),
            (|r| r.window = Some(Window { from: NOW, until: NOW }), AskFault::Window),
            (|r| r.text = " \n".to_owned(), AskFault::Text),
            (|r| r.text = "\u{1b}[2J".to_owned(), AskFault::Text),
            (|r| r.text = "あ".repeat(limits::NOTICE_TEXT + 1), AskFault::Text),
            (|r| r.language = String::new(), AskFault::Language),
            (|r| r.language = "日本語".to_owned(), AskFault::Language),
            (|r| r.expires = r.issued, AskFault::Expiry),
            (|r| r.expires = r.expires.plus_ms(1), AskFault::Expiry),
            (
                |r| {
                    r.issued = Timestamp(NOW.0 - 2);
                    r.expires = NOW;
                },
                AskFault::Expired,
            ),
            (
                |r| {
                    r.issued = NOW.plus_ms(SKEW_MS + 1);
                    r.expires = r.issued.plus_ms(1);
                },
                AskFault::Future,
            ),
        ];
        assert_eq!(check(&request(), NOW), Ok(()));
        for (place, (change, fault)) in cases.into_iter().enumerate() {
            let mut request = request();
            change(&mut request);
            assert_eq!(check(&request, NOW), Err(fault), "case {place}");
        }
    }

    #[test]
    fn whoever_asks_for_a_minute_does_not_ask_every_minute() {
        let mut taken: Vec<Taken> = Vec::new();
        let mut ask = |minute: u64, wait_ms: u64, answered: bool| {
            let at = NOW.plus_ms(minute * 60_000);
            taken.retain(|one| !one.is_past(at));
            let room = has_room(&taken, at);
            if room {
                taken.push(Taken { taken: at, expires: at.plus_ms(wait_ms), answered });
            }
            room
        };
        // A request a minute for three days, each over or answered before the next one.
        let of_day = |day: u64| day * 1440..(day + 1) * 1440;
        for day in 0..3 {
            let passed = of_day(day).filter(|minute| ask(*minute, 60_000, day == 1)).count();
            assert_eq!(passed, IN_A_DAY, "day {day}");
        }
        // Those that wait long are remembered until they are over, and then no longer.
        let mut day = 10;
        while ask(day * 1440, limits::CONSENT_REQUEST_MS, false) {
            day += 1;
        }
        assert_eq!(day - 10, WAITING as u64);
        assert!(ask(60 * 1440, 60_000, false));
    }

    #[test]
    fn the_largest_request_fits_its_envelope() {
        let long = |n: usize| format!("x.{}{n:03}", "a".repeat(29)).parse().unwrap();
        let mut request = request();
        request.items = (0..limits::ITEMS).map(long).collect();
        request.text = "𠮷".repeat(limits::NOTICE_TEXT);
        request.language = "a".repeat(limits::LANGUAGE_TAG);
        assert_eq!(check(&request, NOW), Ok(()));
        let bytes = wire::cbor::to_vec(&request).len() + 512;
        assert!(bytes <= <ConsentRequest as wire::Message>::LIMIT, "{bytes}");
    }
}
