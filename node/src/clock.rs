//! The one place where the node reads its clocks.

use wire::{Now, Timestamp};

/// Tells machines what time it is. Leases are counted on `mono_ms`, so it must not stand still while
/// the host is suspended.
pub trait Clock: Send + Sync {
    fn now(&self) -> Now;
}

/// CLOCK_BOOTTIME, which counts suspend (`std::time::Instant` does not on Linux), and the wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // Both parts are non-negative: the time since boot.
        let mono_ms = boot.tv_sec as u64 * 1000 + boot.tv_nsec as u64 / 1_000_000;
        Now { mono_ms, wall: wall() }
    }
}

#[expect(clippy::disallowed_methods, reason = "this module is where the wall clock is read")]
fn wall() -> Timestamp {
    // A host that believes it is before 1970 gets 1970: everything is expired or not yet valid then,
    // which refuses rather than allows.
    let since_epoch =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(since_epoch.as_millis() as u64)
}

/// A clock that stands still until it is told otherwise: for tests and the simulator.
#[derive(Debug, Default)]
pub struct ManualClock(std::sync::Mutex<(u64, u64)>);

impl ManualClock {
    pub fn new(now: Now) -> Self {
        Self(std::sync::Mutex::new((now.mono_ms, now.wall.0)))
    }

    /// Both clocks go on by this much.
    pub fn advance_ms(&self, ms: u64) {
        let mut now = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        now.0 += ms;
        now.1 += ms;
    }

    /// Someone sets the wall clock.
    pub fn set_wall(&self, wall: Timestamp) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).1 = wall.0;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        let now = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Now { mono_ms: now.0, wall: Timestamp(now.1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_runs_forward_and_knows_the_century() {
        let first = SystemClock.now();
        std::thread::sleep(std::time::Duration::from_millis(5));
        let second = SystemClock.now();
        assert!((4..5000).contains(&(second.mono_ms - first.mono_ms)));
        assert!(second.wall.0 > 1_700_000_000_000, "before November 2023");
    }

    #[test]
    fn the_monotonic_clock_is_the_time_since_boot_with_suspend() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let mono = SystemClock.now().mono_ms as f64 / 1000.0;
        assert!((mono - seconds).abs() < 5.0, "{mono} against {seconds}");
    }

    #[test]
    fn setting_the_wall_clock_does_not_move_the_monotonic_one() {
        let clock = ManualClock::new(Now { mono_ms: 10, wall: Timestamp(1000) });
        clock.advance_ms(5);
        clock.set_wall(Timestamp(3));
        assert_eq!(clock.now(), Now { mono_ms: 15, wall: Timestamp(3) });
    }
}
