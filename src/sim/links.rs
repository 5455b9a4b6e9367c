//! [`Links`]: streams between the processes of members, and what travels on them.
//!
//! A stream goes from one process to another one and begins with a greeting, which says how its sender
//! stood when it was opened. It breaks when a frame cannot get through, and the next frame opens another
//! one. A frame is never ahead of the greeting of its stream; but frames of a stream overtake each other,
//! and a stream of a process that has ended may be heard after one of the next.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    node::{
        Greeting, Input,
        ports::{Checkpoint, Frame, StateStore},
    },
    sim::{
        config::Planted,
        frames::{Shown, frame_hash},
        schedule::{Event, Life},
        world::{Context, World},
    },
    types::{Fault, MemberId},
};

/// Bytes of a checkpoint that travel at once.
const CHUNK: usize = 64 * 1024;

/// The streams that are open.
#[derive(Debug, Default)]
pub struct Links {
    open: BTreeMap<(Life, Life), Way>,
    running: BTreeMap<MemberId, Life>,
    opened: u64,
}

/// The stream that a frame travels on.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The process that sent it.
    pub from: Life,
    /// The process that it was sent to.
    pub to: Life,
    /// The stream.
    pub number: u64,
    /// What its sender said when it was opened.
    pub greeting: Greeting,
}

impl Links {
    /// A process runs.
    pub fn begin(&mut self, life: Life) {
        self.running.insert(life.member, life);
    }

    /// A process has ended, and so have its streams.
    pub fn end(&mut self, life: Life) {
        self.running.remove(&life.member);
        self.open.retain(|(from, to), _| *from != life && *to != life);
    }

    /// The stream to a member, if that runs; `greeting` is what a new one begins with.
    fn way(&mut self, from: Life, to: MemberId, greeting: Greeting) -> Option<Way> {
        let to = *self.running.get(&to)?;
        let way = self.open.entry((from, to)).or_insert_with(|| {
            self.opened += 1;
            Way { from, to, number: self.opened, greeting }
        });
        Some(*way)
    }

    fn broken(&mut self, from: Life, to: Life) {
        self.open.remove(&(from, to));
    }
}

impl Context {
    /// Puts a frame on its way. A stream that it opens begins with `greeting`.
    pub fn send(&mut self, from: Life, greeting: Greeting, to: MemberId, frame: Frame) {
        let hash = frame_hash(&frame);
        let sender = from.member;
        self.note(
            &[12, sender.0, to.0, hash],
            format_args!("{sender} sends {to} {}", Shown(&frame)),
        );
        let Some(way) = self.links.way(from, to, greeting) else { return };
        if !self.network.connects(sender, to) {
            self.links.broken(from, way.to);
            return;
        }
        for delay in self.network.arrivals(true) {
            let frame = frame.clone();
            self.schedule.after(delay, Event::Arrival { way, frame });
        }
    }

    /// Puts a checkpoint on its way, which takes longer than a frame.
    pub fn send_checkpoint(
        &mut self,
        from: Life,
        to: MemberId,
        checkpoint: Checkpoint,
        message: Bytes,
    ) {
        let index = checkpoint.applied.index;
        self.note(
            &[13, from.member.0, to.0, index.0],
            format_args!("{} sends {to} a checkpoint at {index}", from.member),
        );
        let arrival = self.network.arrivals(false).first().copied();
        let carried = arrival.is_some() && self.network.connects(from.member, to);
        let delay = arrival.unwrap_or(0) * 5 + 1_000;
        let event = Event::CheckpointArrival { from, to, checkpoint, message, carried };
        self.schedule.after(delay, event);
    }
}

impl World {
    /// A frame reaches its receiver, or a broken connection is noticed, sooner or later.
    pub(super) fn arrive(&mut self, way: Way, frame: Frame) {
        let (members, ctx) = (&mut self.members, &mut self.ctx);
        let (from, to) = (way.from.member, way.to.member);
        let receiver = members.get_mut(&to).filter(|_| ctx.network.connects(from, to));
        if let Some(process) = receiver.and_then(|it| it.process_of(way.to)) {
            if process.is_deaf(ctx.schedule.now()) {
                return;
            }
            if process.hears_first_of(way.number) && ctx.config.planted != Planted::Unfenced {
                process.post(Input::Greeting(from, way.greeting), ctx);
            }
            process.post(Input::Frame(from, way.greeting.incarnation, frame), ctx);
            return;
        }
        ctx.links.broken(way.from, way.to);
        if let Some(process) = members.get_mut(&from).and_then(|it| it.process_of(way.from)) {
            process.post(Input::Unreachable(to), ctx);
        }
    }

    /// Copies a checkpoint from disk to disk, and tells both sides.
    pub(super) fn carry_checkpoint(
        &mut self,
        from: Life,
        to: MemberId,
        checkpoint: Checkpoint,
        message: Bytes,
        arrived: bool,
    ) -> Result<(), Fault> {
        let Some(sender) = self.members.get(&from.member) else { return Ok(()) };
        if sender.process().is_none_or(|process| process.life() != from) {
            return Ok(()); // it died with its sender
        }
        let source = sender.store().clone();
        let receiver = self.members.get_mut(&to).filter(|receiver| receiver.process().is_some());
        let receiver = receiver.filter(|_| arrived);
        let arrived = receiver.is_some();
        if let Some(receiver) = receiver {
            let target = receiver.store().clone();
            let stage = target.stage()?;
            for file in source.checkpoint_files(checkpoint.id)? {
                let mut offset = 0;
                while offset < file.len {
                    let chunk = source.checkpoint_read(checkpoint.id, &file.name, offset, CHUNK)?;
                    target.stage_write(stage, &file.name, offset, &chunk)?;
                    offset += chunk.len() as u64;
                }
            }
            let input = Input::Snapshot { from: from.member, stage, message };
            receiver.post(input, &mut self.ctx);
        }
        source.checkpoint_release(checkpoint.id);
        let input = Input::SnapshotSent { to, id: checkpoint.id, arrived };
        if let Some(sender) = self.members.get_mut(&from.member) {
            sender.post(input, &mut self.ctx);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Incarnation, Index};

    fn life(member: u64, boot: u64) -> Life {
        Life { member: MemberId(member), boot }
    }

    /// A stream keeps the greeting it was opened with; one that broke is followed by another.
    #[test]
    fn a_stream_begins_with_the_greeting_of_its_moment() {
        let (a, b) = (life(1, 1), life(2, 1));
        let at = |last| Greeting {
            incarnation: Incarnation(1),
            last: Index(last),
            ..Greeting::default()
        };
        let mut links = Links::default();
        assert!(links.way(a, b.member, at(5)).is_none(), "nobody is there");
        links.begin(b);
        let first = links.way(a, b.member, at(5)).unwrap();
        let same = links.way(a, b.member, at(9)).unwrap();
        assert_eq!((same.number, same.greeting.last), (first.number, Index(5)));
        links.broken(a, b);
        let next = links.way(a, b.member, at(9)).unwrap();
        assert!(next.number != first.number && next.greeting.last == Index(9));
        links.end(b);
        links.begin(life(2, 2));
        assert_eq!(links.way(a, b.member, at(9)).unwrap().to, life(2, 2));
    }
}
