//! Tests of token checking as a user of the crate sees it: what is accepted, what is refused and
//! why, keys from files, and keys from a server.
//!
//! The private keys beside this file were made for these tests and are used nowhere else.
#![allow(
    clippy::unwrap_used,
    reason = "a test says by failing what it did not get"
)]

mod claims;
mod keys;
mod library;
mod make;
mod published;
mod random;
mod second;
mod server;
mod signing;
