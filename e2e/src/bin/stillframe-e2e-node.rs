//! `stillframe`, under a name that Cargo builds for the tests of this package.

use std::process::ExitCode;

fn main() -> ExitCode {
    stillframe_e2e::process::node::main()
}
