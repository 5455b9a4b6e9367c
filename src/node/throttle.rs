//! [`Throttle`]: a few lines a second, however much there is to tell.

use std::sync::{Mutex, PoisonError};

use crate::types::Millis;

/// Lines of one kind in a second.
const LINES_PER_SECOND: u32 = 5;

/// Lets a few lines pass each second, and counts those that it holds back.
#[derive(Debug, Default)]
pub struct Throttle {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    second: u64,
    passed: u32,
    held_back: u64,
}

impl Throttle {
    /// Whether a line may be written now. If so: how many were held back since the last one.
    pub fn pass(&self, now: Millis) -> Option<u64> {
        let second = now.0 / 1_000;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.second != second {
            state.second = second;
            state.passed = 0;
        }
        if state.passed >= LINES_PER_SECOND {
            state.held_back += 1;
            return None;
        }
        state.passed += 1;
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five lines a second pass; the next one says how many did not.
    #[test]
    fn a_few_pass_and_the_others_are_counted() {
        let throttle = Throttle::default();
        let passed = |at: u64| (0..8).filter_map(|_| throttle.pass(Millis(at))).collect::<Vec<_>>();

        assert_eq!(passed(1_999), [0; 5]);
        assert_eq!(passed(2_000), [3, 0, 0, 0, 0]);
        assert_eq!(passed(2_999), [0; 0]);
        assert_eq!(passed(60_000), [11, 0, 0, 0, 0]);
    }
}
