//! What is done beside the reading, now and then: a round puts a new token into the witness and
//! looks at the probe.
//!
//! It has a connection of its own for each round, because a broker that is short of memory stops
//! reading from any connection that publishes (<https://www.rabbitmq.com/docs/connection-blocked>),
//! and acknowledgements must go on. What a token proves is said in [`crate::witness`], what the
//! probe shows in [`crate::probe`].

use std::{sync::Arc, time::Duration};

use hubplane_backplane::{Error, Result};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use tokio::time::timeout;

use crate::{
    config::Config,
    declare::dead_letters,
    instance_queue::InstanceQueue,
    link::{Link, NOT_FOUND, explain, reply_code},
    nodes::Node,
    probe::Probe,
    shared::Shared,
};

/// How long a round may take. An ordinary broker needs milliseconds; one that is short of memory or
/// disk takes nothing.
const ROUND: Duration = Duration::from_secs(2);
/// The pause after a round in which the broker took no token.
const PAUSE: Duration = Duration::from_secs(30);

/// What came of a round.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) token: Token,
    /// The probe as it was left, to be given to the next round.
    pub(crate) probe: Probe,
    /// How long to wait for the next one.
    pub(crate) pause: Duration,
}

/// What became of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// It is in the witness.
    Put,
    /// The broker takes no messages now, or can't be reached.
    NotTaken,
    /// The broker can route nothing to the witness: it has not seen what was dropped since the last round.
    Blind,
}

/// Makes one round at the node that the instance reads from, within 2 s. Never fails: a round
/// without a token is a result, too.
pub(crate) async fn round(
    shared: Arc<Shared>,
    node: Node,
    queue: InstanceQueue,
    mut probe: Probe,
) -> Round {
    let mut token = Token::NotTaken;
    let made = async {
        let link = Link::dial_node(&shared.config, node, "guard").await?;
        make(&link, &shared.config, &queue, (&mut probe, &mut token)).await?;
        link.close().await;
        Ok::<_, Error>(())
    };
    // Used only if the token was not put, even if the broker answered.
    let why = match timeout(ROUND, made).await {
        Ok(Ok(())) => "it confirms nothing".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it does not answer".to_owned(),
    };
    let pause = match token {
        Token::Put => probe.pause(),
        Token::NotTaken | Token::Blind => PAUSE,
    };
    if token == Token::NotTaken {
        tracing::warn!(why, "RabbitMQ takes no messages now");
    }
    Round {
        token,
        probe,
        pause,
    }
}

/// Does the work of a round; `probe` and `token` keep what was reached if it is cut off.
async fn make(
    link: &Link,
    config: &Config,
    queue: &InstanceQueue,
    (probe, token): (&mut Probe, &mut Token),
) -> Result<()> {
    let failed = |error| explain(config, "looking for policies", error);
    let channel = link.channel().await.map_err(failed)?;
    let select = ConfirmSelectOptions::default();
    channel.confirm_select(select).await.map_err(failed)?;
    *token = put_token(&channel, config, queue).await;
    // A broker that takes nothing can't be tested with messages either.
    if *token == Token::Put {
        let looked = probe.look(&channel, queue, config).await;
        looked.map_err(failed)?;
    }
    Ok(())
}

/// Puts a token into the witness, on the way that dropped messages take: if it arrives, so would
/// they.
async fn put_token(channel: &Channel, config: &Config, queue: &InstanceQueue) -> Token {
    let Ok(number) = getrandom::u64() else {
        return Token::NotTaken;
    };
    // Unsaved on purpose: a restart must lose the token.
    let unsaved = BasicProperties::default().with_delivery_mode(1);
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let (exchange, key) = (dead_letters(config), queue.witness.as_str().into());
    let body = number.to_be_bytes();
    let put = channel.basic_publish(exchange, key, options, &body, unsaved);
    let confirmed = match put.await {
        Ok(confirm) => confirm.await,
        Err(error) => Err(error),
    };
    match confirmed {
        Ok(Confirmation::Ack(None)) => Token::Put,
        // Returned: the exchange has no binding to the witness any more.
        Ok(Confirmation::Ack(Some(_))) => Token::Blind,
        Err(error) if reply_code(&error) == Some(NOT_FOUND) => Token::Blind,
        Ok(_) | Err(_) => Token::NotTaken,
    }
}
