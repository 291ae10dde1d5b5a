//! Where a private Postgres listens.

use std::path::PathBuf;

/// The Unix socket in the URL of a private Postgres: `postgres://user@%2Fdir:5432/database`.
#[must_use]
pub fn socket_of(url: &str) -> Option<PathBuf> {
    let (_, rest) = url.split_once('@')?;
    let (host, rest) = rest.split_once(':')?;
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let mut directory = Vec::new();
    let mut bytes = host.bytes();
    while let Some(byte) = bytes.next() {
        directory.push(if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    Some(PathBuf::from(String::from_utf8(directory).ok()?).join(format!(".s.PGSQL.{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_found_in_the_url() {
        let url = "postgres://stillframe@%2Ftmp%2Fpg-1:5432/chaos?sslmode=disable";
        assert_eq!(socket_of(url), Some(PathBuf::from("/tmp/pg-1/.s.PGSQL.5432")));
        assert_eq!(socket_of("postgres://host/db"), None);
    }
}
