//! A TCP proxy between hub and broker that fails on demand.
