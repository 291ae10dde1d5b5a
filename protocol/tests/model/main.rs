//! The report of `cargo model`: the models of `tests/model`, one line each; `--deep` for the larger bounds, a word to select by name.

#![expect(clippy::disallowed_methods, reason = "a report says how long it took")]
#![expect(clippy::unwrap_used, reason = "a check that can't go on has failed")]

use std::{io::Write as _, process::ExitCode, time::Instant};

#[path = "mod.rs"]
mod model;

use model::{
    bounds::{Depth, Named},
    check::check,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let depth = if arguments.iter().any(|argument| argument == "--deep") { Depth::Deep } else { Depth::Small };
    let words: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let mut code = ExitCode::SUCCESS;
    println!("{:<52} {:>10} {:>10} {:>6} {:>8}", "model", "states", "different", "depth", "time");
    for model in Named::ALL {
        let bounds = model.bounds(depth);
        if !words.is_empty() && !words.iter().any(|word| bounds.name.contains(word.as_str())) {
            continue;
        }
        let begun = Instant::now();
        let report = check(bounds, depth);
        let took = begun.elapsed().as_secs_f64();
        println!("{:<52} {:>10} {:>10} {:>6} {took:>7.1}s", report.name, report.states, report.unique, report.depth);
        let _ = std::io::stdout().flush();
        for why in report.broken.iter().map(String::as_str) {
            println!("{why}");
            code = ExitCode::FAILURE;
        }
        for sight in report.unreached {
            println!("not reached: {sight}");
            code = ExitCode::FAILURE;
        }
    }
    code
}
