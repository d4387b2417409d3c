//! What the streams are called, and which channel is in which.

/// The keys of a prefix's streams.
#[derive(Debug)]
pub(crate) struct Keys {
    streams: Vec<String>,
    tokens: Vec<String>,
    meta: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str, streams: u32) -> Self {
        let key = |n| format!("{prefix}stream:{{{n}}}");
        Self {
            streams: (0..streams).map(key).collect(),
            tokens: (0..streams).map(|n| key(n) + ":epoch").collect(),
            meta: format!("{prefix}meta"),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.streams.len()).expect("invariant: the settings allow 64")
    }

    pub(crate) fn streams(&self) -> &[String] {
        &self.streams
    }

    pub(crate) fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Holds the number of streams.
    pub(crate) fn meta(&self) -> &str {
        &self.meta
    }

    pub(crate) fn stream(&self, lane: u32) -> &str {
        &self.streams[lane as usize]
    }

    pub(crate) fn token(&self, lane: u32) -> &str {
        &self.tokens[lane as usize]
    }

    /// The stream of a channel.
    pub(crate) fn lane(&self, channel: &str) -> u32 {
        u32::from(crc16(channel.as_bytes())) % self.count()
    }
}

/// CRC-16/XMODEM, as Redis Cluster's key slots.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        let start = crc ^ (u16::from(*byte) << 8);
        (0..8).fold(start, |crc: u16, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => (crc << 1) ^ 0x1021,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_spread_as_is_documented() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        let keys = Keys::new("p:", 4);
        assert_eq!(
            (keys.lane("123456789"), keys.stream(3)),
            (3, "p:stream:{3}")
        );
        assert_eq!(keys.token(0), "p:stream:{0}:epoch");
    }
}
