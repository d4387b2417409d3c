use super::*;

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut out = vec![first];
    match payload.len() {
        n @ 0..=125 => out.push(0x80 | n as u8),
        n => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], mask);
    out
}

fn limits() -> Limits {
    Limits {
        message_bytes: 1_000,
        fragments: 8,
        ..Limits::default()
    }
}

/// What comes out when the bytes arrive `at_once` at a time.
fn fed(bytes: &[u8], at_once: usize) -> Result<Vec<String>, u16> {
    let (mut decoder, mut got) = (Decoder::default(), Vec::new());
    for chunk in bytes.chunks(at_once) {
        let mut on = |received: Received<'_>| {
            got.push(format!("{received:?}"));
            true
        };
        decoder
            .feed(&mut chunk.to_vec(), &limits(), &mut on)
            .map_err(|violation| violation.code)?;
    }
    assert!(decoder.rest.is_empty() && decoder.rest.capacity() == 0 || !bytes.is_empty());
    Ok(got)
}

#[test]
fn messages_come_out_whole_however_they_came_in() {
    let long = "é".repeat(400);
    let bytes = [
        frame(0x81, b"one"),
        frame(0x01, "\u{e9}".as_bytes().split_at(1).0),
        frame(0x89, b"ping"),
        frame(0x80, "\u{e9}".as_bytes().split_at(1).1),
        frame(0x81, long.as_bytes()),
        frame(0x8a, b""),
        frame(0x82, b"\xff"),
        frame(0x81, b""),
        frame(0x88, b"\x03\xe8bye"),
    ]
    .concat();
    let expected = ["Text(\"one\")", "Ping([112, 105, 110, 103])", "Text(\"é\")"];
    for at_once in [1, 2, 3, 7, 100, bytes.len()] {
        let got = fed(&bytes, at_once).unwrap();
        assert_eq!(got[..3], expected, "{at_once}");
        assert_eq!(got[3], format!("Text({long:?})"));
        assert_eq!(
            got[4..],
            ["Pong", "Binary([255])", "Text(\"\")", "Close(Some(1000))"]
        );
    }
}

#[test]
fn violations_have_their_close_codes() {
    let unmasked = vec![0x81, 1, b'x'];
    let huge = vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    let fragments = [frame(0x01, b""), frame(0x00, b"").repeat(20)].concat();
    for (what, bytes, code) in [
        ("unmasked", unmasked, 1002),
        ("rsv1", frame(0xc1, b"x"), 1002),
        ("rsv3", frame(0x91, b"x"), 1002),
        ("reserved data opcode", frame(0x83, b""), 1002),
        ("reserved control opcode", frame(0x8b, b""), 1002),
        ("fragmented ping", frame(0x09, b""), 1002),
        ("long ping", frame(0x89, &[0; 126]), 1002),
        ("orphan continuation", frame(0x80, b"x"), 1002),
        (
            "message in a message",
            [frame(0x01, b"a"), frame(0x81, b"b")].concat(),
            1002,
        ),
        ("half a close code", frame(0x88, b"\x03"), 1002),
        ("close code 1005", frame(0x88, b"\x03\xed"), 1002),
        ("close code 1006", frame(0x88, b"\x03\xee"), 1002),
        ("close code 2999", frame(0x88, b"\x0b\xb7"), 1002),
        ("close reason", frame(0x88, b"\x03\xe8\xff"), 1007),
        ("text", frame(0x81, b"\xc3"), 1007),
        (
            "text across fragments",
            [frame(0x01, b"\xc3"), frame(0x80, b"x")].concat(),
            1007,
        ),
        ("too large", frame(0x81, &[b'x'; 1_001]), 1009),
        (
            "too large in parts",
            [frame(0x01, &[b'x'; 600]), frame(0x80, &[b'x'; 600])].concat(),
            1009,
        ),
        ("a length of 2^63", huge, 1009),
        ("endless empty fragments", fragments, 1008),
    ] {
        for at_once in [1, bytes.len()] {
            assert_eq!(fed(&bytes, at_once), Err(code), "{what}");
        }
    }
}

#[test]
fn close_codes_that_may_be_sent_are_taken() {
    for code in [
        1000_u16, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4999,
    ] {
        assert_eq!(
            fed(&frame(0x88, &code.to_be_bytes()), 3).unwrap(),
            [format!("Close(Some({code}))")]
        );
    }
    assert_eq!(fed(&frame(0x88, b""), 1).unwrap(), ["Close(None)"]);
}

#[test]
fn a_decoder_that_is_told_to_stop_keeps_the_rest() {
    let bytes = frame(0x81, b"a").repeat(5);
    let (mut decoder, mut got) = (Decoder::default(), 0);
    let mut stop = |_: Received<'_>| {
        got += 1;
        false
    };
    let used = decoder.feed(&mut bytes.clone(), &limits(), &mut stop);
    let one = Used {
        bytes: bytes.len() / 5,
        frames: 1,
    };
    assert_eq!(used, Ok(one));
    while decoder.has_frame() {
        assert_eq!(decoder.feed(&mut [], &limits(), &mut stop), Ok(one));
    }
    assert_eq!(got, 5);
    let mut decoder = Decoder::starting_with(&[0x83]);
    assert!(!decoder.has_frame(), "the header is not whole");
    assert!(decoder.feed(&mut [0], &limits(), &mut |_| true).is_err());
}
