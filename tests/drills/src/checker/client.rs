//! One client's log against what was published.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{
    Checker, Log, What,
    announce::{Announcement, BEHIND, Course},
    index::State,
};

/// A channel as one client sees it.
#[derive(Debug, Default)]
struct Following {
    course: Course,
    /// When it was subscribed for the first time; what was sent before is not expected.
    first: Option<u64>,
    /// Subscribed on the connection that is open.
    open: bool,
    /// What came last was old.
    behind: bool,
    /// Counts `recovered: false`: the client begins anew.
    session: u32,
    /// By publisher and number.
    got: HashMap<(u32, u64), Got>,
    /// By publisher: what came in this session, by number.
    order: HashMap<u32, BTreeMap<u64, u64>>,
}

impl Following {
    /// Notes that something was said to be missing.
    fn announce(&mut self, t: u64, claims: bool) {
        self.course.announcements.push(Announcement {
            t,
            claims,
            behind: self.behind,
            used: false,
        });
    }
}

/// Where and when a message came first, or again in a new session.
#[derive(Debug, Clone, Copy)]
struct Got {
    t: u64,
    session: u32,
    connection: u32,
    /// A hash of the message's id: the logs are long, and ids are only compared.
    id: u64,
}

/// A message as it arrived.
struct Arrival<'a> {
    t: u64,
    channel: &'a str,
    publisher: &'a str,
    seq: u64,
    hash: u64,
    id: &'a str,
}

/// What is known of a client while its log is read.
struct Reader<'a> {
    who: &'a str,
    hub: &'a str,
    /// Counts connections, to tell a repetition from a resume.
    connection: u32,
    /// When the connection ended by itself; taken by the next subscription.
    closed: Option<u64>,
    channels: BTreeMap<&'a str, Following>,
}

impl Checker {
    /// Reads one client's log.
    pub(crate) fn client(&mut self, log: &Log) {
        // In the order of time, as one client wrote them.
        let mut reader = Reader {
            who: &log.who,
            hub: "",
            connection: 0,
            closed: None,
            channels: BTreeMap::new(),
        };
        for record in &log.records {
            self.read(&mut reader, record.t, &record.what);
        }
        for (channel, mut following) in std::mem::take(&mut reader.channels) {
            self.losses(&reader, channel, &mut following);
            let claims = following
                .course
                .announcements
                .iter()
                .filter(|one| one.claims);
            // An announcement without a loss is a false alarm; every client recovers for nothing.
            let (all, unused) = claims.fold((0, 0), |(all, unused), one| {
                (all + 1, unused + u64::from(!one.used))
            });
            self.verdict.gaps += all;
            self.verdict.false_gaps += unused;
        }
    }

    /// Takes one line of the log.
    fn read<'a>(&mut self, reader: &mut Reader<'a>, t: u64, what: &'a What) {
        match what {
            What::Connected { hub } => {
                reader.hub = hub;
                reader.connection += 1;
            }
            What::Subscribed {
                channel,
                recovered,
                since,
            } => self.subscribed(reader, t, channel, (*recovered, *since)),
            What::Message {
                channel,
                publisher,
                seq,
                hash,
                id,
            } => {
                let arrival = Arrival {
                    t,
                    channel,
                    publisher,
                    seq: *seq,
                    hash: *hash,
                    id,
                };
                self.message(reader, &arrival);
            }
            // Nobody of the drill has written it, so it came from elsewhere.
            What::Foreign { channel, text } => {
                self.verdict.phantom += 1;
                let who = reader.who;
                self.tell("phantom", || format!("{who} on {channel} at {t}: {text}"));
            }
            What::Gap { channel, .. } => {
                let following = reader.channels.entry(channel).or_default();
                following.announce(t, true);
            }
            // Until its next message, it may be told of things late.
            What::Awake => {
                for following in reader.channels.values_mut() {
                    following.behind = true;
                }
            }
            What::Closed { code } => {
                // Who left by himself came back when he wanted to.
                reader.closed = (*code != 0).then_some(t);
                for following in reader.channels.values_mut() {
                    if std::mem::take(&mut following.open)
                        && let Some((from, to)) = following.course.attached.last_mut()
                    {
                        // Only a client that was there long enough can say that a hub has not
                        // healed.
                        *to = t;
                        self.heal.connected(reader.hub, *from, t);
                    }
                }
            }
            _ => {}
        }
    }

    /// Begins, or goes on with, a channel.
    fn subscribed<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        t: u64,
        channel: &'a str,
        (recovered, since): (bool, bool),
    ) {
        // Only the first channel of a new connection counts, as all come back together.
        if let Some(closed) = reader.closed.take() {
            self.resume.push(t - closed);
        }
        let following = reader.channels.entry(channel).or_default();
        // The first subscription promises nothing of before.
        if following.first.is_none() {
            following.first = Some(t);
        } else {
            self.verdict.resumes += 1;
            self.verdict.recovered += u64::from(recovered);
            // Without recovery the client loads the state anew, and what comes from here on is a
            // new session.
            if !recovered {
                following.announce(t, since);
                following.session += 1;
                following.order.clear();
            }
        }
        following.open = true;
        following.course.attached.push((t, u64::MAX));
    }

    /// Takes a message: was it published so, was it new, was it in order?
    fn message<'a>(&mut self, reader: &mut Reader<'a>, arrival: &Arrival<'a>) {
        let (t, who, channel) = (arrival.t, reader.who, arrival.channel);
        let words = || {
            format!(
                "{who} on {channel} at {t}: {} {}",
                arrival.publisher, arrival.seq
            )
        };
        let open = reader
            .channels
            .get(channel)
            .is_some_and(|following| following.open);
        // Everything must agree: publisher and number, channel, bytes, and an open subscription.
        let known = self.index.find(arrival.publisher, arrival.seq).cloned();
        let Some(known) =
            known.filter(|known| known.channel == channel && known.hash == arrival.hash && open)
        else {
            self.verdict.phantom += 1;
            self.tell("phantom", words);
            return;
        };
        // The publisher was told that it is surely not published.
        if known.state == State::Refused {
            self.verdict.dishonest += 1;
            self.tell("dishonest", || format!("refused, but {}", words()));
        }
        self.heal.delivered(reader.hub, known.sent, t);
        let following = reader.channels.entry(channel).or_default();
        following.behind = t.saturating_sub(known.sent) > BEHIND;
        let got = Got {
            t,
            session: following.session,
            connection: reader.connection,
            id: hash(arrival.id),
        };
        let key = (known.publisher, known.seq);
        // In an earlier session it may well come again.
        if let Some(before) = following.got.get(&key).copied()
            && before.session == got.session
        {
            self.verdict.repeated_raw += 1;
            // On the same connection, or under another id, no client could have dropped it.
            if before.connection == got.connection || before.id != got.id {
                self.verdict.repeated += 1;
                self.tell("repeated", words);
            }
            return;
        }
        following.got.entry(key).or_insert(got).session = got.session;
        let order = following.order.entry(known.publisher).or_default();
        // A number further on that must come after this one, and came before.
        let later = order
            .range(known.seq + 1..)
            .map(|(seq, _)| *seq)
            .find(|seq| known.before(self.index.get((known.publisher, *seq))));
        order.insert(known.seq, t);
        // From sending to delivery.
        self.latency.push(t.saturating_sub(known.sent));
        if let Some(later) = later {
            self.verdict.reordered += 1;
            self.tell("reordered", || format!("{} after {later}", words()));
        }
    }

    /// What should have come and did not.
    fn losses(&mut self, reader: &Reader<'_>, channel: &str, following: &mut Following) {
        let Some(first) = following.first else { return };
        // A client that is away at the end can't be told yet.
        let until = if following.open {
            u64::MAX
        } else {
            following.course.attached.last().map_or(0, |(_, to)| *to)
        };
        // Still there at the end: what came until now counts.
        if let (true, Some((from, _))) = (following.open, following.course.attached.last()) {
            self.heal.connected(reader.hub, *from, u64::MAX);
        }
        let Some(keys) = self.index.channels.get(channel).cloned() else {
            return;
        };
        for key in keys {
            let one = self.index.get(key).clone();
            let counts = one.state == State::Accepted;
            if one.sent <= first
                // A second at the end is left out: what was just sent may be on its way.
                || one.done.min(one.sent + 1_000_000) >= until
                || one.state == State::Refused
            {
                continue;
            }
            // Whatever session it came in.
            let got = following.got.contains_key(&key);
            self.verdict.expected += u64::from(counts);
            if got {
                self.verdict.delivered += u64::from(counts);
                continue;
            }
            // What carries no number can't be missed by a later one.
            let later = if one.native {
                None
            } else {
                self.later(following, &one)
            };
            let covered = following.course.covers(&one, later, &self.index);
            // Unknown ones may cover an announcement, but are owed to nobody.
            if !counts {
                continue;
            }
            // Announced: the client could help itself.
            if let Some(after) = covered {
                self.verdict.announced += 1;
                let name = self.index.name(one.publisher).to_owned();
                self.tell("announced", || {
                    format!(
                        "{} on {channel}: {name} {} sent {} accepted {}",
                        reader.who, one.seq, one.sent, one.done
                    )
                });
                self.detect.push(after);
            } else {
                let kind = if one.native {
                    &mut self.verdict.lost_silent_native
                } else {
                    &mut self.verdict.lost_silent
                };
                *kind += 1;
                let name = self.index.name(one.publisher).to_owned();
                self.tell(
                    if one.native {
                        "silent (native)"
                    } else {
                        "silent"
                    },
                    || {
                        format!(
                            "{} on {channel}: {name} {} sent {} accepted {}",
                            reader.who, one.seq, one.sent, one.done
                        )
                    },
                );
            }
        }
    }

    /// When the first message came that must come after this one.
    ///
    /// Only of the same publisher, whose order is promised.
    fn later(&self, following: &Following, lost: &super::index::Published) -> Option<u64> {
        let order = following.order.get(&lost.publisher)?;
        let (seq, t) = order
            .range(lost.seq + 1..)
            .find(|(seq, _)| lost.before(self.index.get((lost.publisher, **seq))))?;
        let got = following.got.get(&(lost.publisher, *seq))?;
        Some(got.t.min(*t))
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
