//! The tests' S3 server on its own, for trying things by hand: prints the settings that `stillframe_e2e::s3::external` reads, and runs
//! until standard input ends.

use std::io::Read;

use stillframe_e2e::s3::S3Server;

fn main() {
    let server = S3Server::start();
    let bucket = server.bucket("by-hand");
    println!("export STILLFRAME_TEST_S3_ENDPOINT={} STILLFRAME_TEST_S3_BUCKET=by-hand", server.endpoint());
    for (name, value) in bucket.environment() {
        println!("export STILLFRAME_TEST_S3_{}={value}", name.trim_start_matches("AWS_"));
        println!("export {name}={value}");
    }
    println!("# archive: {}", bucket.archive_url());
    // Whether it ends or can't be read: then there is nobody left to stop it.
    drop(std::io::stdin().read_to_end(&mut Vec::new()));
}
