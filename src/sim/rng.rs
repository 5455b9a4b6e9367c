//! [`Rng`]: the only source of chance in a simulated world.
//!
//! An algorithm of our own, so that a seed means the same run whatever happens to the versions of
//! other crates.

/// Xoshiro256** (Blackman, Vigna 2018), seeded through SplitMix64 as its authors advise.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The numbers that belong to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut at = seed;
        Self { state: std::array::from_fn(|_| split_mix(&mut at)) }
    }

    /// A stream of its own for one part of the world, so that a change in how much one part draws
    /// leaves the others as they were.
    #[must_use]
    pub fn fork(&self, part: u64) -> Self {
        let [a, b, c, d] = self.state;
        let mut at = a ^ b.rotate_left(13) ^ c.rotate_left(29) ^ d.rotate_left(43) ^ part;
        Self::new(split_mix(&mut at))
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number below `bound`, which is not 0. The bias of the remainder is far below what a
    /// simulation could notice.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is no number below 0");
        self.draw() % bound
    }

    /// A number `low <= n <= high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "an empty range from {low} to {high}");
        low + self.below(high - low + 1)
    }

    /// True `permille` times in a thousand.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1_000) < permille
    }

    /// One of `items`, of which there is at least one.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let at = self.below(items.len() as u64);
        let at = usize::try_from(at).expect("an index of a slice fits");
        items.get(at).expect("the index is below the length")
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn split_mix(at: &mut u64) -> u64 {
    *at = at.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*at ^ (*at >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of a seed are fixed for good: stored seeds rest on them. Computed with the
    /// authors' C code.
    #[test]
    fn the_numbers_of_a_seed_never_change() {
        let mut at = 0;
        assert_eq!(split_mix(&mut at), 0xe220_a839_7b1d_cdaf);
        let mut rng = Rng { state: [1, 2, 3, 4] };
        let numbers = [rng.draw(), rng.draw(), rng.draw(), rng.draw()];
        assert_eq!(numbers, [11_520, 0, 1_509_978_240, 1_215_971_899_390_074_240]);
    }

    /// Forks of one stream differ from each other and from it.
    #[test]
    fn forks_are_streams_of_their_own() {
        let rng = Rng::new(7);
        let (mut a, mut b, mut rest) = (rng.fork(1), rng.fork(2), rng.clone());
        let numbers = [a.draw(), b.draw(), rest.draw()];
        assert!(numbers[0] != numbers[1] && numbers[1] != numbers[2] && numbers[0] != numbers[2]);
    }
}
