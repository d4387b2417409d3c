//! Frames by themselves, for the benchmarks in `bench/`: what is timed there is nobody's interface and may change at any
//! time.

use super::{
    decoder::{Decoder, Received},
    encode,
};
use hubplane_hub::Limits;
use hubplane_hub::frame::Encoding;

// The functions are public because `bench/` is a crate of its own; they are hidden from the
// documentation.
/// The native protocol in a server's frames.
pub const fn encoding() -> &'static Encoding {
    &encode::NATIVE
}

/// Reads a client's frames, unmasking them where they are, and tells how many text messages they hold; `None` if they
/// are not allowed.
pub fn texts(frames: &mut [u8], limits: &Limits) -> Option<usize> {
    let mut texts = 0;
    let mut on = |received: Received<'_>| {
        texts += usize::from(matches!(received, Received::Text(_)));
        true
    };
    Decoder::default().feed(frames, limits, &mut on).ok()?;
    Some(texts)
}
