//! The command `stillframe`, as a library: the binary is one line around [`main`].
//!
//! | to find | look in |
//! | --- | --- |
//! | the command line | [`args`], [`parse`] |
//! | what each command does | [`commands`] |
//! | the demo | [`demo`] |
//! | exit codes, and which error has which | [`exit`], [`error`] |
//! | what is printed, and how | [`output`], [`text`], [`progress`] |
//! | the coordinator's settings: flags, environment, file | [`settings`] |
//! | finding the coordinator, waiting for it | [`connect`], [`wait`] |
//! | the log, signals | [`logging`], [`signals`] |

pub mod args;
pub mod commands;
pub mod connect;
pub mod demo;
pub mod error;
pub mod exit;
pub mod logging;
pub mod output;
pub mod parse;
pub mod progress;
pub mod run;
pub mod settings;
pub mod signals;
pub mod text;
pub mod wait;

pub use error::CliError;
pub use exit::Exit;
pub use run::main;
