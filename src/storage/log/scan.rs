//! Records of the engine, as far as it takes to tell a crash from damage.
//!
//! A record is a head, the data of its entries, and a footer that says what is in it, with a
//! checksum. Data have checksums of their own, which are checked when they are read.

/// A record starts with its length and kind, and where its footer starts.
const HEADER_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;
/// Footers are indexes of a few bytes per entry. A longer claim is not one, and checking it for
/// every position would take quadratic time.
const FOOTER_BYTES_MAX: usize = 1024 * 1024;

/// Where, from `start` on, the first whole record of the file with this signature is.
pub(super) fn find_record(content: &[u8], start: usize, signature: u32) -> Option<usize> {
    // A file mostly ends in zeros, written ahead. They are skipped by the block but for the last
    // few: the first half of a record's head is never all zero.
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut start = start;
    while start < content.len() {
        let block = content.get(start..start + ZEROS.len());
        if block.is_some_and(|block| block == ZEROS) {
            start += ZEROS.len() - HEADER_BYTES / 2;
            continue;
        }
        let end = content.len().min(start + ZEROS.len());
        let mut places = start..end;
        let found = places
            .find(|at| content.get(*at..).is_some_and(|rest| starts_with_record(rest, signature)));
        if found.is_some() {
            return found;
        }
        start = end;
    }
    None
}

/// Where, from `start` on, records stop following each other although there is more than zeros.
pub(super) fn first_damaged(content: &[u8], start: usize, signature: u32) -> Option<usize> {
    let mut start = start;
    loop {
        let rest = content.get(start..)?;
        if rest.iter().all(|byte| *byte == 0) {
            return None;
        }
        if !starts_with_record(rest, signature) {
            return Some(start);
        }
        start += record_len(rest)?;
    }
}

/// Whether a whole record of the file with this signature starts here.
fn starts_with_record(bytes: &[u8], signature: u32) -> bool {
    record_footer(bytes).is_some_and(|footer| {
        footer.split_last_chunk::<CHECKSUM_BYTES>().is_some_and(|(items, sum)| {
            !items.is_empty() && crc32fast::hash(items) == u32::from_le_bytes(*sum) ^ signature
        })
    })
}

/// The length of the record that the bytes would start with, if they look like one.
fn record_len(bytes: &[u8]) -> Option<usize> {
    let (head, _) = bytes.split_first_chunk::<8>()?;
    // Length in the upper bytes, kind of compression (0 or 1) in the lowest.
    let head = u64::from_be_bytes(*head);
    if head & 0xfe != 0 || head >> 8 < HEADER_BYTES as u64 {
        return None;
    }
    usize::try_from(head >> 8).ok().filter(|len| *len <= bytes.len())
}

/// Its footer.
fn record_footer(bytes: &[u8]) -> Option<&[u8]> {
    let len = record_len(bytes)?;
    let (footer, _) = bytes.get(8..)?.split_first_chunk::<8>()?;
    let footer = usize::try_from(u64::from_be_bytes(*footer)).ok()?;
    if footer < HEADER_BYTES || len.checked_sub(footer)? > FOOTER_BYTES_MAX {
        return None;
    }
    bytes.get(footer..len)
}

/// The data of its entries, with their checksum, which has no signature.
fn record_data(bytes: &[u8]) -> Option<&[u8]> {
    let footer = record_footer(bytes)?;
    let end = record_len(bytes)?.checked_sub(footer.len())?;
    bytes.get(HEADER_BYTES..end)
}

/// Whether the data of the record are as they were written. A record may have none.
fn has_sound_data(bytes: &[u8]) -> bool {
    record_data(bytes).is_some_and(|data| {
        data.is_empty()
            || data
                .split_last_chunk::<CHECKSUM_BYTES>()
                .is_some_and(|(data, sum)| crc32fast::hash(data) == u32::from_le_bytes(*sum))
    })
}

/// Whether a record starts here that is whole but for one flipped bit.
///
/// A crash leaves any part of a record unwritten, with zeros or an older file's bytes in its place.
/// That may look like this only when what is missing is a single bit; then it counts as a crash.
pub(super) fn has_flipped_bit(bytes: &[u8], signature: u32) -> bool {
    if starts_with_record(bytes, signature) {
        // With sound data all but the kind of compression is right, and no crash changes that.
        return has_sound_data(bytes)
            || record_data(bytes).is_some_and(|data| flipped_byte(data, 0).is_some());
    }
    if has_sound_data(bytes) {
        let footer = record_footer(bytes).unwrap_or_default();
        let flipped = flipped_byte(footer, signature).and_then(|at| footer.get(at..));
        if flipped.is_some_and(|rest| rest.iter().any(|byte| *byte != 0)) {
            return true;
        }
    }
    head_has_flipped_bit(bytes, signature)
}

fn head_has_flipped_bit(bytes: &[u8], signature: u32) -> bool {
    let mut record = bytes.to_vec();
    let mut is_whole_with = |at: usize, bit: u8| {
        flip(&mut record, at, bit);
        let whole = starts_with_record(&record, signature) && has_sound_data(&record);
        flip(&mut record, at, bit);
        whole
    };
    (0..HEADER_BYTES).any(|at| (0..8).any(|bit| is_whole_with(at, bit)))
}

fn flip(bytes: &mut [u8], at: usize, bit: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << bit;
    }
}

/// Which byte of a footer, or of data, must be another in one bit for its checksum to be right.
fn flipped_byte(footer: &[u8], signature: u32) -> Option<usize> {
    let (items, sum) = footer.split_last_chunk::<CHECKSUM_BYTES>()?;
    let signed = crc32fast::hash(items) ^ u32::from_le_bytes(*sum);
    if (1..=signature).contains(&signed) {
        return None; // right, in a file that was reused: left from its earlier life
    }
    let wrong = signed ^ signature;
    if wrong.is_power_of_two() {
        let byte = usize::try_from(wrong.trailing_zeros() / 8).unwrap_or_default();
        return Some(items.len() + byte);
    }
    // What flipping each bit of a byte does to the checksum, from the last byte on backwards.
    let mut effects: [u32; 8] = std::array::from_fn(|bit| 1 << bit);
    (0..items.len()).rev().find(|_| {
        effects = effects.map(pass_byte);
        effects.contains(&wrong)
    })
}

/// What becomes of a difference in the checksum's register when one more byte passes.
fn pass_byte(difference: u32) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    (0..8).fold(difference, |register, _| {
        let carry = if register & 1 == 1 { POLYNOMIAL } else { 0 };
        (register >> 1) ^ carry
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: u32 = 5;

    /// A record with these bytes as data and as footer.
    fn record(data: &[u8], items: &[u8], signature: u32) -> Vec<u8> {
        let data = [data, &crc32fast::hash(data).to_le_bytes()].concat();
        let footer_at = HEADER_BYTES + data.len();
        let len = footer_at + items.len() + CHECKSUM_BYTES;
        let mut record = Vec::new();
        record.extend(((len as u64) << 8).to_be_bytes());
        record.extend((footer_at as u64).to_be_bytes());
        record.extend(&data);
        record.extend(items);
        record.extend((crc32fast::hash(items) ^ signature).to_le_bytes());
        record
    }

    /// Every single bit of head, data and footer.
    #[test]
    fn each_flipped_bit_is_recognised() {
        let (data, items) = ([0xaa; 40], [1, 2, 3, 0x55, 9, 8, 7, 0xff, 4, 200]);
        let whole = record(&data, &items, SIGNATURE);
        assert!(starts_with_record(&whole, SIGNATURE));
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                let as_if_reused = at == whole.len() - CHECKSUM_BYTES && [0, 2].contains(&bit);
                damaged.extend([0; 100]);
                let found = has_flipped_bit(&damaged, SIGNATURE);
                assert_eq!(found, !as_if_reused, "byte {at}, bit {bit}");
            }
        }
    }

    /// Neither a record that was cut anywhere, nor what a reused file still holds.
    #[test]
    fn what_a_crash_leaves_is_not_damage() {
        for seed in 0..200_u8 {
            let items = [seed, 2, 3, seed.wrapping_mul(7), 9];
            let whole = record(&[seed; 20], &items, SIGNATURE);
            for cut in 0..whole.len() {
                let mut torn = whole[..cut].to_vec();
                torn.resize(whole.len() + 64, 0);
                let lost = whole[cut..].iter().any(|byte| *byte != 0);
                assert!(!lost || !has_flipped_bit(&torn, SIGNATURE), "seed {seed}, cut at {cut}");
            }
            for old in 1..SIGNATURE {
                assert!(!has_flipped_bit(&record(&[seed; 20], &items, old), SIGNATURE));
            }
        }
    }
}
