//! When to send next what is owed to one other node: at most one message on its way, and after a
//! failure a pause that doubles. What is owed lies in the store; this only says when.

use serde::{Deserialize, Serialize};

/// The pause after the first failure, in milliseconds; doubled after each further one.
pub const FIRST_PAUSE_MS: u64 = 200;
/// The longest pause, in milliseconds.
pub const LONGEST_PAUSE_MS: u64 = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Pace {
    /// Whether something may be owed that no message on its way holds.
    owed: bool,
    sending: bool,
    failures: u32,
    /// Not to be sent before, by the monotonic clock.
    not_before_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Something new is owed, or may have been owed from before a restart.
    Owed,
    /// The other node has it durably; `more` may be owed.
    Delivered { more: bool },
    /// Nothing came back, or a refusal that may pass.
    Failed,
    /// The time of [`Next::WakeAt`] has come.
    Due,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Next {
    /// Send one message now, and say how it went.
    Send,
    /// Say [`Event::Due`] at this time of the monotonic clock, in milliseconds.
    WakeAt(u64),
    /// Nothing to do until something is owed or an answer comes.
    Rest,
}

impl Pace {
    /// What to do after `event`. New things owed do not shorten a pause: a flood of them must not
    /// turn into a flood of messages to a node that is down.
    pub fn on(&mut self, event: Event, now_ms: u64) -> Next {
        match event {
            Event::Owed => self.owed = true,
            Event::Due => {}
            Event::Delivered { more } => {
                self.sending = false;
                self.failures = 0;
                self.not_before_ms = 0;
                self.owed |= more;
            }
            Event::Failed => {
                self.sending = false;
                self.owed = true;
                let pause = FIRST_PAUSE_MS << self.failures.min(16);
                self.not_before_ms = now_ms.saturating_add(pause.min(LONGEST_PAUSE_MS));
                self.failures = self.failures.saturating_add(1);
            }
        }
        if self.sending || !self.owed {
            return Next::Rest;
        }
        if now_ms < self.not_before_ms {
            return Next::WakeAt(self.not_before_ms);
        }
        self.owed = false;
        self.sending = true;
        Next::Send
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_is_on_its_way_at_a_time() {
        let mut pace = Pace::default();
        assert_eq!(pace.on(Event::Due, 0), Next::Rest, "nothing is owed");
        assert_eq!(pace.on(Event::Owed, 0), Next::Send);
        assert_eq!(pace.on(Event::Owed, 1), Next::Rest);
        assert_eq!(pace.on(Event::Due, 2), Next::Rest);
        // What came while it was on its way goes next.
        assert_eq!(pace.on(Event::Delivered { more: false }, 3), Next::Send);
        assert_eq!(pace.on(Event::Delivered { more: true }, 4), Next::Send);
        assert_eq!(pace.on(Event::Delivered { more: false }, 5), Next::Rest);
    }

    #[test]
    fn pauses_double_and_nothing_shortens_them() {
        let mut pace = Pace::default();
        assert_eq!(pace.on(Event::Owed, 0), Next::Send);
        let mut now = 0;
        for pause in [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            let until = now + pause;
            assert_eq!(pace.on(Event::Failed, now), Next::WakeAt(until));
            assert_eq!(pace.on(Event::Owed, now + 1), Next::WakeAt(until), "a flood waits, too");
            assert_eq!(pace.on(Event::Due, until - 1), Next::WakeAt(until));
            assert_eq!(pace.on(Event::Due, until), Next::Send);
            now = until;
        }
        assert_eq!(pace.on(Event::Delivered { more: true }, now), Next::Send);
        assert_eq!(pace.on(Event::Failed, now), Next::WakeAt(now + 200), "a success starts anew");
    }
}
