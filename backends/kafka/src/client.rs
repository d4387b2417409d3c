//! The kinds of librdkafka's clients that an instance has.

use std::collections::BTreeMap;

use rdkafka::{consumer::BaseConsumer, producer::FutureProducer};

use crate::context::Context;

/// A client that reads.
pub(crate) type Consumer = BaseConsumer<Context>;
/// The client that publishes.
pub(crate) type Producer = FutureProducer<Context>;
/// An offset of each partition.
pub(crate) type Offsets = BTreeMap<i32, i64>;
