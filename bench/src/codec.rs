//! Text to commands, messages to frames, frames to text.
//!
//! Each case checks what it does, at least once: a case that fails at once would be the fastest of
//! all. `black_box` keeps the compiler from working anything out before it is timed.

use std::{hint::black_box, sync::atomic};

use hubplane_hub::{
    Limits, Message,
    command::{Ending, Push, Reply},
    frame::{Encoded, Encoding, Frame},
    presence::Roster,
};
use hubplane_protocol::{
    Close, Decoder, Format,
    json::{JSON, Json},
};
use hubplane_server::inside;

use crate::{Run, text};

/// What a client's frame is masked with (RFC 6455, section 5.3); not zeros, or unmasking would be too easy.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// With everything that a client sends when it comes back.
pub(crate) fn decode_subscribe() -> Run {
    decode(
        r#"{"type":"subscribe","ref":7,"channel":"jobs.42","since":"cabefcba1beccd02-0-1"}"#.into(),
    )
}

pub(crate) fn decode_publish() -> Run {
    decode(publish(128))
}

/// So large that copying counts more than parsing.
pub(crate) fn decode_large() -> Run {
    decode(publish(16 * 1024))
}

/// A publish with that much data.
fn publish(bytes: usize) -> String {
    let data = text(bytes);
    format!(r#"{{"type":"publish","ref":7,"channel":"jobs.42","data":{data}}}"#)
}

/// Decodes the same text again and again.
fn decode(text: String) -> Run {
    assert!(Json::decode(&text).is_ok(), "{text} is a command");
    Box::new(move || drop(black_box(Json::decode(black_box(&text)))))
}

/// One message as it comes from a log.
fn message(bytes: usize) -> Message {
    Message {
        channel: "jobs.42".into(),
        data: text(bytes).into(),
        position: Some(hubplane_hub::inside::position(
            0xcabe_fcba_1bec_cd02,
            1_234_567,
        )),
        id: Some("43ae10d35558eae11".into()),
        origin: None,
        tags: Vec::new(),
    }
}

/// A usual message.
pub(crate) fn encode() -> Run {
    encode_bytes(128)
}

/// A message of which most is data.
pub(crate) fn encode_large() -> Run {
    encode_bytes(16 * 1024)
}

/// The buffer is used again, as a session's is.
fn encode_bytes(bytes: usize) -> Run {
    let message = message(bytes);
    let mut out = Vec::new();
    Box::new(move || {
        out.clear();
        JSON.push(&Push::Message(black_box(&message)), &mut out);
        black_box(&out);
    })
}

/// A message as a whole WebSocket frame.
pub(crate) fn frame() -> Run {
    let (encoding, message) = (inside::encoding(), message(128));
    Box::new(move || {
        drop(black_box(
            encoding.push(&Push::Message(black_box(&message))),
        ))
    })
}

/// What one read of a busy client's socket may hold; copied first, since unmasking changes it.
pub(crate) fn frames() -> Run {
    let text = publish(128);
    // A text frame with FIN, masked, its length in two bytes.
    let mut masked = vec![0x81, 0x80 | 126];
    masked.extend_from_slice(&u16::try_from(text.len()).unwrap_or_default().to_be_bytes());
    masked.extend_from_slice(&MASK);
    masked.extend(text.bytes().zip(MASK.iter().cycle()).map(|(a, b)| a ^ b));
    let input = masked.repeat(64);
    let (mut buffer, limits) = (input.clone(), Limits::default());
    Box::new(move || {
        buffer.copy_from_slice(black_box(&input));
        assert_eq!(inside::texts(&mut buffer, &limits), Some(64));
    })
}

/// What sharing costs if there is nobody to share with.
pub(crate) fn once_for_one() -> Run {
    once(1)
}

/// What sharing saves.
pub(crate) fn once_for_many() -> Run {
    once(1_000)
}

/// Counts what it encodes.
#[derive(Debug)]
struct Counting;

/// Static, since a format is; the cases run one at a time.
static ENCODED: atomic::AtomicUsize = atomic::AtomicUsize::new(0);

impl Format for Counting {
    fn subprotocol(&self) -> &'static str {
        JSON.subprotocol()
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        JSON.decoder()
    }

    fn reply(&self, reply: &Reply<'_>, out: &mut Vec<u8>) {
        JSON.reply(reply, out);
    }

    fn push(&self, push: &Push<'_>, out: &mut Vec<u8>) {
        ENCODED.fetch_add(1, atomic::Ordering::Relaxed);
        JSON.push(push, out);
    }

    fn members(&self, channel: &str, roster: &Roster, out: &mut Vec<u8>) {
        JSON.members(channel, roster, out);
    }

    fn ending(&self, ending: Ending, out: &mut Vec<u8>) -> Close {
        JSON.ending(ending, out)
    }
}

/// One message to so many: encoded once, however many there are.
fn once(recipients: usize) -> Run {
    let message = message(128);
    // Leaked, since an encoding is static; each preparation leaks some bytes.
    let encoding: &'static Encoding = Box::leak(Box::new(Encoding {
        format: &Counting,
        framing: inside::encoding().framing,
    }));
    let mut frames: Vec<Frame> = Vec::with_capacity(recipients);
    Box::new(move || {
        let encoded = Encoded::new(black_box(&message).clone());
        // Each recipient asks for the frame, and the first of them makes it.
        frames.extend((0..recipients).map(|_| encoded.frame(encoding, || ()).clone()));
        frames.clear();
        let times = ENCODED.swap(0, atomic::Ordering::Relaxed);
        assert_eq!(times, 1, "one encoding for {recipients} recipients");
    })
}
