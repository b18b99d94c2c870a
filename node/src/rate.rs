//! Token buckets: how often somebody may do something. Bounded in how many it remembers.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// Most keys remembered; beyond it the ones that have been quiet longest are forgotten.
const KEYS: usize = 4096;

/// Lets each key do `burst` things at once and `per_second` in the long run.
pub struct RateLimit<K> {
    burst: u64,
    per_second: u64,
    buckets: Mutex<BTreeMap<K, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// Thousandths of a thing.
    tokens: u64,
    filled_ms: u64,
}

impl<K: Ord + Clone> RateLimit<K> {
    pub fn new(per_second: u64, burst: u64) -> Self {
        Self { burst, per_second, buckets: Mutex::new(BTreeMap::new()) }
    }

    /// Whether `key` may do one more thing now; `now_ms` is of the monotonic clock.
    pub fn allows(&self, key: &K, now_ms: u64) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= KEYS && !buckets.contains_key(key) {
            // A full bucket says nothing: forgetting it changes nothing.
            let quiet = |bucket: &Bucket| now_ms.saturating_sub(bucket.filled_ms) < 1000;
            buckets.retain(|_, bucket| quiet(bucket));
            if buckets.len() >= KEYS {
                return false;
            }
        }
        let full = self.burst * 1000;
        let bucket =
            buckets.entry(key.clone()).or_insert(Bucket { tokens: full, filled_ms: now_ms });
        let passed = now_ms.saturating_sub(bucket.filled_ms);
        bucket.tokens =
            bucket.tokens.saturating_add(passed.saturating_mul(self.per_second)).min(full);
        bucket.filled_ms = now_ms;
        let allowed = bucket.tokens >= 1000;
        if allowed {
            bucket.tokens -= 1000;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let limit = RateLimit::new(10, 3);
        let allowed = |at| limit.allows(&"a", at);
        assert_eq!([0, 0, 0, 0].map(allowed), [true, true, true, false]);
        assert!(!allowed(99));
        assert!(allowed(100));
        assert!(!allowed(101));
        assert_eq!([100_000; 4].map(allowed), [true, true, true, false]);
    }

    #[test]
    fn one_key_does_not_use_up_anothers() {
        let limit = RateLimit::new(1, 1);
        assert!(limit.allows(&1, 0) && !limit.allows(&1, 0) && limit.allows(&2, 0));
    }

    #[test]
    fn it_remembers_a_bounded_number() {
        let limit = RateLimit::new(1, 1);
        assert!((0..KEYS).all(|key| limit.allows(&key, 0)));
        assert!(!limit.allows(&KEYS, 0), "full, and nobody has been quiet");
        assert!(limit.allows(&KEYS, 2000));
        assert_eq!(limit.buckets.lock().unwrap().len(), 1);
    }
}
