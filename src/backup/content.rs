//! Records as bytes: the tag of a family, then key and value, each behind its length.

use bytes::{Buf, Bytes, BytesMut};
use prost::encoding::encode_varint;

use crate::state::Family;

/// Where the records end, and the totals begin: two numbers of eight bytes.
pub(super) const END: u8 = 0;
pub(super) const TOTALS_BYTES: usize = 16;
/// The longest varint.
const VARINT_BYTES_MAX: usize = 10;

/// The tag of a family. It means the same in all files for good.
pub(super) const fn tag(family: Family) -> u8 {
    match family {
        Family::Current => 1,
        Family::Versions => 2,
        Family::Events => 3,
        Family::Counts => 4,
        Family::Meta => 5,
        Family::Leases => 6,
        Family::Auth => 7,
    }
}

/// The family of a tag.
pub(super) fn family(of: u8) -> Option<Family> {
    Family::ALL.into_iter().find(|family| tag(*family) == of)
}

/// What stands before a key, or before a value when `family` is none.
pub(super) fn prefix(family: Option<Family>, len: usize, into: &mut Vec<u8>) {
    into.clear();
    into.extend(family.map(tag));
    encode_varint(len as u64, into);
}

/// Takes a key or a value, with its length before it, off the front of `bytes`. `Ok(None)`: there is
/// more of it to come. An error: its length is none, or more than the `left` bytes that can follow.
pub(super) fn take(bytes: &mut BytesMut, left: u64) -> Result<Option<Bytes>, ()> {
    let (mut len, mut read) = (0_u64, 0_usize);
    loop {
        if read >= VARINT_BYTES_MAX {
            return Err(());
        }
        let Some(byte) = bytes.get(read) else { return Ok(None) };
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * u32::try_from(read).map_err(drop)?;
        len |= bits.checked_shl(shift).filter(|it| it >> shift == bits).ok_or(())?;
        read += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    if len > left {
        return Err(());
    }
    let len = usize::try_from(len).map_err(drop)?;
    if bytes.len() - read < len {
        return Ok(None);
    }
    bytes.advance(read);
    Ok(Some(bytes.split_to(len).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tags differ, and lead back.
    #[test]
    fn tags_name_families() {
        for it in Family::ALL {
            assert_eq!(family(tag(it)), Some(it));
        }
        assert_eq!(family(END), None);
        assert_eq!(family(8), None);
    }

    /// A piece is taken once all of it is there.
    #[test]
    fn a_piece_is_taken_as_a_whole() {
        for len in [0, 1, 127, 128, 70_000] {
            let mut head = Vec::new();
            prefix(None, len, &mut head);
            let whole = [head, vec![7; len]].concat();
            for end in [0, 1, whole.len().saturating_sub(1)] {
                let mut part = BytesMut::from(&whole[..end.min(whole.len() - 1)]);
                assert_eq!(take(&mut part, u64::MAX), Ok(None), "{len} {end}");
            }
            let mut bytes = BytesMut::from(&[&whole[..], b"rest"].concat()[..]);
            assert_eq!(take(&mut bytes, len as u64).unwrap().unwrap().len(), len);
            assert_eq!(&bytes[..], b"rest");
        }
    }

    /// A length beyond what can follow is refused before anything is kept for it.
    #[test]
    fn impossible_lengths_are_refused() {
        assert_eq!(take(&mut BytesMut::from(&[5][..]), 4), Err(()));
        assert_eq!(take(&mut BytesMut::from(&[0xff; 11][..]), u64::MAX), Err(()));
        assert_eq!(
            take(
                &mut BytesMut::from(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2][..]),
                u64::MAX
            ),
            Err(())
        );
    }
}
