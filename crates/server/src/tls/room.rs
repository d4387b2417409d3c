//! Buffers that grow by what rustls asks for: it writes into the room that it is given, and says how
//! much it needs where that is too little.

use std::io;

use rustls::unbuffered::{EncodeError, EncodeTlsData, EncryptError};

/// Bytes of records, at the beginning of a buffer. The buffer behind them is room that is kept, so
/// that a buffer that is used again and again need not be filled with zeros each time.
#[derive(Debug, Default)]
pub(super) struct Room {
    buffer: Vec<u8>,
    filled: usize,
}

/// Why rustls wrote nothing.
enum Refused {
    /// It needs this many bytes.
    Room(usize),
    /// It can't write this at all.
    Never,
}

impl Room {
    /// An empty buffer. Allocates nothing.
    pub(super) const fn new() -> Self {
        Self {
            buffer: Vec::new(),
            filled: 0,
        }
    }

    /// Forgets the bytes, and keeps the room.
    pub(super) const fn clear(&mut self) {
        self.filled = 0;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Appends records of the handshake, or an alert.
    ///
    /// # Errors
    /// `BrokenPipe`: the connection can't send any more.
    pub(super) fn encode<D>(&mut self, data: &mut EncodeTlsData<'_, D>) -> io::Result<()> {
        self.put(|room| {
            data.encode(room).map_err(|error| match error {
                EncodeError::InsufficientSize(size) => Refused::Room(size.required_size),
                EncodeError::AlreadyEncoded => Refused::Never,
            })
        })
    }

    /// Appends what `encrypt` encrypts.
    ///
    /// # Errors
    /// `BrokenPipe`: the connection can't send any more.
    pub(super) fn encrypt(
        &mut self,
        mut encrypt: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
    ) -> io::Result<()> {
        self.put(|room| {
            encrypt(room).map_err(|error| match error {
                EncryptError::InsufficientSize(size) => Refused::Room(size.required_size),
                EncryptError::EncryptExhausted => Refused::Never,
            })
        })
    }

    fn put(
        &mut self,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, Refused>,
    ) -> io::Result<()> {
        let mut outcome = write(&mut self.buffer[self.filled..]);
        if let Err(Refused::Room(bytes)) = outcome {
            self.buffer.resize(self.filled + bytes, 0);
            outcome = write(&mut self.buffer[self.filled..]);
        }
        let written = outcome.map_err(|_refused| io::Error::from(io::ErrorKind::BrokenPipe))?;
        self.filled += written;
        Ok(())
    }
}
