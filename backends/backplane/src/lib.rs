//! The contract between the hub and a broker.
//!
//! A **backend** is a crate that implements [`Backplane`] for one broker and offers it by one static
//! [`Driver`]. The hub knows nothing else of it: no broker type crosses this crate, and a backend knows no
//! session, no hub and no client format. What differs between brokers is data, [`Capabilities`], that a program
//! can read and that the conformance suite holds against the real broker.
//!
//! The flow is one way: [`Backplane::publish`] hands a batch to the broker, and everything that this
//! instance shows its clients comes back as [`Event`]s, the echo of its own publications included.

mod address;
mod capabilities;
mod driver;
mod error;
mod event;
mod hex;
mod position;
mod publication;
mod secret;
mod settings;
mod spaces;
pub mod wire;

pub use address::{Address, Host};
pub use capabilities::{Capabilities, Delivery, Durability, Interest, OnRestart, Order, Replay};
pub use driver::{Backplane, Driver, History, Opened, Page, Start};
pub use error::{Error, ErrorKind, Result};
pub use event::{Event, EventSender, Events, GapCause, Listed, Scope, events};
pub use hex::HexText;
pub use position::{ParsePositionError, Position};
pub use publication::{Channel, MessageId, Origin, Outgoing, Publication, Receipt, Tags};
pub use secret::Secret;
pub use settings::{Settings, parse_duration};
pub use spaces::{Leaving, Spaces};
