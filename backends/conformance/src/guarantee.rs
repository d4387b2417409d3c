//! What a case is about: the rows of the table that `hubplane conformance` prints.

/// A row of the table: one of the capabilities, or what every backend must do alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// In which order messages arrive.
    Order,
    /// How often an accepted message arrives while the connection holds.
    Delivery,
    /// Positions, and whether old messages can be read again.
    Replay,
    /// What an acknowledged publish has survived.
    Durability,
    /// What happens to accepted messages when the broker restarts.
    OnRestart,
    /// What arrives of channels that are not wanted.
    Interest,
    /// The largest payload, and that every payload arrives exactly.
    Payload,
    /// The longest channel name, and that every name arrives exactly.
    Channel,
    /// No capability, but the same on every broker: closing, wrong addresses, spaces, outside producers.
    Contract,
}

// A new row needs a case that is about it, or the command shows it as never tried.
impl Guarantee {
    /// All rows, in the order of the table of capabilities.
    pub const ALL: [Self; 9] = [
        Self::Order,
        Self::Delivery,
        Self::Replay,
        Self::Durability,
        Self::OnRestart,
        Self::Interest,
        Self::Payload,
        Self::Channel,
        Self::Contract,
    ];

    /// The name of the row, the same as in the table of capabilities.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Delivery => "delivery",
            Self::Replay => "replay",
            Self::Durability => "durability",
            Self::OnRestart => "on restart",
            Self::Interest => "interest",
            Self::Payload => "payload",
            Self::Channel => "channel",
            Self::Contract => "contract",
        }
    }
}
