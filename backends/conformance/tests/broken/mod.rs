//! A backend on a small broker in this process, which can be stopped and killed. It is sound, or broken in one way, so that
//! the suite can be tried on it. `broker` keeps the messages, `handle` answers the calls, `instance` tells the events.

mod broker;
mod handle;
mod instance;

use std::sync::Arc;

use async_trait::async_trait;
use hubplane_backplane::{
    Address, Capabilities, Delivery, Driver, Durability, Error, ErrorKind, Interest, OnRestart,
    Opened, Order, Outgoing, Replay, Result,
};
use hubplane_conformance::{Control, Harness, Refused};

use self::broker::Broker;

/// What is wrong with a backend. Each is a fault that a real backend had, or could have, and each is caught by one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// One message is lost in silence.
    Drops,
    /// One message comes twice.
    Repeats,
    /// One message comes after its successor.
    Reorders,
    /// Each publisher's order is kept, but two instances see two orders.
    OrdersDifferently,
    /// Messages come without their ids.
    LosesMetadata,
    /// An instance does not hear what it published itself.
    EchoesNothing,
    /// A gap is announced, and nothing is missing.
    CriesWolf,
    /// One bad item makes all answers of its batch `Rejected`.
    FailsTheWholeBatch,
    /// Channels stay subscribed to when many are removed at once.
    ForgetsRemovedInterest,
    /// A channel that was added twice must be removed twice.
    CountsInterest,
    /// A name with a `*` at its end is read as a pattern.
    ReadsPatterns,
    /// An empty payload becomes another one.
    AltersPayloads,
    /// A payload over the declared limit is taken.
    TakesTooLarge,
    /// A name over the declared limit is published to.
    TakesTooLong,
    /// All spaces are one.
    LeaksAcrossSpaces,
    /// A message from outside gets an id.
    NamesOutsiders,
    /// Messages come without the positions that are declared.
    HasNoPositions,
    /// `Progress` comes only once, at the start.
    KeepsProgressToItself,
    /// A page begins with the message at `after`.
    ReadsInclusively,
    /// Reading after a position that is trimmed begins with what is left.
    HidesTheTrim,
    /// A history is declared, and there is none.
    PromisesHistory,
    /// A batch is acknowledged before the broker has it.
    AcknowledgesBeforeStoring,
    /// Calls go on after `close`.
    IgnoresClose,
    /// `close` waits until the hub reads its events.
    ClosesOnceReadOnly,
    /// A second `close` never returns.
    HangsInTheSecondClose,
    /// What finds no room in the queue is lost in silence.
    HidesTheOverflow,
    /// An absent broker is called a wrong address.
    BlamesTheAddress,
    /// Unknown keys of an address are ignored.
    OpensAnything,
    /// An error shows the password.
    ShowsThePassword,
    /// No gap is told after a reconnection.
    HidesTheGap,
    /// The gap comes after the first message behind the hole.
    AnnouncesLate,
    /// It is declared that a restart loses nothing, and it does.
    PromisesDelivery,
    /// The last message comes again after a reconnection.
    RepeatsOnReconnect,
    /// No channel is subscribed to after a reconnection.
    ForgetsInterestOnReconnect,
    /// What is subscribed to while the broker is away is forgotten.
    ForgetsInterestWhileDown,
    /// Messages are acknowledged while there is no broker.
    AcknowledgesWithoutBroker,
    /// What was called surely not stored is published later.
    StoresWhatItRefuses,
}

/// The driver and the harness of one mutant; a new broker for each.
#[derive(Debug)]
pub(crate) struct Broken {
    driver: &'static BrokenDriver,
}

#[derive(Debug)]
pub(crate) struct BrokenDriver {
    /// `None` for the sound one.
    fault: Option<Fault>,
    broker: Arc<Broker>,
}

impl BrokenDriver {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// The space that an address means: with [`Fault::LeaksAcrossSpaces`] all are one.
    fn space<'a>(&self, name: &'a str) -> &'a str {
        match self.has(Fault::LeaksAcrossSpaces) {
            true => "one",
            false => name,
        }
    }
}

impl Broken {
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        let broker = Arc::new(Broker::default());
        // A driver is static; a test process makes a few dozen.
        Self {
            driver: Box::leak(Box::new(BrokenDriver { fault, broker })),
        }
    }
}

/// An error of this backend. Its text is of no interest.
pub(crate) fn error(kind: ErrorKind) -> Error {
    Error::new(kind, "broken", "as tested")
}

/// Small, so that a payload over it is made quickly.
pub(crate) const MAX_PAYLOAD: usize = 64 * 1024;
pub(crate) const MAX_CHANNEL: usize = 300;

#[async_trait]
impl Driver for BrokenDriver {
    fn schemes(&self) -> &'static [&'static str] {
        &["broken"]
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            order: Order::PerChannel,
            delivery: Delivery::AtMostOnce,
            replay: Replay::Bounded("as tested"),
            durability: Durability::Process,
            max_payload: MAX_PAYLOAD,
            max_channel: MAX_CHANNEL,
            interest: Interest::Routed,
            on_restart: match self.fault {
                Some(Fault::PromisesDelivery) => OnRestart::Delivered,
                _ => OnRestart::Announced,
            },
        }
    }

    async fn open(&self, address: &Address) -> Result<Opened> {
        let mut settings = address.settings("broken");
        let password = settings.password()?;
        let shown = password.filter(|_| self.has(Fault::ShowsThePassword));
        if let Some(password) = shown {
            return Err(Error::new(ErrorKind::Config, "broken", password.reveal()));
        }
        if !self.has(Fault::OpensAnything) {
            settings.finish()?;
        }
        let host = address.hosts().first().map_or("none", |host| &host.name);
        if host == "absent" {
            let kind = match self.has(Fault::BlamesTheAddress) {
                true => ErrorKind::Config,
                false => ErrorKind::Unavailable,
            };
            return Err(error(kind));
        }
        let space = self.space(host);
        Ok(handle::open(&self.broker, space, self.fault))
    }
}

#[async_trait]
impl Harness for Broken {
    fn driver(&self) -> &'static dyn Driver {
        self.driver
    }

    fn address(&self, space: &str) -> Address {
        format!("broken://{space}").parse().expect("an address")
    }

    fn control(&self) -> Option<Control> {
        let broker = Arc::clone(&self.driver.broker);
        Some(Control::from_fn(move |verb| broker.set_up(verb == "start")))
    }

    fn refused(&self) -> Vec<Refused> {
        let address = "broken://u:hunter2@x?nope=1".to_owned();
        vec![Refused {
            what: "an unknown key",
            address,
        }]
    }

    fn absent(&self) -> Option<Address> {
        Some("broken://absent".parse().expect("an address"))
    }

    async fn publish_outside(&self, space: &str, channel: &str, data: &[u8]) {
        let mut outgoing = Outgoing::new(channel, data.to_vec());
        outgoing.id = self.driver.has(Fault::NamesOutsiders).then(|| "x".into());
        let space = self.driver.space(space);
        self.driver.broker.publish(space, &outgoing, None);
    }

    async fn trim(&self, space: &str) {
        self.driver.broker.trim(self.driver.space(space));
    }
}
