//! Lists with cursors.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The largest page that can be asked for; 50 unless told.
pub const MAX_LIMIT: u32 = 500;

/// The size of a page when none is asked for.
pub const DEFAULT_LIMIT: u32 = 50;

/// One page of a list. `next_cursor` is what to pass as `cursor` for the next one; null on the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items, newest first unless the route says otherwise.
    pub items: Vec<T>,
    /// Where the next page begins; opaque.
    pub next_cursor: Option<String>,
}
