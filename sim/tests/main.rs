//! The simulation holds, and would notice if something didn't.

mod mutants;
mod seeds;
