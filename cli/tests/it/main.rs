//! The command as its callers see it: exit codes, messages, JSON. One binary, so that it links once.

mod audit;
mod bad_input;
mod changes;
mod closed_pipe;
mod dev;
mod lists;
mod operate;
mod outcomes;
mod retention;
mod servers;
mod support;
mod usage;
mod verify;
