//! Lists: one page, or all of them.

use clap::Args;
use serde::Serialize;
use stillframe_api::{ClientError, Page, cluster::PageQuery, page::MAX_LIMIT};

use crate::{
    error::CliError,
    output::{Output, note},
};

/// Which part of a list.
#[derive(Debug, Clone, Args)]
pub struct PageArgs {
    /// How many items at most (1 to 500) [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: Option<u32>,
    /// Where to go on: the cursor that the page before ended with
    #[arg(long)]
    pub cursor: Option<String>,
    /// The whole list, page after page
    #[arg(long, conflicts_with_all = ["limit", "cursor"])]
    pub all: bool,
}

impl PageArgs {
    /// Fetches the page, or all of them as one.
    ///
    /// # Errors
    /// Whatever fetching a page fails with.
    pub async fn fetch<T>(self, page: impl AsyncFn(PageQuery) -> Result<Page<T>, ClientError>) -> Result<Page<T>, CliError> {
        if !self.all {
            return Ok(page(PageQuery { limit: self.limit, cursor: self.cursor }).await?);
        }
        let mut whole = Page { items: Vec::new(), next_cursor: None };
        loop {
            let next = page(PageQuery { limit: Some(MAX_LIMIT), cursor: whole.next_cursor.take() }).await?;
            whole.items.extend(next.items);
            match next.next_cursor {
                Some(cursor) => whole.next_cursor = Some(cursor),
                None => return Ok(whole),
            }
        }
    }
}

/// Prints a page; a person is told how to see the rest.
///
/// # Errors
/// As [`Output::result`].
pub fn print<T: Serialize>(out: &mut Output, page: &Page<T>, text: impl FnOnce(&[T]) -> String) -> Result<(), CliError> {
    out.result(page, |page| text(&page.items))?;
    if let Some(cursor) = page.next_cursor.as_ref().filter(|_| !out.is_json()) {
        note(format_args!("there are more: add --all, or --cursor {cursor}"));
    }
    Ok(())
}
