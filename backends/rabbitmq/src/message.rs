//! A publication as an AMQP message, there and back: the channel is the routing key, the id the
//! property `message-id`, origin and tags are headers, and the data is the body.
//!
//! No envelope is needed. Outside programs read and write such messages with any AMQP library, so
//! this form is a promise of the documentation. Pure: no channel and no connection here.

use bytes::Bytes;
use hubplane_backplane::{Error, ErrorKind, Outgoing, Publication, Result, wire};
use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldTable, ShortString},
};

use crate::capabilities::{CAPABILITIES, NAME};

/// Bytes of headers with their names. All of them travel in one frame, of at most 128 KiB with
/// RabbitMQ's default.
const LONGEST_HEADERS: usize = 64 * 1024;
/// Headers that RabbitMQ reads as lists of further routing keys; on a text it closes the channel
/// (<https://www.rabbitmq.com/docs/sender-selected>).
const RESERVED: [&str; 2] = ["CC", "BCC"];
/// The delivery mode for messages that are kept in memory while the broker can: what a restart
/// loses is announced, and the disk is spared.
const UNSAVED: u8 = 1;
/// Bytes; as the contract's `MessageId` has it.
const LONGEST_ID: usize = 64;

/// A message ready to be sent.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) routing_key: ShortString,
    pub(crate) data: Bytes,
    pub(crate) properties: BasicProperties,
}

/// Returns the error for a message that RabbitMQ could never carry; sending it again is no use.
fn rejected(message: String) -> Error {
    Error::new(ErrorKind::Rejected, NAME, message)
}

/// Returns the routing key of a channel, or `Rejected` if the name is longer than 255 bytes.
pub(crate) fn routing_key(channel: &str) -> Result<ShortString> {
    ShortString::try_new(channel).map_err(|error| {
        rejected("a channel's name has at most 255 bytes on RabbitMQ".to_owned()).with_source(error)
    })
}

/// Returns the message as AMQP has it, or `Rejected` with the reason why RabbitMQ can't carry it.
/// To be checked here, because the broker would answer by closing the channel, and with it
/// everybody's messages.
pub(crate) fn prepare(outgoing: Outgoing) -> Result<Prepared> {
    CAPABILITIES.check(NAME, &outgoing.channel, outgoing.data.len())?;
    let routing_key = routing_key(&outgoing.channel)?;
    let mut properties = BasicProperties::default().with_delivery_mode(UNSAVED);
    if let Some(id) = &outgoing.id {
        let id = ShortString::try_new(&**id).map_err(|error| {
            rejected("a message id has at most 255 bytes on RabbitMQ".to_owned()).with_source(error)
        })?;
        properties = properties.with_message_id(id);
    }
    let (mut headers, mut size) = (FieldTable::default(), 0);
    for (name, value) in wire::to_headers(&outgoing) {
        if RESERVED.contains(&name) {
            return Err(rejected(format!("a tag can't be named {name} on RabbitMQ")));
        }
        // A name has one byte for its length, a value one for its type and four for its length.
        size += name.len() + value.len() + 6;
        let name = ShortString::try_new(name).map_err(|error| {
            rejected("a tag's name has at most 255 bytes on RabbitMQ".to_owned()).with_source(error)
        })?;
        // The table holds each name once; hubplane's own come first.
        if !headers.contains_key(name.as_str()) {
            headers.insert(name, AMQPValue::LongString(value.into()));
        }
    }
    if size > LONGEST_HEADERS {
        return Err(rejected("the tags have more than 64 KiB".to_owned()));
    }
    if size > 0 {
        properties = properties.with_headers(headers);
    }
    Ok(Prepared {
        routing_key,
        data: outgoing.data,
        properties,
    })
}

/// Returns a delivery as a publication without a position. Headers that are no text are the
/// broker's or another program's own matter and are passed over.
pub(crate) fn received(delivery: Delivery) -> Publication {
    let properties = &delivery.properties;
    let headers = properties.headers().iter().flat_map(|table| table.inner());
    let texts = headers.filter_map(|(name, value)| match value {
        AMQPValue::LongString(value) => {
            Some((name.as_str(), str::from_utf8(value.as_bytes()).ok()?))
        }
        _ => None,
    });
    let metadata = wire::from_headers(texts);
    // An outside program may use any message id; only one that clients could have given is passed
    // on.
    let named = || {
        let id = properties.message_id().as_ref()?.as_str();
        let plain = id.len() <= LONGEST_ID && id.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        (plain && !id.is_empty()).then(|| id.into())
    };
    Publication {
        channel: delivery.routing_key.as_str().into(),
        position: None,
        id: metadata.id.or_else(named),
        origin: metadata.origin,
        tags: metadata.tags,
        data: delivery.data.into(),
    }
}

#[cfg(test)]
mod tests {
    use hubplane_backplane::Origin;

    use super::*;

    fn delivered(prepared: Prepared) -> Delivery {
        let (key, data) = (prepared.routing_key, prepared.data.to_vec());
        let mut delivery = Delivery::mock(1, "x".into(), key, false, data);
        delivery.properties = prepared.properties;
        delivery
    }

    #[test]
    fn a_message_goes_there_and_back() {
        let mut outgoing = Outgoing::new("a.*.#\0\n😀", &b"\xff\0"[..]);
        outgoing.id = Some("id".into());
        outgoing.origin = Some(Origin { id: 7, number: 9 });
        outgoing.tags = vec![("a".into(), "1".into()), ("b".into(), "".into())];
        let publication = received(delivered(prepare(outgoing.clone()).unwrap()));
        assert_eq!(publication.channel, outgoing.channel);
        assert_eq!(publication.data, outgoing.data);
        assert_eq!(
            (publication.id, publication.origin, publication.tags),
            (outgoing.id, outgoing.origin, outgoing.tags)
        );
    }

    #[test]
    fn a_plain_message_has_no_headers() {
        let prepared = prepare(Outgoing::new("c", "data")).unwrap();
        assert_eq!(*prepared.properties.headers(), None);
        assert_eq!(received(delivered(prepared)).id, None);
    }

    #[test]
    fn an_outside_producer_may_name_its_messages() {
        let mut prepared = prepare(Outgoing::new("c", "data")).unwrap();
        let mut headers = FieldTable::default();
        headers.insert("n".into(), AMQPValue::LongInt(1));
        headers.insert("t".into(), AMQPValue::LongString("text".into()));
        headers.insert("x".into(), AMQPValue::LongString(vec![0xff].into()));
        prepared.properties = prepared
            .properties
            .with_message_id("m-1".into())
            .with_headers(headers);
        let publication = received(delivered(prepared));
        assert_eq!(publication.id.as_deref(), Some("m-1"));
        assert_eq!(publication.tags, [("t".into(), "text".into())]);
    }

    #[test]
    fn what_amqp_cannot_carry_is_rejected() {
        let named = |name: &str, value: &str| {
            let mut outgoing = Outgoing::new("c", "");
            outgoing.tags = vec![(name.into(), value.into())];
            outgoing
        };
        for outgoing in [
            Outgoing::new("c".repeat(256), ""),
            Outgoing::new("c", vec![0; CAPABILITIES.max_payload + 1]),
            named("CC", "other"),
            named(&"n".repeat(256), ""),
            named("n", &"v".repeat(LONGEST_HEADERS)),
        ] {
            assert_eq!(prepare(outgoing).unwrap_err().kind(), ErrorKind::Rejected);
        }
        assert!(prepare(Outgoing::new("c".repeat(255), "")).is_ok());
    }
}
