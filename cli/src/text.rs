//! Text for people: times, sizes, tables, and nothing that could steer a terminal.

use comfy_table::{Table, presets};
use jiff::Timestamp;

/// The text without control characters (but line breaks), so that a label or a message from elsewhere can't steer the terminal.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// A time to the second, in UTC.
#[must_use]
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A time that may not have come: `-` then.
#[must_use]
pub fn time_or_dash(at: Option<Timestamp>) -> String {
    at.map_or_else(dash, time)
}

/// What stands where there is nothing to say.
#[must_use]
pub fn dash() -> String {
    "-".to_owned()
}

/// How long it took, to the millisecond.
#[must_use]
pub fn took(from: Timestamp, to: Timestamp) -> String {
    let ms = to.duration_since(from).as_millis().max(0);
    match ms {
        0..10_000 => format!("{ms} ms"),
        _ => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
    }
}

/// A number of bytes, to three digits.
#[must_use]
pub fn bytes(n: u64) -> String {
    let mut unit = "B";
    let mut scaled = n as f64;
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = next;
    }
    match (unit, scaled < 10.0) {
        ("B", _) => format!("{n} B"),
        (_, true) => format!("{scaled:.1} {unit}"),
        (_, false) => format!("{scaled:.0} {unit}"),
    }
}

/// A table without lines, its columns two spaces apart.
#[must_use]
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table.add_rows(rows);
    pad(&mut table);
    table.trim_fmt()
}

/// Names and values below each other; rows without a value are left out.
#[must_use]
pub fn facts<'a>(rows: impl IntoIterator<Item = (&'a str, Option<String>)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.add_rows(rows.into_iter().filter_map(|(name, value)| value.map(|value| [name.to_owned(), value])));
    pad(&mut table);
    table.trim_fmt()
}

fn pad(table: &mut Table) {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_as_people_write_them() {
        for (n, text) in [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (20_480, "20 KiB"), (5_368_709_120, "5.0 GiB")] {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn a_table_has_aligned_columns_and_no_trailing_spaces() {
        let rows = [["a".to_owned(), "1".to_owned()], ["longer".to_owned(), "2".to_owned()]];
        assert_eq!(table(["NAME", "N"], rows), "NAME    N\na       1\nlonger  2");
    }

    #[test]
    fn facts_without_a_value_are_left_out() {
        assert_eq!(facts([("id", Some("7".to_owned())), ("why", None)]), "id  7");
    }

    #[test]
    fn what_could_steer_a_terminal_is_not_printed() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\nc");
    }

    #[test]
    fn a_long_time_is_told_in_seconds() {
        let from = Timestamp::UNIX_EPOCH;
        let at = |ms: i64| Timestamp::from_millisecond(ms).expect("in range");
        assert_eq!(took(from, at(12)), "12 ms");
        assert_eq!(took(from, at(12_345)), "12.3 s");
    }
}
