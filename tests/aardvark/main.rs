//! The program under the name `aardvark-dns`, as netavark sees it: its arguments, its life, its messages, its settings. What
//! it answers is tested with real Podman and netavark elsewhere, how it reads the directory beside that code.

#[path = "../support/mod.rs"]
mod support;

mod command_line;
mod confined;
mod control;
mod docs;
mod ending;
mod forwarding;
mod kit;
mod living;
mod logging;
mod promise;
mod settings;
mod starting;
