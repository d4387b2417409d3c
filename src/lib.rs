//! hubplane: a WebSocket hub on the broker you already run.
