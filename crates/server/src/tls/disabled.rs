//! What stands in where the build has no TLS: a [`Tls`] that can't be made, so nothing of it is ever
//! called.

use std::{
    convert::Infallible,
    io,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::net::TcpStream;

use super::TlsError;
use crate::stream::Stream;

/// A server's certificate and key. This build has no TLS, so there is none.
#[derive(Clone, Debug)]
pub struct Tls(Infallible);

impl Tls {
    /// Reads a certificate and its key.
    ///
    /// # Errors
    /// Always: this build has no TLS.
    pub fn from_files(
        _certificate: impl Into<PathBuf>,
        _key: impl Into<PathBuf>,
    ) -> Result<Self, TlsError> {
        let sentence = "this build has no TLS: build it with the feature \"tls\"";
        Err(TlsError::new(sentence.to_owned()))
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// Never.
    pub const fn reload(&self) -> Result<(), TlsError> {
        match self.0 {}
    }

    pub(crate) async fn watch(self) {
        match self.0 {}
    }

    pub(crate) async fn handshake(&self, _socket: TcpStream) -> io::Result<Option<Secured>> {
        match self.0 {}
    }
}

/// A connection that there never is.
#[derive(Debug)]
pub(crate) struct Secured(Infallible);

impl Stream for Secured {
    fn read(&self, _buffer: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn write(&self, _bytes: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn write_vectored(&self, _slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self.0 {}
    }

    fn poll_read_ready(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }

    fn poll_write_ready(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }

    fn has_unsent(&self) -> bool {
        match self.0 {}
    }
}

impl Read for Secured {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _room: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}

impl Write for Secured {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.0 {}
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}
