//! Scenarios at the rates that servers are compared at.

use std::time::Duration;

use hubplane_bench::scenario::Scenario;

use crate::{
    Failure, WARM_UP,
    measure::{Measured, Plan, measure},
    table::Figure,
    target::Target,
};

/// 1,000 subscribers of one channel, published by HTTP.
pub(crate) async fn fanout(
    target: &Target,
    rate: f64,
    length: Duration,
) -> Result<Vec<Figure>, Failure> {
    let one = at(target, &Scenario::find("fanout")?, rate, length).await?;
    Ok(figures(&one, "CPU-µs a delivery"))
}

/// Each client has a channel of its own and publishes to itself, by its socket.
pub(crate) async fn own(target: &Target, length: Duration) -> Result<Vec<Figure>, Failure> {
    let mut scenario = Scenario::parse(include_str!("../own.toml"))?;
    if !target.protocol.protocol().echoes() {
        // Who publishes does not hear it: two share a channel, one on each instance, and a message is one delivery, too.
        // An odd number of channels would leave one client alone; the file has an even one.
        scenario.channels /= 2;
    }
    let one = at(target, &scenario, scenario.rate, length).await?;
    Ok(figures(&one, "CPU-µs a message"))
}

/// Measures a scenario at one rate.
async fn at(
    target: &Target,
    scenario: &Scenario,
    rate: f64,
    length: Duration,
) -> Result<Measured, Failure> {
    let plan = Plan {
        scenario,
        rate,
        warm_up: WARM_UP,
        length,
    };
    measure(target, plan).await
}

/// The rows of one measurement. `each` names the cost of the servers and the broker together.
fn figures(one: &Measured, each: &str) -> Vec<Figure> {
    vec![
        Figure::new(each, one.servers + one.broker, 1),
        Figure::new("of these the broker", one.broker, 1),
        Figure::new("deliveries/s", one.deliveries, 0),
        Figure::new("p50 ms", one.p50 as f64 / 1e3, 2),
        Figure::new("p99 ms", one.p99 as f64 / 1e3, 1),
        Figure::new("lost", one.lost as f64, 0),
        Figure::new("refused", one.refused as f64, 0),
        // What was closed or refused stands beside the latency, which would look good without it.
        Figure::new("sockets closed", one.closed as f64, 0),
        Figure::new("load, of its core", one.load, 2),
        Figure::new("load late, p99 ms", one.late as f64 / 1e3, 1),
    ]
}
