//! Presence in the native protocol: what a subscribe says of it, and how members look. Who is a
//! member, and what may be said of one, is decided by the hub.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{put, start, string, text};
use hubplane_hub::presence::{Change, Member, PresenceOptions, Roster};

/// The field `presence` of a subscribe. An empty object means: neither a member nor watching.
/// Lengths are the hub's to check.
#[derive(Deserialize)]
pub(super) struct Presence<'a> {
    #[serde(borrow, default)]
    client: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    // Not read: the hub checks it and hands it on as it came.
    info: Option<&'a RawValue>,
    #[serde(default)]
    watch: bool,
}

impl Presence<'_> {
    /// Returns what the field asks for, or `None` if it says who somebody is (`user` or `info`)
    /// without a client id.
    ///
    /// A user without a client could not be told to leave again.
    pub(super) fn read(self) -> Option<Box<PresenceOptions>> {
        let nameless = self.client.is_none() && (self.user.is_some() || self.info.is_some());
        let member = self.client.map(|client| Member {
            client: client.into(),
            user: self.user.map(Into::into),
            info: self.info.map(|info| info.get().into()),
            verified: false,
        });
        let watch = self.watch;
        (!nameless).then(|| Box::new(PresenceOptions { member, watch }))
    }
}

/// Writes the push of one member's join or leave.
/// The same for all who watch, so it is written once.
pub(super) fn change(change: &Change, out: &mut Vec<u8>) {
    start(out, if change.joined { "join" } else { "leave" }, None);
    text(out, "channel", &change.channel);
    out.push(b',');
    fields(&change.member, out);
    out.push(b'}');
}

/// Writes who is on a channel as an object of its own, for the answer over HTTP.
/// The form is the same as in a message, so that clients need one reader.
pub fn members(channel: &str, roster: &Roster, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"channel\":");
    string(out, channel);
    rest(roster, out);
}

/// Writes what follows the channel's name: the count of all members, those that the answer names,
/// and whether there are more.
/// The beginning was written with the reply.
pub(super) fn rest(roster: &Roster, out: &mut Vec<u8>) {
    let Roster { count, members } = roster;
    // Open until all members are written.
    put(out, format_args!(",\"count\":{count},\"members\":["));
    for (at, member) in members.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"{" } else { b",{" });
        fields(member, out);
        out.push(b'}');
    }
    // `count` is of all members; the list may end earlier.
    put(out, format_args!("],\"more\":{}}}", members.len() < *count));
}

/// Writes a member's fields; one that it did not give is `null`.
fn fields(member: &Member, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"client\":");
    string(out, &member.client);
    match &member.user {
        Some(user) => text(out, "user", user),
        None => out.extend_from_slice(b",\"user\":null"),
    }
    // The hub has checked that this is JSON when the member came, so it is copied as it is.
    let info = member.info.as_deref().unwrap_or("null");
    put(out, format_args!(",\"info\":{info}"));
    if member.verified {
        out.extend_from_slice(b",\"verified\":true");
    }
}
