//! Between Kafka's records and publications.

use std::{str, sync::Arc};

use bytes::Bytes;
use hubplane_backplane::{Outgoing, Position, Publication, wire};
use rdkafka::{
    Message,
    message::{BorrowedMessage, Header, Headers, OwnedHeaders},
};

use crate::rights;

/// A place: the offset of the next record, so that 0 is the start of an empty log.
pub(crate) fn position(epoch: u64, partition: i32, next: i64) -> Position {
    Position {
        epoch,
        lane: partition.unsigned_abs(),
        offset: u128::from(next.unsigned_abs()),
    }
}

/// A record as a publication; `None` if it belongs to no channel.
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
        data: Bytes::copy_from_slice(record.payload().unwrap_or_default()),
        position: Some(position(epoch, record.partition(), record.offset() + 1)),
        id: metadata.id,
        origin: metadata.origin,
        tags: metadata.tags,
    })
}

/// Returns true if an instance wrote this record to see that it may.
pub(crate) fn is_probe(record: &BorrowedMessage<'_>) -> bool {
    record.key() == Some(rights::PROBE_KEY.as_bytes())
}

/// A publication's metadata as record headers.
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
