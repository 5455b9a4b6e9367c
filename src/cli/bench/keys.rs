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
}

/// The keys, and the value that all of them get.
#[derive(Debug)]
pub(super) struct Keys {
    count: u64,
    prefix: String,
    digits: usize,
    value: Bytes,
}

impl Keys {
    pub(super) fn new(args: &KeyArgs) -> Result<Self, Error> {
        let size = usize::try_from(args.key_size).map_err(Error::input)?;
        Ok(Self {
            count: args.keys,
            digits: size.saturating_sub(args.key_prefix.len()),
            prefix: args.key_prefix.clone(),
            value: value(usize::try_from(args.value_size).map_err(Error::input)?),
        })
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The key with this number.
    pub(super) fn key(&self, number: u64) -> Bytes {
        format!("{}{:0digits$}", self.prefix, number % self.count, digits = self.digits).into()
    }

    /// A key for this operation: the same in each run, and no two operations in a row near each other.
    pub(super) fn random_key(&self, operation: u64) -> Bytes {
        self.key(scramble(operation))
    }

    pub(super) fn value(&self) -> Bytes {
        self.value.clone()
    }
}

/// Bytes that do not compress, as stored data would seldom be all alike.
pub(super) fn value(size: usize) -> Bytes {
    (0_u64..).flat_map(|block| scramble(block).to_le_bytes()).take(size).collect()
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
        let args = KeyArgs { keys: count, key_size, value_size: 20, key_prefix: "k/".to_owned() };
        Keys::new(&args).unwrap()
    }

    /// Keys have the size asked for, unless their number needs more.
    #[test]
    fn keys_have_the_size_asked_for() {
        assert_eq!(keys(1000, 8).key(42), "k/000042");
        assert_eq!(keys(1_000_000, 4).key(123_456), "k/123456");
        assert_eq!(keys(1000, 8).value().len(), 20);
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
