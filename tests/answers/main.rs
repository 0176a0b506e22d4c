//! The contract of answers, rule by rule: each test's name begins with the rule that it checks.
//!
//! One module a letter. The rules about sockets (C) and about asking upstreams (F3, F4) are tested where those are.

mod f;
mod h;
mod host;
mod kit;
mod n;
mod p;
mod remote;
mod s;
mod t;
mod v;
