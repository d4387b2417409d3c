use std::cell::RefCell;

use super::*;

/// Takes `at_once` bytes a write and blocks after `room`.
#[derive(Debug)]
struct Slow {
    at_once: usize,
    room: RefCell<usize>,
    got: RefCell<Vec<u8>>,
    writes: RefCell<usize>,
}

impl Slow {
    fn new(at_once: usize, room: usize) -> Self {
        Self {
            at_once,
            room: room.into(),
            got: RefCell::default(),
            writes: RefCell::default(),
        }
    }
}

impl Socket for Slow {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.at_once).min(*self.room.borrow());
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        *self.room.borrow_mut() -= n;
        *self.writes.borrow_mut() += 1;
        self.got.borrow_mut().extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn write_vectored(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write(
            &bytes
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect::<Vec<_>>(),
        )
    }
}

fn filled(sizes: &[usize]) -> (Outbox, Vec<u8>) {
    let mut outbox = Outbox::default();
    let mut all = Vec::new();
    for (i, &size) in sizes.iter().enumerate() {
        let frame = vec![i as u8; size];
        all.extend_from_slice(&frame);
        outbox.push(frame.into());
    }
    (outbox, all)
}

#[test]
fn small_frames_leave_in_one_write() {
    let (mut outbox, all) = filled(&[100; 10]);
    let socket = Slow::new(usize::MAX, usize::MAX);
    assert_eq!(
        outbox.flush(&socket, &mut Scratch::default()),
        Flushed::Empty
    );
    assert_eq!(
        (socket.got.borrow().clone(), *socket.writes.borrow()),
        (all, 1)
    );
    assert_eq!((outbox.bytes(), outbox.frames), (0, 0));
}

#[test]
fn short_writes_lose_nothing_and_repeat_nothing() {
    for sizes in [
        &[1, 40_000, 3, 9_000, 70_000, 5][..],
        &[100; 600],
        &[50_000; 3],
        &[7],
    ] {
        for at_once in [1_000, 4_097, 65_536] {
            let (mut outbox, all) = filled(sizes);
            let socket = Slow::new(at_once, all.len() / 2);
            assert_eq!(
                outbox.flush(&socket, &mut Scratch::default()),
                Flushed::Blocked
            );
            assert_eq!(outbox.bytes(), all.len() - all.len() / 2);
            *socket.room.borrow_mut() = usize::MAX;
            assert_eq!(
                outbox.flush(&socket, &mut Scratch::default()),
                Flushed::Empty
            );
            assert!(*socket.got.borrow() == all);
        }
    }
}

#[test]
fn a_partly_written_frame_survives_the_drop() {
    let (mut outbox, all) = filled(&[10, 10, 10]);
    let socket = Slow::new(usize::MAX, 15);
    outbox.flush(&socket, &mut Scratch::default());
    outbox.drop_unwritten();
    assert_eq!((outbox.bytes(), outbox.frames), (5, 1));
    *socket.room.borrow_mut() = usize::MAX;
    assert_eq!(
        outbox.flush(&socket, &mut Scratch::default()),
        Flushed::Empty
    );
    assert_eq!(*socket.got.borrow(), all[..20]);
}

/// Frames of one or two parts, cut off after each number of bytes: what leaves is whole frames, and nothing else.
#[test]
fn a_head_and_its_tail_stay_together_wherever_the_socket_stops() {
    assert_eq!(size_of::<Piece>(), size_of::<Frame>());
    let frames = [
        ("", "aaaa"),
        ("b", "BBB"),
        ("cc", "CC"),
        ("", "dddd"),
        ("e", "EEE"),
    ];
    let all: String = frames
        .iter()
        .map(|(head, tail)| format!("{head}{tail}"))
        .collect();
    for room in 0..=all.len() {
        for dropped in [false, true] {
            let mut outbox = Outbox::default();
            for (head, tail) in frames {
                let head = (!head.is_empty()).then(|| Frame::from_static(head.as_bytes()));
                let tail = Frame::from_static(tail.as_bytes());
                match head {
                    None => outbox.push(tail),
                    Some(head) => outbox.push_pair(head, tail),
                }
            }
            let socket = Slow::new(usize::MAX, room);
            outbox.flush(&socket, &mut Scratch::default());
            assert_eq!(outbox.bytes(), all.len() - room);
            assert_eq!(outbox.frames as usize, (all.len() - room).div_ceil(4));
            if dropped {
                outbox.drop_unwritten();
                outbox.push(Frame::from_static(b"last"));
            }
            *socket.room.borrow_mut() = usize::MAX;
            let flushed = outbox.flush(&socket, &mut Scratch::default());
            assert_eq!(
                (flushed, outbox.bytes(), outbox.frames),
                (Flushed::Empty, 0, 0)
            );
            let got = String::from_utf8(socket.got.borrow().clone()).unwrap();
            let whole = &all[..room.next_multiple_of(4)];
            let expected = if dropped {
                format!("{whole}last")
            } else {
                all.clone()
            };
            assert_eq!(got, expected, "stopped after {room} bytes");
        }
    }
}
