//! Check characters of ISO/IEC 7064, system MOD 1271-36: two characters over digits and capital
//! letters. Finds every single wrong character and every swap of two neighbours.

const MODULUS: u32 = 1271;
const RADIX: u32 = 36;

/// The two check characters of a string of digits and capital letters; `None` for anything else.
pub(super) fn characters(text: &[u8]) -> Option<[u8; 2]> {
    let mut rest = 0;
    for c in text {
        rest = (rest + value(*c)?) * RADIX % MODULUS;
    }
    // The string with its check characters must leave 1.
    let check = (MODULUS + 1 - rest * RADIX % MODULUS) % MODULUS;
    Some([character(check / RADIX), character(check % RADIX)])
}

fn value(c: u8) -> Option<u32> {
    match c {
        b'0'..=b'9' => Some(u32::from(c - b'0')),
        b'A'..=b'Z' => Some(u32::from(c - b'A') + 10),
        _ => None,
    }
}

fn character(value: u32) -> u8 {
    // At most 35: the check value is below 1271 = 35 × 36 + 11.
    match value as u8 {
        digit @ 0..=9 => b'0' + digit,
        letter => b'A' + letter - 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a string that ends in its check characters is right, by the definition of the
    /// standard: the weighted sum is congruent to 1.
    fn holds(text: &[u8]) -> bool {
        let sum = text.iter().fold(0, |sum, c| (sum * RADIX + value(*c).unwrap()) % MODULUS);
        sum == 1
    }

    #[test]
    fn example_of_the_standard() {
        assert_eq!(&characters(b"ISO79").unwrap(), b"3W");
        assert!(holds(b"ISO793W"));
        assert_eq!(characters(b"iso"), None);
        assert_eq!(characters(b"A-B"), None);
    }

    #[test]
    fn every_check_value_leaves_one() {
        for first in b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ" {
            for second in b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ" {
                let text = [b'M', *first, *second];
                assert!(holds(&[&text[..], &characters(&text).unwrap()].concat()));
            }
        }
    }
}
