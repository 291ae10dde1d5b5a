//! The coordinator on a real Postgres (one database a test) and a real archive in a directory, with stand-ins for agents over real HTTP.

mod agent;
mod harness;
mod idempotency;

mod archive;
mod audit;
mod bad_input;
mod channels;
mod drift;
mod dropped;
mod gc;
mod leaving;
mod logging;
mod loss;
mod members;
mod one_bad;
mod orchestration;
mod outages;
mod races;
mod replicas;
mod restores;
mod resync;
mod retention;
mod schedules;
mod settings;
mod slow_clients;
mod snapshots;
mod suite;
mod uploads;
