//! The `hubplane` command.
fn main() {}
