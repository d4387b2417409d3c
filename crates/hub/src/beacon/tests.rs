use super::*;

const MOST: Duration = Duration::from_secs(3);

#[test]
fn a_beacon_goes_there_and_back() {
    let origin = Origin { id: 7, number: 9 };
    let beacon = Beacon::new(origin, 4, Duration::from_secs(1));
    let (back, of) = Beacon::decode(&beacon.encode()).unwrap();
    assert_eq!((of, back.word().from), (origin, 4));
    assert!(Beacon::decode(b"{}").is_none() && Beacon::decode(b"\xff").is_none());
}

#[test]
fn an_instance_is_well_only_once_a_beacon_has_returned() {
    let (mut beacon_monitor, now) = (BeaconMonitor::default(), Instant::now());
    beacon_monitor.watch(Sequence::Lane(0), now);
    assert!(beacon_monitor.look(now, MOST, MOST).trouble.is_some());
    beacon_monitor.sent(&Sequence::Lane(0), 1, now);
    let later = now + Duration::from_millis(5);
    let took = beacon_monitor.returned(&Sequence::Lane(0), 1, later);
    assert_eq!(took, Some(Duration::from_millis(5)));
    assert_eq!(beacon_monitor.look(later, MOST, MOST).trouble, None);
}

#[test]
fn beacons_that_an_announced_loss_took_are_no_reason_to_read_anew() {
    let (mut beacon_monitor, sequence, now) = waiting();
    beacon_monitor.acknowledged(&sequence, 2);
    let later = now + MOST;
    beacon_monitor.on_gap(&Scope::Lane(1));
    beacon_monitor.on_gap(&Scope::Channels(Vec::new()));
    assert_eq!(beacon_monitor.sequences[&sequence].beacons.len(), 1);
    beacon_monitor.on_gap(&Scope::All);
    let findings = beacon_monitor.look(later, MOST, 10 * MOST);
    assert!(findings.trouble.is_some() && !findings.renew);
    // The next one that does not come back is one.
    beacon_monitor.sent(&sequence, 3, later);
    beacon_monitor.acknowledged(&sequence, 3);
    assert!(beacon_monitor.look(later + MOST, MOST, 10 * MOST).renew);
}

/// One beacon has returned, another has not.
fn waiting() -> (BeaconMonitor, Sequence, Instant) {
    let (mut beacon_monitor, sequence, now) =
        (BeaconMonitor::default(), Sequence::Lane(0), Instant::now());
    beacon_monitor.watch(sequence.clone(), now);
    beacon_monitor.sent(&sequence, 1, now);
    beacon_monitor.returned(&sequence, 1, now);
    beacon_monitor.sent(&sequence, 2, now);
    (beacon_monitor, sequence, now)
}

#[test]
fn silence_means_nothing_while_nobody_listens() {
    let (mut beacon_monitor, sequence, now) = waiting();
    beacon_monitor.acknowledged(&sequence, 2);
    beacon_monitor.pause();
    let late = now + 3 * MOST;
    let findings = beacon_monitor.look(late, MOST, MOST);
    assert!(findings.trouble.is_some() && !findings.renew && findings.deaf.is_empty());
    beacon_monitor.resume(late);
    assert_eq!(
        beacon_monitor.look(late + MOST / 2, MOST, MOST).trouble,
        None
    );
    assert!(beacon_monitor.look(late + MOST, MOST, MOST).renew);
}

#[test]
fn a_lane_that_the_broker_holds_back_is_not_deaf() {
    let (mut beacon_monitor, sequence, now) = waiting();
    beacon_monitor.acknowledged(&sequence, 2);
    beacon_monitor.wait(vec![0], now);
    let late = now + 30 * MOST;
    let findings = beacon_monitor.look(late, MOST, MOST);
    assert!(findings.trouble.is_none() && !findings.renew && findings.deaf.is_empty());
    beacon_monitor.wait(Vec::new(), late);
    assert_eq!(beacon_monitor.look(late, MOST, MOST).trouble, None);
    let findings = beacon_monitor.look(late + MOST, MOST, MOST);
    assert_eq!((findings.renew, findings.deaf), (true, vec![sequence]));
}

#[test]
fn who_hears_nothing_is_deaf_once_and_reads_anew_only_what_the_broker_has() {
    let (mut beacon_monitor, sequence, now) = waiting();
    let late = now + MOST;
    let findings = beacon_monitor.look(late, MOST, MOST);
    assert!(findings.trouble.is_some() && !findings.renew);
    assert_eq!(findings.deaf, std::slice::from_ref(&sequence));
    beacon_monitor.acknowledged(&sequence, 2);
    let findings = beacon_monitor.look(late, MOST, MOST);
    assert!(findings.renew && findings.deaf.is_empty());
    assert!(
        !beacon_monitor.look(late, MOST, MOST).renew,
        "not again at once"
    );
    beacon_monitor.returned(&sequence, 3, late);
    assert_eq!(beacon_monitor.look(late, MOST, MOST).trouble, None);
}

#[test]
fn what_a_log_will_give_out_later_is_no_loss_until_it_takes_long() {
    let (mut beacon_monitor, sequence, now) = waiting();
    let long = 10 * MOST;
    let findings = beacon_monitor.look(now + MOST, MOST, long);
    assert!(findings.trouble.is_some() && findings.deaf.is_empty());
    // It was read up.
    beacon_monitor.sent(&sequence, 3, now + MOST);
    beacon_monitor.returned(&sequence, 3, now + 2 * MOST);
    let findings = beacon_monitor.look(now + 2 * MOST, MOST, long);
    assert!(findings.trouble.is_none() && findings.deaf.is_empty());
    let findings = beacon_monitor.look(now + 2 * MOST + long, MOST, long);
    assert_eq!(findings.deaf, [sequence]);
}
