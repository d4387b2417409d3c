//! TLS records in memory: bytes of a client in, its plaintext out, and plaintext in, bytes for the
//! client out. Pure: this file has no socket and no clock.
//!
//! It drives rustls's connection without buffers (`rustls::unbuffered`), since the one with buffers
//! keeps 4 KiB for each idle client. What must hold: an idle connection keeps no bytes here, and
//! what a client makes it keep is bounded.

use std::{cell::RefCell, io, sync::Arc};

use rustls::{ServerConfig, server::UnbufferedServerConnection, unbuffered::ConnectionState};

use super::room::Room;

/// Plaintext that is encrypted at once: two full records (RFC 8446, 5.1). So much may wait for a
/// client's socket outside of its outbox.
pub(super) const PLAIN_BYTES: usize = 32 * 1024;
/// Bytes of one read of a socket.
const READ_BYTES: usize = 16 * 1024;
/// Bytes of a client that may wait for the rest of their record or handshake message; rustls itself
/// takes no handshake message that is longer.
const KEPT_BYTES: usize = 64 * 1024;
/// Bytes of a client that may come one after another without any content, such as empty records.
/// More end the connection.
const EMPTY_BYTES: usize = 128 * 1024;

/// A thread's buffers, which all its connections share. They are borrowed only within a call.
struct Buffers {
    /// What a client sent: the kept bytes, and the next read behind them.
    incoming: Vec<u8>,
    /// Plaintext of several buffers, put together.
    plain: Vec<u8>,
    /// Records to be sent.
    outgoing: Room,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = const {
        RefCell::new(Buffers { incoming: Vec::new(), plain: Vec::new(), outgoing: Room::new() })
    };
}

/// One connection's TLS.
pub(super) struct Records {
    connection: Box<UnbufferedServerConnection>,
    /// The beginning of a record whose rest has not come yet.
    kept: Vec<u8>,
    /// Plaintext for which the reader had no room.
    arrived: Vec<u8>,
    /// Records that are not sent yet.
    pub(super) unsent: Vec<u8>,
    /// Bytes of records that came since the count was last taken, without their content.
    overhead: usize,
    /// The client sends no more.
    ended: bool,
    /// The client has broken the protocol, or its socket is broken. Only the alert that says the
    /// former may still be sent.
    failed: bool,
}

impl Records {
    /// # Errors
    /// The system gives no random numbers.
    pub(super) fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        let connection = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self {
            connection: Box::new(connection),
            kept: Vec::new(),
            arrived: Vec::new(),
            unsent: Vec::new(),
            overhead: 0,
            ended: false,
            failed: false,
        })
    }

    /// Returns true until both sides may send content.
    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Returns true if [`Records::read`] has an answer without asking the socket.
    pub(super) fn is_ready(&self) -> bool {
        self.ended || self.failed || !self.arrived.is_empty()
    }

    /// Returns true if the connection keeps no bytes, and no memory for some.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let buffers = [&self.kept, &self.arrived, &self.unsent];
        buffers.iter().all(|buffer| buffer.capacity() == 0)
    }

    /// Takes the count of bytes that were no content.
    pub(super) fn take_overhead(&mut self) -> usize {
        std::mem::take(&mut self.overhead)
    }

    /// Reads plaintext into `buffer`; `receive` reads from the socket, at most once. What is to be
    /// sent in answer is in `unsent` afterwards, also after an error.
    ///
    /// # Errors
    /// `WouldBlock`: no content has come. `InvalidData`: what came is not allowed, and the
    /// connection is of no use any more. Those of `receive`.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        receive: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.failed {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut content = Content::new(buffer);
        if !self.arrived.is_empty() {
            content.take(&std::mem::take(&mut self.arrived));
        } else if !self.ended {
            BUFFERS.with_borrow_mut(|buffers| {
                self.receive(&mut buffers.incoming, &mut content, receive)
            })?;
        }
        self.arrived = content.rest;
        match content.filled {
            0 if !self.ended => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    /// Reads once from the socket, behind what is kept, and processes the records that are whole.
    fn receive(
        &mut self,
        incoming: &mut Vec<u8>,
        content: &mut Content<'_>,
        receive: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        let kept = self.kept.len();
        incoming.resize(KEPT_BYTES + READ_BYTES, 0);
        incoming[..kept].copy_from_slice(&self.kept);
        let count = receive(&mut incoming[kept..kept + READ_BYTES])?;
        if count == 0 {
            // Without a word: whoever reads sees by the format whether something is missing.
            self.ended = true;
            return Ok(());
        }
        let all = &mut incoming[..kept + count];
        let used = self.process(all, content)?;
        let rest = &all[used..];
        if rest.len() > KEPT_BYTES || self.overhead > EMPTY_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.kept = rest.to_vec();
        Ok(())
    }

    /// Processes the records at the beginning of `bytes`. Returns how many bytes they have.
    fn process(&mut self, bytes: &mut [u8], content: &mut Content<'_>) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let status = self.connection.process_tls_records(&mut bytes[used..]);
            used += status.discard;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(io::Error::other)?;
                        used += record.discard;
                        content.take(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    queue(&mut self.unsent, |room| room.encode(&mut data))?;
                }
                // It is sent with everything else in `unsent`.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(_) => break,
                Err(error) => {
                    self.failed = true;
                    self.alert();
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
        self.overhead += used.saturating_sub(content.taken());
        Ok(used)
    }

    /// Puts what rustls wants to say after an error into `unsent`: why the connection ends.
    fn alert(&mut self) {
        // While it has something to say, rustls does not look at the bytes.
        while self.connection.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut data)) =
                self.connection.process_tls_records(&mut []).state
            && queue(&mut self.unsent, |room| room.encode(&mut data)).is_ok()
        {}
    }

    /// Encrypts up to [`PLAIN_BYTES`] of the buffers and gives the records to `send`, which returns
    /// how much the socket took. The rest stays in `unsent`. Returns how much plaintext was taken.
    /// `unsent` must be empty.
    ///
    /// # Errors
    /// Those of `send` except `WouldBlock`. `BrokenPipe`: the connection can't send any more.
    pub(super) fn write(
        &mut self,
        slices: &[io::IoSlice<'_>],
        send: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        BUFFERS.with_borrow_mut(|buffers| {
            let Buffers {
                plain, outgoing, ..
            } = buffers;
            let plain = gathered(slices, plain);
            outgoing.clear();
            self.encrypt(plain, outgoing)?;
            let sent = match send(outgoing.bytes()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                sent => sent?,
            };
            self.unsent.extend_from_slice(&outgoing.bytes()[sent..]);
            Ok(plain.len())
        })
    }

    /// Appends the records of `plain` to `outgoing`.
    fn encrypt(&mut self, plain: &[u8], outgoing: &mut Room) -> io::Result<()> {
        if self.failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        loop {
            // rustls wants to see what is kept of the client's bytes, although it reads none.
            let status = self.connection.process_tls_records(&mut self.kept);
            let discard = status.discard;
            match status.state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    return outgoing.encrypt(|room| traffic.encrypt(plain, room));
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    outgoing.encode(&mut data)?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                _ => return Err(io::ErrorKind::BrokenPipe.into()),
            }
            consume(&mut self.kept, discard);
        }
    }

    /// Puts the word that nothing more comes (`close_notify`, RFC 8446, 6.1) into `unsent`, where
    /// the connection still can.
    pub(super) fn close(&mut self) {
        if self.failed {
            return;
        }
        let state = self.connection.process_tls_records(&mut self.kept).state;
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
            // Without it the client only learns less surely that it has got everything.
            _ = queue(&mut self.unsent, |room| {
                room.encrypt(|room| traffic.queue_close_notify(room))
            });
        }
    }

    /// Sends what waits in `unsent`, as far as `send` takes it.
    ///
    /// # Errors
    /// Those of `send`; `WouldBlock` where something is left. After any other error the connection
    /// is of no use, and keeps nothing that would have to be sent.
    pub(super) fn send(
        &mut self,
        mut send: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match send(&self.unsent) {
                Ok(count @ 1..) => consume(&mut self.unsent, count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                broken => {
                    self.failed = true;
                    self.unsent = Vec::new();
                    broken?;
                    return Err(io::ErrorKind::WriteZero.into());
                }
            }
        }
        Ok(())
    }
}

/// Appends what `write` writes. This is for the handshake and for alerts; content goes by the
/// thread's own room.
fn queue(unsent: &mut Vec<u8>, write: impl FnOnce(&mut Room) -> io::Result<()>) -> io::Result<()> {
    let mut room = Room::new();
    write(&mut room)?;
    unsent.extend_from_slice(room.bytes());
    Ok(())
}

/// Removes what was used. An empty buffer keeps no memory.
fn consume(buffer: &mut Vec<u8>, count: usize) {
    if count == buffer.len() {
        *buffer = Vec::new();
    } else {
        buffer.drain(..count);
    }
}

/// Returns the beginning of the buffers, up to [`PLAIN_BYTES`]: the first one if it is alone or
/// large enough, else a copy, so that small pieces share a record.
fn gathered<'a>(slices: &'a [io::IoSlice<'_>], room: &'a mut Vec<u8>) -> &'a [u8] {
    let mut pieces = slices.iter().filter(|slice| !slice.is_empty());
    match (pieces.next(), pieces.next()) {
        (None, _) => return &[],
        (Some(first), next) if next.is_none() || first.len() >= PLAIN_BYTES => {
            return &first[..first.len().min(PLAIN_BYTES)];
        }
        _ => {}
    }
    room.clear();
    for slice in slices {
        let left = PLAIN_BYTES - room.len();
        room.extend_from_slice(&slice[..slice.len().min(left)]);
    }
    room
}

/// Where a read puts the content of records: into the reader's buffer, and what does not fit into
/// one of its own.
struct Content<'a> {
    buffer: &'a mut [u8],
    filled: usize,
    rest: Vec<u8>,
}

impl<'a> Content<'a> {
    const fn new(buffer: &'a mut [u8]) -> Self {
        Self {
            buffer,
            filled: 0,
            rest: Vec::new(),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let free = &mut self.buffer[self.filled..];
        let (fits, rest) = bytes.split_at(bytes.len().min(free.len()));
        free[..fits.len()].copy_from_slice(fits);
        self.filled += fits.len();
        self.rest.extend_from_slice(rest);
    }

    const fn taken(&self) -> usize {
        self.filled + self.rest.len()
    }
}
