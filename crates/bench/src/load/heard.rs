//! Which messages of one publisher a subscriber has received. It holds no messages, only their numbers.

/// One publisher's numbers in one channel: the highest, and a bit for each of the 64 up to it that have come. A message
/// that is 64 numbers late or more counts as repeated, not as out of order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    /// The highest number so far; 0 before the first, as numbers begin with 1.
    last: u64,
    /// Bit `n` stands for the number `last - n`.
    seen: u64,
}

/// What a number is: higher than all before, missing until now, or here already.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    New,
    Late,
    Repeated,
}

impl Heard {
    /// Notes a number, and returns what it is.
    pub(super) fn take(&mut self, number: u64) -> News {
        if let Some(ahead) = number.checked_sub(self.last).filter(|ahead| *ahead > 0) {
            // Moves the window so that bit 0 is the new number. The shift truncates to 32 bits, so
            // the filter asks for the whole distance.
            self.seen = self
                .seen
                .checked_shl(ahead as u32)
                .filter(|_| ahead < 64)
                .unwrap_or(0)
                | 1;
            self.last = number;
            return News::New;
        }
        let back = self.last - number;
        // Outside of the window the answer is not known; "repeated" is the cautious one, since it
        // never makes a loss disappear.
        let bit = if back < 64 { 1_u64 << back } else { 0 };
        if self.seen & bit != 0 || bit == 0 {
            return News::Repeated;
        }
        self.seen |= bit;
        News::Late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_new_late_or_repeated() {
        use News::{Late, New, Repeated};
        let mut heard = Heard::default();
        // 300 moves the window past everything before; 3 is then too old to be told from a
        // repetition.
        let news: Vec<_> = [1, 2, 2, 5, 4, 4, 300, 3, 299, 300]
            .map(|number| heard.take(number))
            .into();
        let expected = [
            New, New, Repeated, New, Late, Repeated, New, Repeated, Late, Repeated,
        ];
        assert_eq!(news, expected);
    }
}
