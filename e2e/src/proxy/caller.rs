//! Which member calls, read from the first bytes of its call on the data plane: `SFRM`, a version, a length of two bytes, then names and numbers
//! as postcard writes them (see the agent's `link/preamble.rs`).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

const HEAD_BYTES: usize = 7;

/// Reads a call; gives its bytes, to be passed on, and the name of the member that calls.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(Vec<u8>, String)> {
    let mut bytes = vec![0; HEAD_BYTES];
    from.read_exact(&mut bytes).await?;
    let length = usize::from(u16::from_be_bytes([bytes[5], bytes[6]]));
    bytes.resize(HEAD_BYTES + length, 0);
    from.read_exact(&mut bytes[HEAD_BYTES..]).await?;
    let name = name(&bytes[HEAD_BYTES..]).ok_or_else(|| io::Error::other("no call of a member"))?;
    Ok((bytes, name))
}

/// The cluster, the generation, and then who calls.
fn name(body: &[u8]) -> Option<String> {
    let (_cluster, rest) = text(body)?;
    let varint = rest.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let (from, _) = text(&rest[varint..])?;
    std::str::from_utf8(from).ok().map(str::to_owned)
}

/// Names have at most 64 bytes, so their length is one byte.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_caller_is_read_and_nothing_is_lost() {
        let mut body = vec![4];
        body.extend(b"bank");
        body.extend([0x80, 0x02]);
        body.extend([2, b'p', b'1', 9, 9]);
        let mut call = b"SFRM\x01".to_vec();
        call.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        call.extend(&body);
        let sent = [call.as_slice(), b"frames"].concat();
        let mut from = sent.as_slice();
        assert_eq!(read(&mut from).await.unwrap(), (call, "p1".to_owned()));
        assert_eq!(from, b"frames");
    }
}
