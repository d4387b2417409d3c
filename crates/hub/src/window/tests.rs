use super::*;

const CAP: ReadLimit = ReadLimit {
    messages: 1_000,
    bytes: 1 << 20,
};

const fn position(offset: u128) -> ClientPosition {
    ClientPosition {
        epoch: 1,
        lane: 0,
        offset,
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

fn filled(most_bytes: usize) -> Window {
    let mut window = Window::new(most_bytes, Duration::from_secs(300));
    window.begin(position(10));
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
    window.begin(position(20));
    assert!(matches!(read(&window, position(15)), WindowRead::Older));
    assert_eq!(offsets(read(&window, position(20))), [0; 0]);
    assert_eq!(window.size(), (0, 0));
}

#[test]
fn who_stands_before_a_hole_has_missed_it() {
    let mut window = filled(usize::MAX);
    let read = |window: &Window, after| window.read("even", position(after), None, CAP);
    window.break_off(position(20));
    assert!(matches!(read(&window, 20), WindowRead::Older));
    assert_eq!(window.head(0), Some(position(20)));
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
