//! The real binary, as processes: several hubs on real brokers behind a real nginx, the protocol on the wire, and
//! what a hostile client can do.

#![expect(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod abuse;
mod away;
mod bench;
mod client;
mod cluster;
mod command_line;
mod conformance;
mod demo;
mod door;
mod drain;
mod endpoint;
mod held_back;
mod http;
mod hub;
mod limits;
mod positions;
mod presence;
mod protocol;
mod recommend;
mod recovery;
mod recovery_client;
mod redis;
mod report;
mod security;
mod settings;
mod tls;
mod token_commands;
mod tokens;
