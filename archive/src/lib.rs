//! The archive: a bucket or a directory, its keys, its manifests, and what puts objects in and gets them out, each of them checked.
//!
//! | to find | look in |
//! | --- | --- |
//! | where an archive is, and how its store is opened | [`location`], [`store`] |
//! | opening, reading and listing an archive | [`archive`] |
//! | writing once, and resolving a lost answer by reading back | [`put`] |
//! | uploads in pieces, and who is told of them | [`upload`] |
//! | fetching, with length and digest checked first | [`get`] |
//! | what objects are called | [`key`] |
//! | what a manifest says of an object | [`object`], [`digest`] |
//! | encoding: from plain bytes to an object | [`encode`] |
//! | the plain bytes of an object, once they are verified | [`plain`] |
//! | messages in flight, unsent messages and timers of a member | [`channels`] |
//! | all messages that a snapshot holds, to add them up | [`messages`] |
//! | the manifest | [`manifest`] |
//! | proving a snapshot from the archive alone | [`verify`] |
//! | every object of a cluster | [`list`] |
//! | removing a snapshot, and how fast | [`delete`], [`pace`] |
//! | rebuilding a catalog: what there is, what is proved, where numbers go on | [`survey`], [`prove`], [`floors`] |
//! | trying out what a store does | [`probe`] |
//! | what can go wrong | [`error`] |
//!
//! The format is public: `docs/archive-format.md`.

pub mod archive;
pub mod channels;
pub mod delete;
pub mod digest;
pub mod encode;
pub mod error;
pub mod floors;
pub mod get;
pub mod key;
pub mod list;
pub mod location;
pub mod manifest;
pub mod messages;
pub mod object;
pub mod pace;
pub mod plain;
pub mod probe;
pub mod prove;
pub mod put;
pub mod store;
pub mod survey;
pub mod upload;
pub mod verify;

pub use archive::{Archive, FORMAT};
pub use channels::{ChannelRecord, ChannelsError, ChannelsReader, ChannelsWriter};
pub use delete::DeletedSnapshot;
pub use digest::Digest;
pub use encode::{EncodedObject, MEMORY_LIMIT_BYTES, ObjectWriter};
pub use error::ArchiveError;
pub use floors::Floors;
pub use key::{KeyError, ObjectKey};
pub use list::ListedObject;
pub use location::{ArchiveUrl, LocationError};
pub use manifest::{MANIFEST_TARGET_BYTES, MAX_MANIFEST_BYTES, Manifest, ManifestDigest, ManifestError, Part, inline_limit};
pub use messages::{Message, Messages};
pub use object::{Encoding, ObjectEntry, Place, Role};
pub use pace::Pace;
pub use plain::PlainObject;
pub use probe::{CreateIfAbsent, Probe, ProbeError};
pub use prove::ProvedSnapshot;
pub use store::{Credentials, StoreOptions};
pub use survey::Survey;
pub use upload::UploadLog;
pub use verify::{Problem, VerifiedSnapshot, VerifyError, check_part};
