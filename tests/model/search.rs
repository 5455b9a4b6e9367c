//! Breadth-first search over all states that can be reached.

use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;

use crate::{
    rules::Rules,
    state::State,
    step::{Step, Violation, steps, take},
};

/// What a search came to.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) states: usize,
    /// The shortest way to something that must not happen, if there is one.
    pub(crate) violation: Option<(Violation, Vec<Step>)>,
}

#[derive(Default)]
struct Fast(u64);

impl Hasher for Fast {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

/// Takes these steps from the first state on. Each must be possible.
pub(crate) fn walk<const N: usize>(rules: &Rules, way: &[Step]) -> Result<State<N>, Violation> {
    go_on(State::new(rules.losses, rules.crashes), rules, way)
}

/// Takes these steps. Each must be possible.
pub(crate) fn go_on<const N: usize>(
    state: State<N>,
    rules: &Rules,
    way: &[Step],
) -> Result<State<N>, Violation> {
    way.iter().try_fold(state, |state, step| {
        take(&state, *step, rules).unwrap_or_else(|| panic!("{step:?} is not possible: {state:?}"))
    })
}

/// Visits every state that can be reached.
pub(crate) fn search<const N: usize>(rules: &Rules) -> Found {
    search_after::<N>(rules, &[])
}

/// Visits every state that can be reached after a beginning.
pub(crate) fn search_after<const N: usize>(rules: &Rules, beginning: &[Step]) -> Found {
    let first = walk::<N>(rules, beginning).expect("the beginning is in order");
    let mut numbers: HashMap<State<N>, (), BuildHasherDefault<Fast>> = HashMap::default();
    let mut visited = vec![(first, 0, Step::Adopt)];
    numbers.insert(first, ());
    let mut at = 0;
    while at < visited.len() {
        let state = visited[at].0;
        for step in steps(&state) {
            match take(&state, step, rules) {
                None => {}
                Some(Err(violation)) => {
                    let violation = Some((violation, way(&visited, at, step)));
                    return Found { states: visited.len(), violation };
                }
                Some(Ok(next)) => {
                    let next = next.canonical();
                    if numbers.insert(next, ()).is_none() {
                        visited.push((next, at, step));
                    }
                }
            }
        }
        at += 1;
    }
    Found { states: visited.len(), violation: None }
}

fn way<const N: usize>(visited: &[(State<N>, usize, Step)], at: usize, last: Step) -> Vec<Step> {
    let (mut way, mut at) = (vec![last], at);
    while at > 0 {
        way.push(visited[at].2);
        at = visited[at].1;
    }
    way.reverse();
    way
}
