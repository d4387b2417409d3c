//! Between Kafka's records and publications. The key is the channel, the value is the data, and
//! headers carry the rest; the names of the headers are the contract's (`wire`), the same on every
//! broker that has headers.

use std::{str, sync::Arc};

use bytes::Bytes;
use hubplane_backplane::{Outgoing, Position, Publication, wire};
use rdkafka::{
    Message,
    message::{BorrowedMessage, Header, Headers, OwnedHeaders},
};

use crate::rights;

/// Returns the position `next` of a partition. A position is the offset of the next record, not of
/// the last one, so there is one for an empty log too (0), and a reader resumes exactly there.
pub(crate) fn position(epoch: u64, partition: i32, next: i64) -> Position {
    Position {
        epoch,
        lane: partition.unsigned_abs(),
        offset: u128::from(next.unsigned_abs()),
    }
}

/// Returns a record as a publication, or `None` if it belongs to no channel: it has no key, one
/// that is not UTF-8, or is an instance's probe. A record without a value is an empty message.
pub(crate) fn publication(record: &BorrowedMessage<'_>, epoch: u64) -> Option<Publication> {
    let channel = str::from_utf8(record.key()?).ok()?;
    if is_probe(record) {
        return None;
    }
    let headers = record.headers();
    let headers = headers.iter().flat_map(|headers| headers.iter());
    let texts =
        headers.filter_map(|header| Some((header.key, str::from_utf8(header.value?).ok()?)));
    let metadata = wire::from_headers(texts);
    Some(Publication {
        channel: Arc::from(channel),
        // Copied: the record's memory belongs to librdkafka, and ends with it.
        data: Bytes::copy_from_slice(record.payload().unwrap_or_default()),
        position: Some(position(epoch, record.partition(), record.offset() + 1)),
        id: metadata.id,
        origin: metadata.origin,
        tags: metadata.tags,
    })
}

/// Returns true if an instance wrote this record to learn whether it may write (`rights.rs`).
pub(crate) fn is_probe(record: &BorrowedMessage<'_>) -> bool {
    record.key() == Some(rights::PROBE_KEY.as_bytes())
}

/// Returns a publication's metadata as record headers.
pub(crate) fn headers(outgoing: &Outgoing) -> OwnedHeaders {
    let all = wire::to_headers(outgoing);
    all.iter().fold(
        OwnedHeaders::new_with_capacity(all.len()),
        |headers, (name, value)| {
            headers.insert(Header {
                key: name,
                value: Some(value),
            })
        },
    )
}
