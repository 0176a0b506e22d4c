//! Forwarding (answers.md F2 to F4, H1, H4 to H6), through the public API of `callsign::forward`, against scripted upstreams
//! on real sockets.

mod support;
