//! A message's data: who published it, its number, and so many bytes that a change would show.

use serde::Deserialize;

/// As it is read back.
#[derive(Debug, Deserialize)]
pub(crate) struct Payload<'a> {
    #[serde(rename = "p")]
    pub(crate) publisher: &'a str,
    #[serde(rename = "s")]
    pub(crate) seq: u64,
}

impl Payload<'_> {
    /// JSON of about so many bytes.
    pub(crate) fn write(publisher: &str, seq: u64, bytes: usize) -> String {
        let mut text = format!("{{\"p\":\"{publisher}\",\"s\":{seq},\"x\":\"");
        let mut state = fnv(text.as_bytes());
        while text.len() + 2 < bytes {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            text.push(char::from(b'a' + (state >> 60) as u8));
        }
        text.push_str("\"}");
        text
    }
}

/// FNV-1a.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}
