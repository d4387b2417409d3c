//! Text made of hexadecimal numbers: what names messages and places, written once or twice for each message.
//!
//! The formatting machinery of the standard library takes some 1,000 instructions for a name of two numbers; this takes
//! about 200 and allocates nothing.

use std::{fmt, str};

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Numbers and separators, at most `N` bytes; longer text panics.
#[derive(Clone, Copy)]
pub struct HexText<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> HexText<N> {
    /// The text of one number, without leading zeros.
    pub fn of(number: impl Into<u128>) -> Self {
        let empty = Self {
            bytes: [0; N],
            len: 0,
        };
        empty.number(number.into())
    }

    /// The same text, with a separator and one more number behind it. The separator is ASCII.
    #[must_use]
    pub fn and(mut self, separator: u8, number: impl Into<u128>) -> Self {
        debug_assert!(separator.is_ascii(), "one byte of UTF-8");
        self.bytes[self.len] = separator;
        self.len += 1;
        self.number(number.into())
    }

    fn number(self, number: u128) -> Self {
        let low = number as u64; // the lower half
        match (number >> 64) as u64 {
            0 => self.digits(low, width(low)),
            high => self.digits(high, width(high)).digits(low, 16),
        }
    }

    fn digits(mut self, mut number: u64, width: usize) -> Self {
        let end = self.len + width;
        for byte in self.bytes[self.len..end].iter_mut().rev() {
            *byte = DIGITS[(number & 15) as usize];
            number >>= 4;
        }
        self.len = end;
        self
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len]).expect("invariant: digits and separators are ASCII")
    }
}

/// Digits that a number has; zero has one.
const fn width(number: u64) -> usize {
    match number.checked_ilog2() {
        None => 1,
        Some(bit) => bit as usize / 4 + 1,
    }
}

impl<const N: usize> fmt::Display for HexText<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<const N: usize> fmt::Debug for HexText<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_standard_library_does() {
        let ends = (0..128).flat_map(|bit| {
            let power = 1_u128 << bit;
            [power - 1, power, power + 1]
        });
        for number in ends.chain([u128::MAX, 0x0123_4567_89ab_cdef_0000_0000_0000_0001]) {
            assert_eq!(HexText::<32>::of(number).as_str(), format!("{number:x}"));
        }
        let several = HexText::<10>::of(0xab_u8).and(b'-', 0_u8).and(b'.', 16_u64);
        assert_eq!(several.to_string(), "ab-0.10");
        assert_eq!(format!("{several:?}"), "\"ab-0.10\"");
    }
}
