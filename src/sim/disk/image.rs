//! [`Image`]: the state of a member as one ordered map that is cheap to copy.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use bytes::{Buf, BufMut, Bytes};

use crate::{
    state::{Cursor, Family, MapCursor, View, Writes},
    types::Fault,
};

type Records = BTreeMap<(Family, Bytes), Bytes>;

/// The state as of one moment. Copies share their records until one of them is written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    records: Arc<Records>,
    /// The sum of the hashes of all records: kept up with each write instead of computed.
    hash: u64,
}

impl Image {
    /// Puts the writes in.
    pub(super) fn commit(&mut self, writes: Writes) {
        for (family, start, end) in writes.dropped_ranges {
            let range = (family, start)..(family, end);
            let dropped: Vec<_> = self.records.range(range).map(|(key, _)| key.clone()).collect();
            dropped.into_iter().for_each(|key| self.put(key, None));
        }
        for (key, value) in writes.records {
            self.put(key, value);
        }
    }

    fn put(&mut self, key: (Family, Bytes), value: Option<Bytes>) {
        let records = Arc::make_mut(&mut self.records);
        if let Some(old) = records.remove(&key) {
            self.hash = self.hash.wrapping_sub(record_hash(&key, &old));
        }
        if let Some(value) = value {
            self.hash = self.hash.wrapping_add(record_hash(&key, &value));
            records.insert(key, value);
        }
    }

    /// The same for equal records, whichever way they came about.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// All records as bytes, to be sent to another member.
    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = Vec::new();
        for ((family, key), value) in self.records.iter() {
            let name = family.name().as_bytes();
            for part in [name, key, value] {
                bytes.put_u32(u32::try_from(part.len()).expect("a record is far below 4 GiB"));
                bytes.put_slice(part);
            }
        }
        bytes.into()
    }

    /// The image whose bytes these are.
    pub(super) fn decode(mut bytes: Bytes) -> Result<Self, Fault> {
        let mut image = Self::default();
        while bytes.has_remaining() {
            let (name, key, value) = (part(&mut bytes)?, part(&mut bytes)?, part(&mut bytes)?);
            let family = Family::ALL.into_iter().find(|family| family.name().as_bytes() == name);
            let family = family.ok_or_else(|| Fault::new("an image names an unknown family"))?;
            image.put((family, key), Some(value));
        }
        Ok(image)
    }
}

fn record_hash((family, key): &(Family, Bytes), value: &Bytes) -> u64 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(family.name().as_bytes());
    // With the length of the key, so that no byte can wander between key and value.
    hash.update(&(key.len() as u64).to_le_bytes());
    hash.update(key);
    let key_hash = hash.clone().finalize();
    hash.update(value);
    // Spread over 64 bits, so that sums of several records do not meet.
    let both = u64::from(key_hash) << 32 | u64::from(hash.finalize());
    both.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

fn part(bytes: &mut Bytes) -> Result<Bytes, Fault> {
    let cut = || Fault::new("an image ends inside a record");
    let len = bytes.try_get_u32().map_err(|_| cut())?;
    let len = usize::try_from(len).map_err(|_| cut())?;
    if len > bytes.len() { Err(cut()) } else { Ok(bytes.split_to(len)) }
}

impl View for Image {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        Ok(self.records.get(&(family, Bytes::copy_from_slice(key))).cloned())
    }

    fn cursor<'a>(
        &'a self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + 'a>, Fault> {
        Ok(Box::new(MapCursor::new(start, end, move |start, end| {
            let low = Bound::Included((family, Bytes::copy_from_slice(start)));
            let high = match (end, family.next()) {
                (Some(end), _) => Bound::Excluded((family, Bytes::copy_from_slice(end))),
                (None, Some(next)) => Bound::Excluded((next, Bytes::new())),
                (None, None) => Bound::Unbounded,
            };
            let within = self.records.range((low, high));
            Box::new(within.map(|((_, key), value)| (&key[..], &value[..])))
        })))
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::state::Direction;

    fn image(records: &[(Family, &'static str)]) -> Image {
        let mut writes = Writes::default();
        for (family, key) in records {
            let value = Some(Bytes::from(format!("value of {key}")));
            writes.records.insert((*family, Bytes::from(*key)), value);
        }
        let mut image = Image::default();
        image.commit(writes);
        image
    }

    fn keys(image: &Image, end: Option<&str>, direction: Direction) -> Vec<String> {
        let mut keys = Vec::new();
        let mut visit = |key: &[u8], _: &[u8]| {
            keys.push(String::from_utf8(key.to_vec()).unwrap());
            Ok(ControlFlow::Continue(()))
        };
        let end = end.map(str::as_bytes);
        image.scan(Family::Versions, b"b", end, direction, &mut visit).unwrap();
        keys
    }

    /// A scan stays in its family and its bounds, in both directions.
    #[test]
    fn scans_are_bounded() {
        let versions = ["a", "b", "c", "d"].map(|key| (Family::Versions, key));
        let mut records = versions.to_vec();
        records.extend([(Family::Current, "b"), (Family::Events, "b")]);
        let image = image(&records);
        assert_eq!(keys(&image, None, Direction::Forward), ["b", "c", "d"]);
        assert_eq!(keys(&image, None, Direction::Backward), ["d", "c", "b"]);
        assert_eq!(keys(&image, Some("d"), Direction::Backward), ["c", "b"]);
        assert!(keys(&image, Some("a"), Direction::Forward).is_empty());
    }

    /// What is sent to another member arrives whole, or not at all.
    #[test]
    fn images_round_trip() {
        let image = image(&[(Family::Current, "a"), (Family::Meta, "b")]);
        let bytes = image.encode();
        assert_eq!(Image::decode(bytes.clone()).unwrap(), image);
        assert!(Image::decode(bytes.slice(..bytes.len() - 1)).is_err());
    }

    /// A copy keeps showing what it showed.
    #[test]
    fn copies_are_independent() {
        let mut current = image(&[(Family::Current, "a")]);
        let before = current.clone();
        let mut writes = Writes::default();
        let range = (Family::Current, Bytes::from("a"), Bytes::from("b"));
        writes.dropped_ranges.push(range);
        current.commit(writes);
        assert_eq!(current.get(Family::Current, b"a").unwrap(), None);
        assert_eq!(current, Image::default(), "the hash is back where it was");
        assert!(before.get(Family::Current, b"a").unwrap().is_some());
    }
}
