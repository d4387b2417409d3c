//! Searches the highest rate at which a server loses nothing and stays within the limit of latency.

use std::time::Duration;

use hubplane_bench::scenario::Scenario;
use tokio::time::sleep;

use crate::{
    Failure, PAUSE, WARM_UP,
    measure::{Measured, Plan, measure},
    table::Figure,
    target::Target,
};

/// How long one step is measured.
/// Short, since a server that fails does so at once.
const STEP: Duration = Duration::from_secs(3);
/// The rate of the first step of [`ramp`] in messages a second; all servers hold it.
const FROM: f64 = 40.0;

/// Returns the most deliveries in a second to 1,000 subscribers of one channel with nothing lost and p99 within the
/// scenario's limit, and how the next step failed. Fails if even the first step fails, or if none does.
pub(crate) async fn ramp(target: &Target) -> Result<Vec<Figure>, Failure> {
    let (held, failed) = climb(target, &Scenario::find("fanout")?, FROM).await?;
    let (_, held) = held.ok_or("even the first step failed")?;
    let (due, failed) = failed.ok_or("no step failed")?;
    Ok(vec![
        Figure::new("deliveries/s", held.deliveries, 0),
        Figure::new("p99 ms", held.p99 as f64 / 1e3, 1),
        Figure::new("load, of its core", held.load, 2),
        Figure::new("the next step fails, messages/s", due, 0),
        Figure::new("with p99 ms", failed.p99 as f64 / 1e3, 0),
        Figure::new("lost", failed.lost as f64, 0),
        Figure::new("load, of its core", failed.load, 2),
    ])
}

pub(crate) type Step = (f64, Measured);

/// Doubles the rate until a step fails, then halves the last stretch twice: the last step that held, and the lowest that
/// did not.
///
/// Halved twice, the last stretch leaves an uncertainty of about a quarter.
pub(crate) async fn climb(
    target: &Target,
    scenario: &Scenario,
    from: f64,
) -> Result<(Option<Step>, Option<Step>), Failure> {
    let (mut held, mut failed): (Option<Step>, Option<Step>) = (None, None);
    let (mut rate, mut halvings) = (from, 2);
    // Also ends if every step holds up to the scenario's highest rate.
    while rate <= scenario.ladder.to {
        eprintln!("{}, {}: {rate:.0} messages/s", scenario.name, target.name);
        let plan = Plan {
            scenario,
            rate,
            warm_up: WARM_UP,
            length: STEP,
        };
        let one = measure(target, plan).await?;
        sleep(PAUSE).await;
        // Nothing may be missing, whatever the latency.
        let sound = one.lost + one.refused + one.closed == 0;
        let quick = u128::from(one.p99) <= scenario.limit().as_micros();
        match sound && quick {
            true => held = Some((rate, one)),
            false => failed = Some((rate, one)),
        }
        rate = match (&held, &failed) {
            (Some((held, _)), Some((failed, _))) if halvings > 0 => {
                halvings -= 1;
                // The arithmetic mean: the stretch is at most a doubling.
                (held + failed) / 2.0
            }
            (Some((held, _)), None) => held * 2.0,
            // Nothing held, or the halvings are used up.
            _ => break,
        };
    }
    Ok((held, failed))
}
