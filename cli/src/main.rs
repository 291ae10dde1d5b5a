//! The binary `stillframe`. Everything is in the library, so that other binaries can be the same command.

use std::process::ExitCode;

fn main() -> ExitCode {
    stillframe::main()
}
