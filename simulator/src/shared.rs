//! A value that is cheap to clone, compare and hash: states of the world differ in little, and a
//! model checker keeps millions of them.

use std::{
    hash::{Hash, Hasher},
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The same in every run: traces and fingerprints must repeat.
pub fn fingerprint(value: &impl Hash) -> u64 {
    ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(value)
}

#[derive(Debug)]
struct Inner<T> {
    value: T,
    /// 0 until somebody asks: the simulator never does.
    print: AtomicU64,
}

#[derive(Debug)]
pub struct Shared<T>(Arc<Inner<T>>);

impl<T> Shared<T> {
    pub fn new(value: T) -> Self {
        Self(Arc::new(Inner { value, print: AtomicU64::new(0) }))
    }
}

impl<T: Hash> Shared<T> {
    pub fn print(&self) -> u64 {
        match self.0.print.load(Ordering::Relaxed) {
            0 => {
                let print = fingerprint(&self.0.value).max(1);
                self.0.print.store(print, Ordering::Relaxed);
                print
            }
            print => print,
        }
    }
}

impl<T: Clone> Shared<T> {
    /// Changes the value, copied first if others hold it.
    pub fn update<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        if Arc::get_mut(&mut self.0).is_none() {
            *self = Self::new(self.0.value.clone());
        }
        let inner = Arc::get_mut(&mut self.0).expect("nobody else holds what was just made");
        inner.print = AtomicU64::new(0);
        change(&mut inner.value)
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.value == other.0.value
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T: Hash> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.print());
    }
}

impl<T: Default> Default for Shared<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}
