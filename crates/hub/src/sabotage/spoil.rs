//! Faults on what is about to reach the sessions.

use std::sync::{Mutex, PoisonError};

use super::{NAMED, due, is};
use crate::message::Message;

/// The message that its successor in the channel is to overtake.
static HELD: Mutex<Option<Message>> = Mutex::new(None);

/// `drop`, `repeat`, `swap`: on what is about to reach the sessions.
pub(crate) fn spoil(fresh: Vec<Message>) -> Vec<Message> {
    if !["drop", "repeat", "swap"].into_iter().any(is) {
        return fresh;
    }
    let mut spoilt = Vec::with_capacity(fresh.len());
    for message in fresh {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        let overtaken = held.take_if(|held| held.channel == message.channel);
        match &**NAMED {
            _ if overtaken.is_some() => {
                spoilt.push(message);
                spoilt.extend(overtaken);
            }
            "swap" if held.is_none() && due() => *held = Some(message),
            "drop" if due() => {}
            "repeat" if due() => {
                // With an id of its own, or a client would know it.
                let mut again = message.clone();
                again.id = Some("again".into());
                spoilt.extend([message, again]);
            }
            _ => spoilt.push(message),
        }
    }
    spoilt
}
