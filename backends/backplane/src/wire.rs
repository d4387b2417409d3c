//! How metadata travels on brokers: the header names, and the envelope for brokers that have no headers.
//!
//! The envelope is one line of text in front of the data, so that a program that does not know it can skip
//! to the first newline: `␞hubplane1 {"id":"…","origin":"…","tags":{…}}⏎data`, where ␞ is the byte 0x1E (RFC 7464's
//! record separator). A payload without that start is valid input and carries no metadata.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{MessageId, Origin, Outgoing, Tags};

/// The header that carries the message id.
pub const ID_HEADER: &str = "hubplane-id";
/// The header that carries origin and number, in the text form of [`Origin`].
pub const ORIGIN_HEADER: &str = "hubplane-origin";
/// The longest envelope in bytes, with its start and its newline. A longer one is undecodable, so that no reader has to
/// search a large payload for a newline.
pub const MAX_ENVELOPE: usize = 8 * 1024;

/// How many headers of one message are kept as tags; more are left out.
pub const MAX_TAGS: usize = 64;
/// How many bytes the names and values of tags have together; a header beyond is left out.
pub const MAX_TAG_BYTES: usize = 8 * 1024;

/// How an envelope begins. The number is the version of its form.
const START: &[u8] = b"\x1ehubplane1 ";

/// The JSON of an envelope. A field that is not known makes it undecodable: a later version that adds one must change
/// [`START`], or older hubs would give out messages without what it says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<MessageId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Tags,
}

/// The metadata of a message, as an envelope or headers carried it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The message id.
    pub id: Option<MessageId>,
    /// Who published, and the message's number.
    pub origin: Option<Origin>,
    /// The other headers.
    pub tags: Tags,
}

/// The bytes begin like an envelope but can't be read as one. A backend announces this as a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;

/// Returns the bytes to publish: the data alone if there is no metadata, otherwise the envelope and then the data. Data
/// that begins like an envelope gets an empty one in front, so that it arrives exactly.
pub fn seal(outgoing: &Outgoing) -> Bytes {
    let bare = outgoing.id.is_none() && outgoing.origin.is_none() && outgoing.tags.is_empty();
    if bare && !outgoing.data.starts_with(START) {
        return outgoing.data.clone();
    }
    let line = Line {
        id: outgoing.id.clone(),
        origin: outgoing.origin.map(|origin| origin.to_string()),
        tags: outgoing.tags.clone(),
    };
    let line =
        serde_json::to_vec(&line).expect("invariant: text and pairs of text are always JSON");
    let mut sealed = BytesMut::with_capacity(START.len() + line.len() + 1 + outgoing.data.len());
    sealed.put_slice(START);
    sealed.put_slice(&line);
    sealed.put_u8(b'\n');
    sealed.put_slice(&outgoing.data);
    sealed.freeze()
}

/// Returns the metadata and the data of a payload. Without an envelope there is no metadata, and the data is all of it.
pub fn open(sealed: Bytes) -> Result<(Metadata, Bytes), Undecodable> {
    if !sealed.starts_with(START) {
        return Ok((Metadata::default(), sealed));
    }
    let end = sealed
        .iter()
        .take(MAX_ENVELOPE)
        .position(|&b| b == b'\n')
        .ok_or(Undecodable)?;
    let line: Line = serde_json::from_slice(&sealed[START.len()..end]).or(Err(Undecodable))?;
    let origin = line
        .origin
        .map(|text| text.parse())
        .transpose()
        .or(Err(Undecodable))?;
    Ok((
        Metadata {
            id: line.id,
            origin,
            tags: line.tags,
        },
        sealed.slice(end + 1..),
    ))
}

/// Gathers the headers that other programs have set. They stay in memory as long as the message does, so they are
/// bounded: a header beyond [`MAX_TAGS`] or [`MAX_TAG_BYTES`] is left out, the message itself is not.
#[derive(Debug, Default)]
pub struct BoundedTags {
    tags: Tags,
    bytes: usize,
}

impl BoundedTags {
    /// Takes a header if there is room for it, and leaves it out otherwise.
    pub fn push(&mut self, name: &str, value: &str) {
        let bytes = self.bytes + name.len() + value.len();
        if self.tags.len() < MAX_TAGS && bytes <= MAX_TAG_BYTES {
            self.bytes = bytes;
            self.tags.push((Arc::from(name), Arc::from(value)));
        }
    }

    /// Returns the headers that were taken.
    pub fn into_tags(self) -> Tags {
        self.tags
    }
}

/// Sorts the text headers of a broker into metadata: hubplane's own by their names, all others as tags. An origin that
/// can't be read counts as none, since any program can set that header.
pub fn from_headers<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Metadata {
    let mut metadata = Metadata::default();
    let mut tags = BoundedTags::default();
    for (name, value) in headers {
        match name {
            ID_HEADER => metadata.id = Some(Arc::from(value)),
            ORIGIN_HEADER => metadata.origin = value.parse().ok(),
            _ => tags.push(name, value),
        }
    }
    metadata.tags = tags.into_tags();
    metadata
}

/// Returns the metadata of a message as text headers, which [`from_headers`] reads.
pub fn to_headers(outgoing: &Outgoing) -> Vec<(&str, String)> {
    let id = outgoing
        .id
        .as_ref()
        .map(|id| (ID_HEADER, (**id).to_owned()));
    let origin = outgoing
        .origin
        .map(|origin| (ORIGIN_HEADER, origin.to_string()));
    let tags = outgoing
        .tags
        .iter()
        .map(|(name, value)| (&**name, (**value).to_owned()));
    id.into_iter().chain(origin).chain(tags).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(data: &'static [u8]) -> Outgoing {
        Outgoing::new("c", data)
    }

    #[test]
    fn a_bare_payload_stays_bare() {
        let sealed = seal(&outgoing(b"\x00\xff\n{}"));
        assert_eq!(&sealed[..], b"\x00\xff\n{}");
        assert_eq!(open(sealed.clone()).unwrap(), (Metadata::default(), sealed));
    }

    #[test]
    fn headers_beyond_the_bounds_are_left_out() {
        let large = "x".repeat(MAX_TAG_BYTES);
        let many = (0..100).map(|_| ("a", "b"));
        let metadata = from_headers([("large", &*large)].into_iter().chain(many));
        assert_eq!(metadata.tags.len(), MAX_TAGS);
        assert!(metadata.tags.iter().all(|(name, _)| &**name == "a"));
    }

    #[test]
    fn metadata_goes_there_and_back() {
        let mut message = outgoing(b"line one\nline two");
        message.id = Some("a\"b\n".into());
        message.origin = Some(Origin {
            id: u128::MAX,
            number: 9,
        });
        message.tags = vec![("k".into(), "v".into())];
        let (metadata, data) = open(seal(&message)).unwrap();
        assert_eq!(
            (metadata.id, metadata.origin, metadata.tags),
            (message.id, message.origin, message.tags)
        );
        assert_eq!(data, message.data);
    }

    #[test]
    fn data_that_looks_like_an_envelope_arrives_as_it_is() {
        let inner = seal(&Outgoing {
            id: Some("x".into()),
            ..outgoing(b"data")
        });
        let (metadata, data) = open(seal(&Outgoing::new("c", inner.clone()))).unwrap();
        assert_eq!((metadata, data), (Metadata::default(), inner));
    }

    #[test]
    fn broken_envelopes_are_refused() {
        for broken in [
            "",
            "{}",
            "{\"id\":1}\n",
            "{\"future\":1}\n",
            "{\"origin\":\"x\"}\n",
        ] {
            let bytes = [START, broken.as_bytes()].concat();
            assert_eq!(open(bytes.into()), Err(Undecodable), "{broken}");
        }
        let long = [START, &b"x".repeat(MAX_ENVELOPE), b"\n"].concat();
        assert_eq!(open(long.into()), Err(Undecodable));
    }

    #[test]
    fn headers_go_there_and_back() {
        let mut message = outgoing(b"");
        message.id = Some("i".into());
        message.origin = Some(Origin { id: 1, number: 2 });
        message.tags = vec![("k".into(), "v".into())];
        let headers = to_headers(&message);
        let metadata = from_headers(headers.iter().map(|(name, value)| (*name, value.as_str())));
        assert_eq!(
            (metadata.id, metadata.origin, metadata.tags),
            (message.id, message.origin, message.tags)
        );
    }
}
