//! What a private server promises, against real ones.

mod binaries;
mod data_dir;
mod databases;
mod lifetime;
mod support;
