//! Buffers that grow by what rustls asks for: it writes into the room that it is given, and says how
//! much it needs where that is too little.

use std::io;

use rustls::unbuffered::{EncodeError, EncodeTlsData, EncryptError};

/// Why rustls wrote nothing.
enum Refused {
    /// It needs this many bytes.
    Room(usize),
    /// It can't write this at all.
    Never,
}

/// Appends records of the handshake, or an alert.
///
/// # Errors
/// `BrokenPipe`: the connection can't send any more.
pub(super) fn encoded<D>(buffer: &mut Vec<u8>, data: &mut EncodeTlsData<'_, D>) -> io::Result<()> {
    put(buffer, |room| {
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
pub(super) fn encrypted(
    buffer: &mut Vec<u8>,
    mut encrypt: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> io::Result<()> {
    put(buffer, |room| {
        encrypt(room).map_err(|error| match error {
            EncryptError::InsufficientSize(size) => Refused::Room(size.required_size),
            EncryptError::EncryptExhausted => Refused::Never,
        })
    })
}

fn put(
    buffer: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Refused>,
) -> io::Result<()> {
    let start = buffer.len();
    let mut outcome = write(&mut []);
    if let Err(Refused::Room(bytes)) = outcome {
        buffer.resize(start + bytes, 0);
        outcome = write(&mut buffer[start..]);
    }
    let written = outcome.map_err(|_refused| io::Error::from(io::ErrorKind::BrokenPipe))?;
    buffer.truncate(start + written);
    Ok(())
}
