//! When a home pushes what it owes on one channel: at once when something is accepted, again after a
//! pause that grows while the source does not answer, and never more than one batch at a time.

use wire::{Now, channel::Position};

/// The pause after a push that failed; doubled with each further one.
pub const FIRST_PAUSE_MS: u64 = 200;
/// Where the doubling ends.
pub const LONGEST_PAUSE_MS: u64 = 10_000;
/// A batch that was not answered for this long counts as failed.
pub const TIMEOUT_MS: u64 = 30_000;

/// The pacing of one channel's outbox, in memory only. What is owed is in the store; this knows
/// *whether*, and from where on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pusher {
    /// Something is to be sent.
    owed: bool,
    /// Where the source is, by its last word. What is acknowledged may lag behind: that waits for its
    /// witnesses.
    applied: Option<Position>,
    /// Something was accepted since the batch on its way left.
    more: bool,
    /// Since when a batch is on its way (monotonic): the next one waits for its answer, so that a
    /// slow source is never sent more than it takes.
    on_its_way: Option<u64>,
    /// Not before (monotonic).
    due_ms: u64,
    pause_ms: u64,
}

impl Default for Pusher {
    fn default() -> Self {
        Self::new()
    }
}

impl Pusher {
    /// Owes nothing.
    pub fn new() -> Self {
        Self {
            owed: false,
            applied: None,
            more: false,
            on_its_way: None,
            due_ms: 0,
            pause_ms: FIRST_PAUSE_MS,
        }
    }

    /// Something is owed: an entry was accepted, or is known to be unacknowledged. Wakes early,
    /// whatever pause there is: the source may be back.
    pub fn owed(&mut self, now: Now) {
        self.owed = true;
        self.more = self.on_its_way.is_some();
        self.due_ms = self.due_ms.min(now.mono_ms);
    }

    /// Where the source last said it is; `None`: not since this home started, or it was sent what did not
    /// fit.
    pub fn applied(&self) -> Option<&Position> {
        self.applied.as_ref()
    }

    /// The source pulled, and said where it is: further, or back if it was put back to an old copy.
    pub fn heard(&mut self, applied: Position) {
        self.applied = Some(applied);
    }

    /// When to look again, on the monotonic clock; `None`: not before something is owed.
    pub fn wake_at_ms(&self) -> Option<u64> {
        match self.on_its_way {
            Some(since_ms) => Some(since_ms.saturating_add(TIMEOUT_MS)),
            None => self.owed.then_some(self.due_ms),
        }
    }

    /// Whether a batch leaves now. If so it is on its way until it is acknowledged or failed.
    pub fn begin(&mut self, now: Now) -> bool {
        if let Some(since_ms) = self.on_its_way {
            if now.mono_ms < since_ms.saturating_add(TIMEOUT_MS) {
                return false;
            }
            self.failed(now);
        }
        if !self.owed || now.mono_ms < self.due_ms {
            return false;
        }
        self.on_its_way = Some(now.mono_ms);
        self.more = false;
        true
    }

    /// The source answered a push, and is now here. `more`: the store holds entries beyond that. A source
    /// that is no further than before has failed: it would be sent the same again without a pause.
    pub fn pushed(&mut self, applied: Position, more: bool, now: Now) {
        let before = self.applied.replace(applied);
        if more && before.is_some_and(|before| before.length >= applied.length) {
            return self.failed(now);
        }
        self.on_its_way = None;
        self.owed = more || self.more;
        self.more = false;
        self.due_ms = now.mono_ms;
        self.pause_ms = FIRST_PAUSE_MS;
    }

    /// Nothing was left to send.
    pub fn idle(&mut self) {
        self.on_its_way = None;
        self.owed = self.more;
        self.more = false;
    }

    /// No answer, or none that can be used.
    pub fn failed(&mut self, now: Now) {
        self.on_its_way = None;
        self.owed = true;
        let pause_ms = if self.more { 0 } else { self.pause_ms };
        self.more = false;
        self.due_ms = now.mono_ms.saturating_add(pause_ms);
        self.pause_ms = (self.pause_ms * 2).min(LONGEST_PAUSE_MS);
    }
}

#[cfg(test)]
mod tests {
    use wire::{Hash, Timestamp};

    use super::*;

    fn position(length: u64) -> Position {
        Position { length, chain: Hash([length as u8; 32]) }
    }

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, wall: Timestamp(1_800_000_000_000) }
    }

    fn owing() -> Pusher {
        let mut pusher = Pusher::new();
        pusher.owed(at(5));
        pusher
    }

    #[test]
    fn nothing_is_sent_when_nothing_is_owed() {
        let mut pusher = Pusher::new();
        assert_eq!(pusher.wake_at_ms(), None);
        assert!(!pusher.begin(at(1_000)));
    }

    #[test]
    fn what_is_owed_leaves_at_once_and_once() {
        let mut pusher = owing();
        assert!(pusher.wake_at_ms().is_some_and(|due_ms| due_ms <= 5));
        assert!(pusher.begin(at(5)));
        assert!(!pusher.begin(at(6)), "one batch at a time");
        pusher.owed(at(7));
        assert!(!pusher.begin(at(7)), "more accepted: still one batch at a time");
        pusher.pushed(position(1), false, at(8));
        assert!(pusher.begin(at(8)), "what was accepted meanwhile");
        pusher.pushed(position(1), false, at(9));
        assert_eq!(pusher.wake_at_ms(), None);
    }

    #[test]
    fn more_in_the_store_leaves_as_the_next_batch() {
        let mut pusher = owing();
        assert!(pusher.begin(at(5)));
        pusher.pushed(position(1), true, at(9));
        assert_eq!(pusher.wake_at_ms(), Some(9));
        assert!(pusher.begin(at(9)));
    }

    #[test]
    fn the_pause_doubles_up_to_its_end_and_begins_anew_after_an_answer() {
        let mut pusher = owing();
        let mut now = 5;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert!(pusher.begin(at(now)));
            pusher.failed(at(now));
            let due = pusher.wake_at_ms().expect("still owed");
            assert!(!pusher.begin(at(due - 1)));
            pauses.push(due - now);
            now = due;
        }
        assert_eq!(pauses, [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert!(pusher.begin(at(now)));
        pusher.pushed(position(1), true, at(now));
        assert!(pusher.begin(at(now)));
        pusher.failed(at(now));
        assert_eq!(pusher.wake_at_ms(), Some(now + FIRST_PAUSE_MS));
    }

    #[test]
    fn an_answer_without_progress_is_a_failure() {
        let mut pusher = owing();
        pusher.heard(position(0));
        assert!(pusher.begin(at(5)));
        pusher.pushed(position(0), true, at(9));
        assert_eq!(pusher.wake_at_ms(), Some(9 + FIRST_PAUSE_MS));
        assert!(pusher.begin(at(9 + FIRST_PAUSE_MS)));
        // A pull had told of all of it before.
        pusher.pushed(position(0), false, at(300));
        assert_eq!(pusher.wake_at_ms(), None);
    }

    #[test]
    fn the_next_batch_starts_where_the_source_says_it_is() {
        let mut pusher = owing();
        assert_eq!(
            pusher.applied(),
            None,
            "after a start what is acknowledged is all that is known"
        );
        assert!(pusher.begin(at(5)));
        pusher.pushed(position(7), true, at(9));
        assert_eq!(pusher.applied(), Some(&position(7)));
        assert!(pusher.begin(at(9)));
        pusher.idle();
        assert_eq!(pusher.wake_at_ms(), None, "a pull brought the rest");
        // It was put back to an old copy.
        pusher.heard(position(3));
        pusher.owed(at(20));
        assert!(pusher.begin(at(20)));
        pusher.owed(at(21));
        pusher.idle();
        assert!(pusher.begin(at(21)), "what was accepted while nothing was found to send");
    }

    #[test]
    fn an_entry_accepted_meanwhile_wakes_early() {
        let mut pusher = owing();
        assert!(pusher.begin(at(5)));
        pusher.failed(at(5));
        pusher.owed(at(50));
        assert!(pusher.begin(at(50)), "in the pause");
        pusher.owed(at(60));
        pusher.failed(at(70));
        assert!(pusher.begin(at(70)), "while the batch was on its way");
    }

    #[test]
    fn an_answer_that_never_comes_is_a_failure() {
        let mut pusher = owing();
        assert!(pusher.begin(at(5)));
        assert_eq!(pusher.wake_at_ms(), Some(5 + TIMEOUT_MS));
        assert!(!pusher.begin(at(4 + TIMEOUT_MS)));
        assert!(!pusher.begin(at(5 + TIMEOUT_MS)), "the pause first");
        assert!(pusher.begin(at(5 + TIMEOUT_MS + FIRST_PAUSE_MS)));
    }
}
