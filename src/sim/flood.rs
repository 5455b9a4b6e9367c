//! [`Flood`]: far more to be written than the log takes.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::{
    node::{Error, Input},
    sim::{member::Member, plan, schedule::Event, world::Context},
    state::{Answer, Command, Put, Refused},
    types::MemberId,
};

type Outcome = oneshot::Receiver<Result<Result<Answer, Refused>, Error>>;

/// What a request of the flood stores, in bytes.
const VALUE_BYTES: usize = 64 * 1024;
/// Keys that it stores that under.
const KEYS: u64 = 8;
/// From one look to the next, in microseconds.
const TURN: u64 = 20_000;

/// Puts that wait at each member, as many as the world is to have.
#[derive(Debug, Default)]
pub struct Flood {
    waiting: BTreeMap<MemberId, Vec<Outcome>>,
    put: u64,
}

impl Flood {
    /// Fills up what waits at each member.
    pub fn rise(&mut self, members: &mut BTreeMap<MemberId, Member>, ctx: &mut Context) {
        ctx.schedule.after(TURN, Event::Flood);
        for (id, member) in members {
            let waiting = self.waiting.entry(*id).or_default();
            waiting.retain_mut(|outcome| outcome.try_recv() == Err(TryRecvError::Empty));
            while waiting.len() * VALUE_BYTES < ctx.config.flood_bytes {
                let Some(process) = member.process() else { break };
                self.put += 1;
                let Ok((sequence, outcome)) = process.shared.submit(put(self.put % KEYS)) else {
                    break;
                };
                waiting.push(outcome);
                member.post(Input::Proposal(sequence), ctx);
            }
        }
    }
}

fn put(number: u64) -> Command {
    Command::Put(Put {
        key: plan::load_key(number),
        value: Bytes::from_static(&[0; VALUE_BYTES]),
        lease: None,
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    })
}
