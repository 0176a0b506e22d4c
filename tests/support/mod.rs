//! What the tests share.

pub mod upstream;
