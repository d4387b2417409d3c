use super::*;
use crate::position::Fingerprint;

const CAP: ReadLimit = ReadLimit {
    messages: 1_000,
    bytes: 1 << 20,
};

const fn position(offset: u128) -> ClientPosition {
    ClientPosition {
        epoch: 1,
        lane: 0,
        offset,
        fingerprint: Some(Fingerprint::ANY),
    }
}

fn message(channel: &str, offset: u128) -> Encoded {
    Encoded::new(Message {
        channel: channel.into(),
        data: vec![0; 100].into(),
        position: Some(position(offset)),
        id: None,
        origin: None,
        tags: Vec::new(),
    })
}

/// A lane begins behind this message, which is not for clients.
fn begin(window: &mut Window, offset: u128) {
    window.begin(position(offset));
    window.advance(position(offset), Instant::now());
}

fn filled(most_bytes: usize) -> Window {
    let mut window = Window::new(most_bytes, Duration::from_secs(300), Placements::new(10));
    begin(&mut window, 10);
    for offset in 11..=20 {
        let channel = if offset % 2 == 0 { "even" } else { "odd" };
        window.push(&Arc::new(vec![message(channel, offset)]), Instant::now());
    }
    window
}

fn offsets(found: WindowRead) -> Vec<u128> {
    let WindowRead::All(entries) = found else {
        panic!("{found:?}");
    };
    entries
        .iter()
        .map(|entry| entry.position().offset)
        .collect()
}

#[test]
fn a_channel_is_read_between_two_positions() {
    let window = filled(usize::MAX);
    let read = |after, upto| window.read("even", position(after), Some(position(upto)), CAP);
    assert_eq!(offsets(read(10, 20)), [12, 14, 16, 18, 20]);
    assert_eq!(offsets(read(12, 17)), [14, 16]);
    assert_eq!(offsets(read(20, 20)), [0; 0]);
    assert_eq!(
        offsets(window.read("none", position(10), None, CAP)),
        [0; 0]
    );
}

#[test]
fn what_is_not_all_here_is_said() {
    let mut window = filled(usize::MAX);
    let read = |window: &Window, after| window.read("even", after, None, CAP);
    assert!(matches!(read(&window, position(9)), WindowRead::Older));
    assert!(matches!(read(&window, position(21)), WindowRead::Lost));
    let other = ClientPosition {
        epoch: 2,
        ..position(15)
    };
    assert!(matches!(read(&window, other), WindowRead::Lost));
    let two = ReadLimit { messages: 2, ..CAP };
    assert!(matches!(
        window.read("even", position(10), None, two),
        WindowRead::TooMany
    ));
    let small = ReadLimit { bytes: 250, ..CAP };
    assert!(matches!(
        window.read("even", position(10), None, small),
        WindowRead::TooMany
    ));
    begin(&mut window, 20);
    assert!(matches!(read(&window, position(15)), WindowRead::Older));
    assert_eq!(offsets(read(&window, position(20))), [0; 0]);
    assert_eq!(window.size(), (MARK, 0));
}

#[test]
fn who_stands_before_a_hole_has_missed_it() {
    let mut window = filled(usize::MAX);
    let read = |window: &Window, after| window.read("even", position(after), None, CAP);
    window.break_off(position(20));
    assert!(matches!(read(&window, 20), WindowRead::Older));
    assert_eq!(window.head(0).map(|head| head.offset), Some(20));
    for offset in [31, 32] {
        window.push(&Arc::new(vec![message("even", offset)]), Instant::now());
    }
    assert!(matches!(read(&window, 20), WindowRead::Older));
    assert_eq!(offsets(read(&window, 31)), [32]);
}

#[test]
fn it_is_bounded_by_bytes_and_by_age() {
    let three = 3 * (OVERHEAD + 4 + 200);
    let mut window = filled(three);
    assert!(window.size().0 <= three);
    assert!(matches!(
        window.read("even", position(11), None, CAP),
        WindowRead::Older
    ));
    assert_eq!(
        offsets(window.read("even", position(17), None, CAP)),
        [18, 20]
    );
    window.trim(Instant::now() + Duration::from_secs(301));
    assert_eq!(window.size(), (0, 0));
    assert!(matches!(
        window.read("even", position(19), None, CAP),
        WindowRead::Older
    ));
    assert_eq!(
        offsets(window.read("even", position(20), None, CAP)),
        [0; 0]
    );
}

#[test]
fn a_position_at_which_another_message_is_belongs_to_another_log() {
    let window = filled(usize::MAX);
    let read = |after| window.read("even", after, None, CAP);
    let other = Fingerprint::of(&"even".into(), b"other", None);
    for fingerprint in [Some(other), None] {
        let foreign = ClientPosition {
            fingerprint,
            ..position(15)
        };
        assert!(matches!(read(foreign), WindowRead::Lost));
        assert_eq!(window.recognises(foreign), Some(false));
    }
    assert_eq!(offsets(read(position(15))), [16, 18, 20]);
    // Where this hub itself has read up to, no client need be recognised.
    let own = ClientPosition {
        fingerprint: None,
        ..position(15)
    };
    let rest = window.read_on("even", own, None, CAP);
    assert_eq!(offsets(rest), [16, 18, 20]);
    // No message is known to be there: only the log can tell.
    assert_eq!(window.recognises(position(9)), None);
}

#[test]
fn the_head_is_where_the_last_message_was() {
    let mut window = filled(usize::MAX);
    let unknown = ClientPosition {
        fingerprint: None,
        ..position(25)
    };
    assert!(!window.advance(unknown, Instant::now()));
    assert_eq!(window.head(0), Some(position(20)));
    assert_eq!(window.place(0, 17), Some(position(17)));
    assert!(window.advance(position(26), Instant::now()), "a beacon");
    assert_eq!(window.head(0), Some(position(26)));
    assert_eq!(
        offsets(window.read("even", position(26), None, CAP)),
        [0; 0]
    );
}

#[test]
fn what_is_for_no_client_is_bounded_too() {
    let mut window = Window::new(10 * MARK, Duration::from_secs(300), Placements::new(10));
    window.begin(position(0));
    for offset in 1..=100 {
        window.advance(position(offset), Instant::now());
        window.trim(Instant::now());
    }
    assert!(window.size().0 <= 10 * MARK, "{:?}", window.size());
    assert_eq!(window.recognises(position(100)), Some(true));
    assert_eq!(window.recognises(position(50)), None);
}

#[test]
fn all_that_is_kept_for_a_message_counts() {
    let mut large = message("c", 1);
    let plain = weight(large.message());
    let long: Arc<str> = "x".repeat(20_000).into();
    let mut with = large.message().clone();
    with.id = Some(Arc::clone(&long));
    with.tags = vec![(Arc::clone(&long), Arc::clone(&long))];
    large = Encoded::new(with);
    assert!(weight(large.message()) >= plain + 60_000);
}

/// A message of the channel in another lane than its own, which is 0.
fn foreign(window: &mut Window, channel: &str, offset: u128) {
    let place = ClientPosition {
        lane: 1,
        ..position(offset)
    };
    let mut message = message(channel, offset).message().clone();
    message.position = Some(place);
    let now = Instant::now();
    window.place_channel(&message.channel, 1, 0, now);
    window.push(&Arc::new(vec![Encoded::new(message)]), now);
}

#[test]
fn a_channel_in_two_lanes_is_not_recovered_from_one() {
    let mut window = filled(usize::MAX);
    window.begin(ClientPosition {
        lane: 1,
        ..position(4)
    });
    foreign(&mut window, "even", 5);
    foreign(&mut window, "outside", 6);
    foreign(&mut window, "outside", 7);
    let read = |channel, after| window.read(channel, after, None, CAP);
    assert!(matches!(read("even", position(12)), WindowRead::Lost));
    assert!(matches!(read("outside", position(12)), WindowRead::Lost));
    // All of this one is in the other lane.
    let there = ClientPosition {
        lane: 1,
        ..position(6)
    };
    assert_eq!(offsets(read("outside", there)), [7]);
    assert_eq!(window.placements().lane("outside", 0), 1);
    assert_eq!(offsets(read("odd", position(15))), [17, 19]);
}
