//! The one place where the node draws randomness.

/// Fills arrays for salts, nonces and seeds.
pub trait Entropy: Send + Sync {
    fn fill(&self, bytes: &mut [u8]);
}

impl dyn Entropy + '_ {
    pub fn array<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}

/// The operating system's randomness, through AWS-LC's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl SystemEntropy {
    pub fn array<const N: usize>(&self) -> [u8; N] {
        (self as &dyn Entropy).array()
    }
}

impl Entropy for SystemEntropy {
    /// # Panics
    /// If the host has no randomness: a node must not go on without it.
    fn fill(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("AWS-LC aborts rather than run out of randomness");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_differ_and_are_filled_to_the_end() {
        let arrays: std::collections::BTreeSet<[u8; 32]> =
            (0..1000).map(|_| SystemEntropy.array()).collect();
        assert_eq!(arrays.len(), 1000);
        assert!((0..32).all(|at| arrays.iter().any(|array| array[at] != 0)));
    }
}
