//! The clients: a socket each, subscribed, and read from as fast as it comes.

use std::{cell::RefCell, collections::HashSet, io, net::SocketAddr, rc::Rc};

use tokio::net::TcpStream;

use crate::{
    Failure,
    heard::Heard,
    protocol::{Protocol, Said},
    websocket::{Opening, PING, TEXT, frame, next, pong, send},
};

/// Connects and subscribes.
/// Connects and subscribes, and returns when every subscription is confirmed.
///
/// # Errors
///
/// The server refuses, closes, or greets otherwise than its protocol says.
pub(crate) async fn open(
    protocol: &'static dyn Protocol,
    address: SocketAddr,
    channels: Vec<String>,
) -> Result<Opening, Failure> {
    let mut socket = Opening::connect(address, protocol.path()).await?;
    // Some servers wait to be greeted, others speak first.
    if let Some(hello) = protocol.hello() {
        socket.say(hello).await?;
    }
    let greeting = match protocol.greets() {
        true => socket.hear().await?,
        false => String::new(),
    };
    if protocol.greets() && protocol.read(&greeting) != Said::Greeting {
        return Err(format!("no greeting: {greeting}").into());
    }
    for channel in &channels {
        socket.say(&protocol.subscribe(channel, &greeting)).await?;
    }
    // Confirmations are counted and not matched by name, which not every protocol has in them.
    let mut waiting: HashSet<_> = channels.iter().collect();
    while !waiting.is_empty() {
        let text = socket.hear().await?;
        match protocol.read(&text) {
            Said::Subscribed => {
                let one = waiting.iter().next().copied();
                one.map(|channel| waiting.remove(channel));
            }
            // A ping may come in between, and must be answered at once.
            Said::Ping(answer) => socket.say(answer).await?,
            Said::Refused => return Err(format!("no subscription: {text}").into()),
            Said::Greeting | Said::Published | Said::Nothing => {}
        }
    }
    Ok(socket)
}

/// Reads what the server sends until it closes; `buffer` is everybody's.
///
/// The end of a connection counts as closed by the server; a measurement that is over drops the
/// task before.
pub(crate) async fn listen(
    stream: Rc<TcpStream>,
    mut rest: Vec<u8>,
    buffer: Rc<RefCell<Vec<u8>>>,
    heard: Rc<Heard>,
) {
    while stream.readable().await.is_ok() {
        // The borrow of the buffer ends with the read, before anything is awaited.
        let mut answer = Vec::new();
        match read(&stream, &mut rest, &mut buffer.borrow_mut(), |bytes| {
            frames(bytes, &heard, &mut answer)
        }) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => break,
        }
        if !answer.is_empty() && send(&stream, &answer).await.is_err() {
            break;
        }
    }
    heard.closed.set(heard.closed.get() + 1);
}

/// One read; what is no whole frame yet stays in `rest`.
///
/// The usual read has whole frames only, and then nothing is copied.
fn read(
    stream: &TcpStream,
    rest: &mut Vec<u8>,
    buffer: &mut [u8],
    mut take: impl FnMut(&[u8]) -> usize,
) -> io::Result<usize> {
    let count = stream.try_read(buffer)?;
    if rest.is_empty() {
        let used = take(&buffer[..count]);
        rest.extend_from_slice(&buffer[used..count]);
    } else {
        rest.extend_from_slice(&buffer[..count]);
        let used = take(rest);
        rest.drain(..used);
    }
    Ok(count)
}

/// Handles all whole frames; how many bytes they took.
///
/// A close frame needs no answer here: the end of the connection follows.
fn frames(bytes: &[u8], heard: &Heard, answer: &mut Vec<u8>) -> usize {
    let mut used = 0;
    while let Some((kind, payload, end)) = next(&bytes[used..]) {
        let payload = &bytes[used..][payload];
        match kind {
            TEXT => {
                if let Some(text) = heard.text(payload) {
                    answer.extend(frame(TEXT, text.as_bytes()));
                }
            }
            PING => answer.extend(pong(payload)),
            _ => {}
        }
        used += end;
    }
    used
}
