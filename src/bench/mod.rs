//! `hubplane bench`: what each broker costs and gives through the hub, to the client.

pub mod results;
pub mod scenario;
