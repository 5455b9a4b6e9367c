//! Which keys a benchmark uses, and what it writes into them.

use bytes::Bytes;
use clap::Args;

use crate::cli::error::Error;

/// The arguments of benchmarks that use many keys.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct KeyArgs {
    /// Different keys
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Bytes of a key; more, if its number needs them
    #[arg(long, value_name = "BYTES", default_value_t = 32, value_parser = clap::value_parser!(u32).range(..=65_536))]
    key_size: u32,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(..=16_777_216))]
    value_size: u32,
    /// What every key starts with
    #[arg(long, value_name = "TEXT", default_value = "bench/")]
    key_prefix: String,
    /// Chooses another sequence of random keys
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=SEED_MAX))]
    seed: u64,
}

/// Runs with different seeds draw from different parts of one sequence, each this long.
const SEED_SHIFT: u32 = 40;
const SEED_MAX: u64 = u64::MAX >> SEED_SHIFT;

/// The keys, and what is written into them.
#[derive(Debug)]
pub(super) struct Keys {
    count: u64,
    prefix: String,
    digits: usize,
    value_size: usize,
    /// From where on random keys are drawn.
    first_draw: u64,
    /// What a key in shuffled order is away from the one before it; shares no factor with the count.
    stride: u64,
}

impl Keys {
    pub(super) fn new(args: &KeyArgs) -> Result<Self, Error> {
        let size = usize::try_from(args.key_size).map_err(Error::input)?;
        Ok(Self {
            count: args.keys,
            digits: size.saturating_sub(args.key_prefix.len()),
            prefix: args.key_prefix.clone(),
            value_size: usize::try_from(args.value_size).map_err(Error::input)?,
            first_draw: args.seed << SEED_SHIFT,
            stride: stride(args.keys),
        })
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// What every key starts with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key with this number.
    pub(super) fn key(&self, number: u64) -> Bytes {
        format!("{}{:0digits$}", self.prefix, number % self.count, digits = self.digits).into()
    }

    /// A key for this operation: the same in each run, and no two operations in a row near each other.
    pub(super) fn random_key(&self, operation: u64) -> Bytes {
        self.key(scramble(self.first_draw.wrapping_add(operation)))
    }

    /// The key with this number in an order that jumps about, and takes each key once in a round.
    pub(super) fn shuffled_key(&self, number: u64) -> Bytes {
        let place = u128::from(number % self.count) * u128::from(self.stride);
        let place = place % u128::from(self.count);
        self.key(u64::try_from(place).expect("a remainder is smaller than the count"))
    }

    /// A value for this operation.
    pub(super) fn value(&self, operation: u64) -> Bytes {
        value(operation, self.value_size)
    }
}

/// Bytes that do not compress, and differ from operation to operation: stored data would seldom be
/// all alike, and an engine that found it so would keep next to nothing of it.
pub(super) fn value(operation: u64, size: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(size + size_of::<u64>());
    let mut word = scramble(operation);
    while bytes.len() < size {
        word = scramble(word);
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}

/// A number near the golden section of the count, which takes steps far apart, without a factor in
/// common with it, so that the steps reach every key.
fn stride(count: u64) -> u64 {
    let near = (u128::from(count) * 618 / 1000).max(1);
    let near = u64::try_from(near).expect("a part of a number is smaller than the number");
    (near..).find(|stride| common_factor(*stride, count) == 1).expect("a prime lies ahead")
}

fn common_factor(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { common_factor(other, one % other) }
}

/// The mixing function of splitmix64: every bit of the input reaches every bit of the output.
pub(super) fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: u64, key_size: u32) -> Keys {
        let key_prefix = "k/".to_owned();
        let args = KeyArgs { keys: count, key_size, value_size: 20, key_prefix, seed: 0 };
        Keys::new(&args).unwrap()
    }

    /// Keys have the size asked for, unless their number needs more.
    #[test]
    fn keys_have_the_size_asked_for() {
        assert_eq!(keys(1000, 8).key(42), "k/000042");
        assert_eq!(keys(1_000_000, 4).key(123_456), "k/123456");
        assert_eq!(keys(1000, 8).value(7).len(), 20);
    }

    /// No two values are alike, nor are the parts of one.
    #[test]
    fn values_differ() {
        assert_ne!(value(1, 32), value(2, 32));
        let words: std::collections::BTreeSet<Bytes> = (0..100)
            .flat_map(|operation| [0, 8].map(|start| value(operation, 16).slice(start..start + 8)))
            .collect();
        assert_eq!(words.len(), 200);
    }

    /// A round in shuffled order meets every key once, and neighbours only by chance.
    #[test]
    fn shuffled_order_is_a_permutation() {
        for count in [1, 2, 3, 128, 1000, 9973] {
            let keys = keys(count, 8);
            let met: std::collections::BTreeSet<Bytes> =
                (0..count).map(|number| keys.shuffled_key(number)).collect();
            assert_eq!(u64::try_from(met.len()).unwrap(), count);
        }
        assert_ne!(keys(1000, 8).shuffled_key(1), keys(1000, 8).key(1));
    }

    /// Random keys cover the whole space.
    #[test]
    fn random_keys_cover_the_space() {
        let keys = keys(16, 4);
        let drawn: std::collections::BTreeSet<Bytes> =
            (0..1000).map(|operation| keys.random_key(operation)).collect();
        assert_eq!(drawn.len(), 16);
    }
}
