//! Composite keys. Every part delimits itself, so that a key's leading parts are a prefix that finds
//! exactly the keys that begin with those parts, and no two different keys encode alike.

use wire::channel::ChannelId;

/// A key under construction, or the prefix of some.
///
/// - [`Key::text`], [`Key::bytes`]: two bytes of length, big-endian, then the bytes. They sort by
///   length first.
/// - [`Key::u64`]: eight bytes, big-endian, so that numbers sort as numbers.
/// - [`Key::fixed`]: the bytes alone, for hashes and ids whose length the column's layout fixes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key(Vec<u8>);

impl Key {
    pub fn new() -> Self {
        Self(Vec::with_capacity(64))
    }

    /// # Panics
    /// If `part` is longer than 65,535 bytes: key parts are names and ids, never content.
    pub fn bytes(mut self, part: &[u8]) -> Self {
        let length = u16::try_from(part.len()).expect("key parts are names and ids");
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(part);
        self
    }

    /// As [`Key::bytes`]. Takes anything that shows itself as text: `&str`, `ServiceName`, `ItemType`.
    pub fn text(self, part: &(impl std::fmt::Display + ?Sized)) -> Self {
        self.bytes(part.to_string().as_bytes())
    }

    pub fn u64(mut self, part: u64) -> Self {
        self.0.extend_from_slice(&part.to_be_bytes());
        self
    }

    pub fn fixed<const N: usize>(mut self, part: &[u8; N]) -> Self {
        self.0.extend_from_slice(part);
        self
    }

    /// `text` home, `text` source service.
    pub fn channel(self, channel: &ChannelId) -> Self {
        self.text(&channel.home).text(&channel.source)
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl std::ops::Deref for Key {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The number at the end of a key, where its layout ends in one (`u64` seq, index, size).
pub fn last_u64(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The smallest key greater than every key that begins with `prefix`; `None` if there is none.
pub(super) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_name_is_no_prefix_of_a_longer_one() {
        let short = Key::new().text("5000020100005/lunch");
        let long = Key::new().text("5000020100005/lunch-club").u64(1);
        assert!(!long.starts_with(&short));
        assert!(short.clone().u64(1).starts_with(&short));
    }

    #[test]
    fn moving_a_border_between_parts_changes_the_key() {
        assert_ne!(Key::new().text("ab").text("c"), Key::new().text("a").text("bc"));
        assert_ne!(Key::new().text("").text("a"), Key::new().text("a").text(""));
    }

    #[test]
    fn numbers_sort_as_numbers_and_can_be_read_back() {
        let keys: Vec<_> = [0, 1, 255, 256, u64::MAX].map(|n| Key::new().text("x").u64(n)).into();
        assert!(keys.is_sorted());
        assert_eq!(last_u64(&keys[3]), Some(256));
        assert_eq!(last_u64(b"short"), None);
    }

    #[test]
    fn the_end_of_a_prefix_lies_behind_all_its_keys() {
        assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(prefix_end(&[1, 0xff, 0xff]), Some(vec![2]));
        assert_eq!(prefix_end(&[0xff]), None);
        assert_eq!(prefix_end(&[]), None);
    }
}
