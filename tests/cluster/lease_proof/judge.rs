//! Whether a history of locks and of what was written under them is one in which nobody wrote who did
//! not hold the lock.
//!
//! It is known of each lock below which prefix its claims lie: keys of which the one that was created
//! first has the lock. The revision of its creation is the fencing token, and whoever holds the lock
//! writes it into the lock's register, together with the key. What is held:
//!
//! - A write's claim was there when it was written, created at that revision, and of all claims it was
//!   the oldest.
//! - Tokens in a register never fall.
//! - What was acknowledged is there, at the revision that was told; what was refused had lost its claim.

use std::collections::{BTreeMap, BTreeSet};

use quorate::proto::mvccpb::{Event, event::EventType};

/// A lock that is contended for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lock {
    /// What clients call it.
    pub(super) name: &'static str,
    /// Where its claims lie.
    pub(super) claims: &'static str,
    pub(super) register: &'static str,
}

/// What a client said that it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Held { token: i64, key: String },
    Wrote { token: i64, revision: i64 },
    Fenced { token: i64 },
    Released,
}

impl Said {
    /// Reads a line; complaints and other words are none.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: &str| word.parse().ok();
        Some(match words.as_slice() {
            ["held", token, key] => Self::Held { token: number(token)?, key: (*key).to_owned() },
            ["wrote", token, revision, _] => {
                Self::Wrote { token: number(token)?, revision: number(revision)? }
            }
            ["fenced", token, _] => Self::Fenced { token: number(token)? },
            ["released", _] => Self::Released,
            _ => return None,
        })
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// What must not be, in words.
    pub(super) faults: Vec<String>,
    pub(super) writes: usize,
    pub(super) fenced: usize,
    /// The tokens under which something was written, of each lock.
    pub(super) tokens: BTreeMap<&'static str, BTreeSet<i64>>,
    /// Claims that there were.
    claims: BTreeSet<(String, i64)>,
    /// The creation revisions of claims that were deleted.
    ended: BTreeSet<i64>,
    /// Each write to a register: its revision and its token.
    written: BTreeMap<i64, i64>,
}

/// Judges all that happened, and all that clients said about it.
pub(super) fn judge(locks: &[Lock], events: &[Event], said: &[Said]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut standing: BTreeMap<String, i64> = BTreeMap::new();
    for event in events {
        let pair = event.kv.as_ref().expect("every event has a pair");
        let key = String::from_utf8_lossy(&pair.key).into_owned();
        let is_put = event.r#type() == EventType::Put;
        if let Some(lock) = locks.iter().find(|lock| lock.register == key) {
            let value = String::from_utf8_lossy(&pair.value);
            verdict.judge_write(lock, pair.mod_revision, &value, &standing);
        } else if is_put {
            standing.insert(key.clone(), pair.create_revision);
            verdict.claims.insert((key, pair.create_revision));
        } else if let Some(created) = standing.remove(&key) {
            verdict.ended.insert(created);
        }
    }
    for words in said {
        verdict.judge_words(words);
    }
    verdict
}

impl Verdict {
    fn judge_write(
        &mut self,
        lock: &Lock,
        revision: i64,
        value: &str,
        standing: &BTreeMap<String, i64>,
    ) {
        let mut words = value.split(' ');
        let token: Option<i64> = words.next().and_then(|word| word.parse().ok());
        let (Some(token), Some(claim)) = (token, words.next()) else {
            self.faults.push(format!("{revision}: {value:?} was written to {}", lock.register));
            return;
        };
        self.writes += 1;
        self.written.insert(revision, token);
        if standing.get(claim) != Some(&token) || !claim.starts_with(lock.claims) {
            self.faults.push(format!("{revision}: {value:?} was written without its claim"));
        }
        let claims = standing.iter().filter(|(key, _)| key.starts_with(lock.claims));
        if let Some((oldest, created)) = claims.min_by_key(|(_, created)| **created)
            && *created < token
        {
            self.faults.push(format!(
                "{revision}: {value:?} was written while {oldest} of {created} had the lock"
            ));
        }
        let tokens = self.tokens.entry(lock.name).or_default();
        if let Some(last) = tokens.last()
            && *last > token
        {
            self.faults.push(format!("{revision}: {value:?} was written after token {last}"));
        }
        tokens.insert(token);
    }

    fn judge_words(&mut self, words: &Said) {
        match words {
            Said::Held { token, key } => {
                if !self.claims.contains(&(key.clone(), *token)) {
                    self.faults.push(format!("{words:?}, but there was no such claim"));
                }
            }
            Said::Wrote { token, revision } => {
                if self.written.get(revision) != Some(token) {
                    self.faults.push(format!("{words:?}, but it was not written"));
                }
            }
            Said::Fenced { token } => {
                self.fenced += 1;
                if !self.ended.contains(token) {
                    self.faults.push(format!("{words:?}, but its claim stood"));
                }
            }
            Said::Released => {}
        }
    }
}
