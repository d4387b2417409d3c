//! What is timed: the steps that each message, each delivery or each return of a client pays for.
//!
//! Two programs run the same cases: `benches/micro.rs` takes the time, `counted` repeats one case so often that a
//! simulator can count its instructions. `bench/compare` holds two commits against each other by both.

mod codec;
mod dispatch;
mod window;

use std::fmt;

/// One repetition.
pub type Run = Box<dyn FnMut()>;

/// Something that is timed.
pub struct Case {
    /// What it is called, here and in a comparison.
    pub name: &'static str,
    /// How many messages, frames or deliveries one repetition handles.
    pub elements: u64,
    /// Builds what it needs.
    pub prepare: fn() -> Run,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.name).finish()
    }
}

impl Case {
    const fn new(name: &'static str, elements: u64, prepare: fn() -> Run) -> Self {
        Self {
            name,
            elements,
            prepare,
        }
    }
}

/// All cases.
/// The numbers are per element, so cases of one group can be compared with each other. A name stays
/// as it is: comparisons of two commits find cases by it.
pub const CASES: [Case; 14] = [
    Case::new("json/decode-subscribe", 1, codec::decode_subscribe),
    Case::new("json/decode-publish", 1, codec::decode_publish),
    Case::new("json/decode-publish-16k", 1, codec::decode_large),
    Case::new("json/encode", 1, codec::encode),
    Case::new("json/encode-16k", 1, codec::encode_large),
    Case::new("frame/encode", 1, codec::frame),
    Case::new("frame/decode-by-64", 64, codec::frames),
    Case::new("once/1-recipient", 1, codec::once_for_one),
    Case::new("once/1000-recipients", 1_000, codec::once_for_many),
    Case::new("dispatch/16-to-1", 16, dispatch::one),
    Case::new("dispatch/16-to-1000", 16_000, dispatch::many),
    Case::new("dispatch/1000-to-own", 1_000, dispatch::own),
    Case::new("window/push-1000", 1_000, window::push),
    Case::new("window/read-100", 100, window::read),
];

/// A case by its name.
pub fn find(name: &str) -> Option<&'static Case> {
    const { &CASES }.iter().find(|case| case.name == name)
}

/// Published data: with JSON's quotes so many bytes.
fn text(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}
