//! Random pushes, writes and drops, beside a plain list that says what must come out.

use std::{cell::RefCell, io};

use super::*;
use crate::{
    command::{Ending, Reply},
    format::{Close, Decoder, Features, Format},
    frame::{Framing, Socket},
    outbox::Scratch,
    presence::Roster,
};

/// Writes a gap's channel in brackets, and nothing else; each head is `>`.
#[derive(Debug)]
struct Brackets {
    heads: bool,
}

impl Format for Brackets {
    fn subprotocol(&self) -> &'static str {
        "brackets"
    }

    fn features(&self) -> Features {
        Features {
            heads: self.heads,
            ..Features::default()
        }
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        unreachable!("nothing is read")
    }

    fn reply(&self, _reply: &Reply<'_>, _out: &mut Vec<u8>) {}

    fn push(&self, push: &Push<'_>, out: &mut Vec<u8>) {
        let Push::Gap { channel, cause } = push else {
            unreachable!("messages are made by the test");
        };
        assert_eq!(*cause, GapCause::Slow);
        out.extend_from_slice(format!("[{channel}]").as_bytes());
    }

    fn head(&self, tag: Option<&str>, out: &mut Vec<u8>) {
        out.extend_from_slice(tag.unwrap_or_default().as_bytes());
        out.push(b'>');
    }

    fn members(&self, _channel: &str, _roster: &Roster, _out: &mut Vec<u8>) {}

    fn ending(&self, ending: Ending, _out: &mut Vec<u8>) -> Close {
        Close::new(0, format!("{ending:?}"))
    }
}

#[derive(Debug)]
struct Bare;

impl Framing for Bare {
    fn room(&self) -> usize {
        0
    }

    fn frame(&self, _binary: bool, buffer: Vec<u8>, _tail: usize) -> Frame {
        buffer.into()
    }

    fn ping(&self) -> Frame {
        Frame::new()
    }

    fn close(&self, _close: &Close) -> Frame {
        Frame::new()
    }
}

static WHOLE: Encoding = Encoding {
    format: &Brackets { heads: false },
    framing: &Bare,
};
static HEADED: Encoding = Encoding {
    format: &Brackets { heads: true },
    framing: &Bare,
};

/// Takes so many bytes and no more.
#[derive(Debug, Default)]
struct Room(RefCell<(usize, Vec<u8>)>);

impl Socket for Room {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let (room, got) = &mut *self.0.borrow_mut();
        let n = bytes.len().min(*room);
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        *room -= n;
        got.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn write_vectored(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.write(&slices.iter().flat_map(|it| it.to_vec()).collect::<Vec<_>>())
    }
}

/// A subscription of the test, by its place: one without a rule, two of each rule.
const RULES: [Slow; 5] = [
    Slow::Disconnect,
    Slow::DropOldest,
    Slow::DropOldest,
    Slow::Latest,
    Slow::Latest,
];

/// The same as an outbox, as a list that is searched from its beginning each time.
#[derive(Default)]
struct Plain {
    /// What waits: whose, whether a gap, and the text.
    waits: Vec<(usize, bool, String)>,
    /// Bytes of the first that are written.
    written: usize,
    got: String,
    dropped: Dropped,
    replaced: u64,
}

impl Plain {
    fn unwritten(&self) -> usize {
        usize::from(self.written > 0)
    }

    /// Returns where the first that fits is, among those of which nothing is written.
    fn find(&self, fits: impl Fn(&(usize, bool, String)) -> bool) -> Option<usize> {
        (self.unwritten()..self.waits.len()).find(|at| fits(&self.waits[*at]))
    }

    fn push(&mut self, of: usize, text: String) {
        if RULES[of] == Slow::Latest
            && let Some(at) = self.find(|it| it.0 == of)
        {
            self.waits.remove(at);
            self.replaced += 1;
        }
        self.waits.push((of, false, text));
    }

    fn drop_one(&mut self, gap: impl Fn(usize) -> String) -> bool {
        let Some(at) = self.find(|it| RULES[it.0] == Slow::DropOldest && !it.1) else {
            return false;
        };
        let of = self.waits[at].0;
        self.dropped.messages += 1;
        if self.find(|it| it.0 == of && it.1).is_some() {
            self.waits.remove(at);
        } else {
            self.waits[at] = (of, true, gap(of));
            self.dropped.gaps += 1;
        }
        true
    }

    fn write(&mut self, mut room: usize) {
        while room > 0 && !self.waits.is_empty() {
            let rest = &self.waits[0].2[self.written..];
            let n = rest.len().min(room);
            self.got.push_str(&rest[..n]);
            room -= n;
            self.written += n;
            if self.written == self.waits[0].2.len() {
                self.waits.remove(0);
                self.written = 0;
            }
        }
    }

    fn bytes(&self) -> usize {
        self.waits.iter().map(|it| it.2.len()).sum::<usize>() - self.written
    }
}

fn tag(of: usize) -> Tag {
    format!("t{of}").into()
}

/// An outbox with all of [`RULES`].
fn outbox() -> Outbox {
    let mut outbox = Outbox::new();
    for (of, slow) in RULES.into_iter().enumerate() {
        let channel: Channel = format!("c{of}").into();
        if let Some(slot) = Slot::new((&channel, Some(&tag(of))), slow, None) {
            outbox.shape(of as u32, slot);
        }
    }
    outbox
}

/// Queues a message as a shard does.
fn push(outbox: &mut Outbox, encoding: &Encoding, of: usize, text: &str) -> bool {
    let tail = Frame::copy_from_slice(text.as_bytes());
    let Some(slot) = outbox.slot(of as u32) else {
        outbox.push(tail);
        return false;
    };
    let replaced = outbox.replace(slot);
    outbox.push_message(slot, encoding, tail);
    replaced
}

fn random(state: &mut u64, below: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

fn run(seed: u64, encoding: &Encoding) {
    let mut state = seed;
    let heads = encoding.format.features().heads;
    let head = |of: usize| {
        if heads {
            format!("{}>", tag(of))
        } else {
            String::new()
        }
    };
    let (mut outbox, mut plain) = (outbox(), Plain::default());
    let (socket, mut scratch) = (Room::default(), Scratch::default());
    let (mut dropped, mut replaced) = (Dropped::default(), 0);
    let mut pushed = 0;
    for number in 0..3_000 {
        // In turns a client that takes nothing, little and nearly all.
        let most = [0, 3, 40][number / 200 % 3];
        let of = random(&mut state, RULES.len() as u64) as usize;
        let text = format!("{of}:{number}.");
        replaced += u64::from(push(&mut outbox, encoding, of, &text));
        let has_head = RULES[of] != Slow::Disconnect;
        plain.push(of, if has_head { head(of) + &text } else { text });
        pushed += 3;
        let limits = Limits {
            outbox_frames: if of == 0 { 400 } else { 150 },
            ..Limits::default()
        };
        let now = outbox.make_room(&limits, encoding);
        dropped.messages += now.messages;
        dropped.gaps += now.gaps;
        while plain.waits.len() >= limits.outbox_frames
            && plain.drop_one(|of| head(of) + &format!("[c{of}]"))
        {}
        let room = random(&mut state, most + 1) as usize;
        socket.0.borrow_mut().0 = room;
        outbox.flush(&socket, &mut scratch);
        plain.write(room);
        assert_eq!(outbox.bytes(), plain.bytes(), "seed {seed}, step {number}");
        assert_eq!(outbox.frames as usize, plain.waits.len());
        let shaping = outbox.shaping.as_ref().unwrap();
        let live = outbox.pieces.len() - shaping.empty;
        assert!(
            outbox.pieces.len() <= FEW + 2 * live + 6,
            "{live} of {}",
            outbox.pieces.len()
        );
    }
    socket.0.borrow_mut().0 = usize::MAX;
    outbox.flush(&socket, &mut scratch);
    plain.write(usize::MAX);
    assert!(outbox.is_empty() && outbox.frames == 0);
    let got = String::from_utf8(socket.0.borrow().1.clone()).unwrap();
    assert_eq!(got, plain.got, "seed {seed}");
    assert_eq!((dropped, replaced), (plain.dropped, plain.replaced));
    assert!(dropped.gaps > 5 && dropped.messages > 10 * dropped.gaps / 9 && replaced > 100);
    let steps = outbox.shaping.as_ref().unwrap().steps;
    assert!(steps < 6 * pushed, "{steps} steps for {pushed} pieces");
}

#[test]
fn what_comes_out_is_what_a_plain_list_says() {
    for seed in 1..=20 {
        run(seed, &WHOLE);
        run(seed, &HEADED);
    }
}

/// However much waits: the work for a message is the same.
#[test]
fn a_drop_costs_the_same_however_much_waits() {
    let steps = |waiting: usize| {
        let mut outbox = outbox();
        let limits = Limits {
            outbox_frames: waiting,
            ..Limits::default()
        };
        for number in 0..100_000 {
            // Others between them, so that dropped frames are never all in front.
            let of = [1, 3][number % 2];
            push(&mut outbox, &WHOLE, of, "x");
            outbox.make_room(&limits, &WHOLE);
        }
        assert!(outbox.pieces.len() <= FEW + 6 * waiting);
        outbox.shaping.unwrap().steps
    };
    let (few, many) = (steps(10), steps(10_000));
    assert!(
        many < 2 * few,
        "{few} steps with ten, {many} with ten thousand"
    );
}

#[test]
fn who_leaves_takes_its_messages_along_and_leaves_the_others_theirs() {
    for room in 0..=6 {
        let mut outbox = outbox();
        for (of, text) in [
            (1, "1a."),
            (2, "2a."),
            (3, "3a."),
            (1, "1b."),
            (0, "0a."),
            (4, "4a."),
        ] {
            push(&mut outbox, &WHOLE, of, text);
        }
        let socket = Room::default();
        socket.0.borrow_mut().0 = room;
        outbox.flush(&socket, &mut Scratch::default());
        // The last takes its place, and is found there.
        outbox.unshape(1, 4);
        assert!(push(&mut outbox, &WHOLE, 1, "4b."), "it replaces 4a");
        assert!(outbox.slot(4).is_none());
        let all = Limits {
            outbox_frames: 0,
            ..Limits::default()
        };
        let dropped = outbox.make_room(&all, &WHOLE);
        socket.0.borrow_mut().0 = usize::MAX;
        outbox.flush(&socket, &mut Scratch::default());
        let got = String::from_utf8(socket.0.borrow().1.clone()).unwrap();
        let (begun, second) = match room {
            0 => ("", "[c2]"),
            1..=3 => ("1a.", "[c2]"),
            _ => ("1a.", "2a."),
        };
        assert_eq!(
            got,
            format!("{begun}{second}3a.0a.4b."),
            "after {room} bytes"
        );
        assert_eq!(dropped.messages, u64::from(second != "2a."));
    }
}
