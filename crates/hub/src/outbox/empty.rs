//! Dropped frames in the queue: how they come to be, and how they leave it. See `shaping.rs`.

use super::{Of, Outbox, Piece, shaping::FEW};
use crate::frame::Frame;

impl Outbox {
    /// Drops the marked frame at this place, of which no byte may be written yet.
    pub(super) fn drop_at(&mut self, place: u64) {
        let Some(shaping) = &self.shaping else {
            return;
        };
        self.empty((place - shaping.front) as usize);
        self.tidy();
    }

    /// Makes a subscription's slot free: its messages are dropped, and its gap is nobody's.
    pub(super) fn release(&mut self, slot: u32) {
        let mut at = 0;
        while let Some(piece) = self.pieces.get_mut(at) {
            let Piece::Mark(mark) = piece else {
                at += 1;
                continue;
            };
            let pieces = mark.pieces();
            let is_begun = at == 0 && self.written > 0;
            if mark.of == Of::Slot(slot) && !is_begun {
                self.empty(at);
            } else if mark.of == Of::Slot(slot) || mark.of == Of::Gap(slot) {
                mark.of = Of::Nobody;
            }
            at += pieces;
        }
        self.tidy();
    }

    /// Empties the pieces of the marked frame at this index.
    fn empty(&mut self, at: usize) {
        let Some(Piece::Mark(mark)) = self.pieces.get_mut(at) else {
            return;
        };
        mark.of = Of::Dropped;
        let pieces = mark.pieces();
        for piece in self.pieces.range_mut(at + 1..at + pieces) {
            self.bytes -= piece.bytes().len();
            *piece = Piece::Bytes(Frame::new());
        }
        self.frames -= 1;
        if let Some(shaping) = &mut self.shaping {
            shaping.empty += pieces;
            shaping.step(pieces);
        }
    }

    /// Takes dropped frames out of the queue: those that are first, and all once they are half of
    /// it.
    fn tidy(&mut self) {
        let before = self.pieces.len();
        while self.written == 0 && self.first_is_dropped() {
            self.remove_written();
        }
        let Some(shaping) = &mut self.shaping else {
            return;
        };
        shaping.left(before - self.pieces.len(), self.pieces.is_empty());
        if shaping.empty > FEW && 2 * shaping.empty > self.pieces.len() {
            self.close_up();
        }
    }

    fn first_is_dropped(&self) -> bool {
        let first = self.pieces.front();
        matches!(first, Some(Piece::Mark(mark)) if mark.of == Of::Dropped)
    }

    /// Takes all dropped frames out of the queue, and notes the new places of the others.
    fn close_up(&mut self) {
        let Some(mut shaping) = self.shaping.take() else {
            return;
        };
        let all = self.pieces.len();
        shaping.step(all);
        let searched = shaping.searched.saturating_sub(shaping.front);
        let (mut at, mut kept, mut kept_of_searched) = (0, 0, 0);
        while at < all {
            let (pieces, of) = match self.pieces.front() {
                Some(Piece::Mark(mark)) => (mark.pieces(), mark.of),
                _ => (1, Of::Nobody),
            };
            shaping.moved(of, shaping.front + kept);
            at += pieces;
            // What is kept goes round to the end, so nothing is allocated.
            for _ in 0..pieces {
                let piece = self.pieces.pop_front();
                if of != Of::Dropped {
                    self.pieces.extend(piece);
                    kept += 1;
                }
            }
            if at as u64 <= searched {
                kept_of_searched = kept;
            }
        }
        shaping.searched = shaping.front + kept_of_searched;
        shaping.empty = 0;
        self.shaping = Some(shaping);
    }
}
