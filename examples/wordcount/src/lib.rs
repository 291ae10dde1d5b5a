//! Counts the words of text files on several processes: a source reads the files, splitters cut lines into words, counters count them.
//! A process may be killed at any moment; after the rollback the counts are those of one plain pass over the files.
//!
//! | to find | look in |
//! | --- | --- |
//! | what a word is, and the plain pass | [`words`] |
//! | what the members say to each other | [`message`] |
//! | reading the files, with credits | [`source`] |
//! | cutting lines into words | [`splitter`] |
//! | counting | [`counter`] |
//! | one member process | [`member`] |
//! | the whole job: starts the members, restarts what dies, adds up | [`job`] |

pub mod counter;
pub mod job;
pub mod member;
pub mod message;
pub mod source;
pub mod splitter;
pub mod words;

/// Words and how often they stand in the files.
pub type Counts = std::collections::BTreeMap<String, u64>;
