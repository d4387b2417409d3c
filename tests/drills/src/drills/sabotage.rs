//! Hubs that were built wrong on purpose: the checker must flag each.

use std::path::Path;

use crate::{
    Result,
    bench::{Bench, Cell},
};

pub(crate) async fn all(_bench: &mut Bench, _logs: &Path) -> Result<Vec<Cell>> {
    Ok(Vec::new())
}
