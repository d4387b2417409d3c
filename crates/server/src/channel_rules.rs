//! What the rules of channels say of messages that come over HTTP: their size and their rate. Who
//! may publish at all is asked before.

use http::StatusCode;
use hubplane_backplane::Outgoing;
use hubplane_hub::{Grant, Limit};

use super::{context::Context, problem::Problem};

/// Returns 413 or 429 with the message's `index` unless all messages keep to their channels' rules.
pub(super) fn check(
    context: &Context,
    grant: &Grant,
    messages: &[Outgoing],
) -> Result<(), Problem> {
    for (index, message) in messages.iter().enumerate() {
        let most = grant.limits(&message.channel).message_bytes;
        if let Some(most) = most.filter(|most| message.data.len() > *most) {
            context.hub.counts().count_limited(Limit::MessageBytes);
            let detail = format!(
                "the limit message_bytes of this channel is reached: data has at most {most} bytes"
            );
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).with("index", index));
        }
    }
    let asks = (grant, context.peer.as_ref());
    let taken = context.limiter.publish(&context.hub, asks, messages);
    taken.map_err(|(index, limited)| Problem::limited(&limited).with("index", index))
}
