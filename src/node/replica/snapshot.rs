//! Checkpoints: made for members that lag behind the log, installed when this one does.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    node::{
        membership::to_voters,
        ports::{Checkpoint, CheckpointId, Frame, StageId},
        replica::Replica,
        retention::Retention,
        task::{ApplyTask, Chore, LogTask},
    },
    raft::{Position, Role},
    state::ConfState,
    types::{Fault, Index, MemberId},
};

/// Checkpoints under way.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    making: bool,
    /// Made for a lagging member that has not asked for it again yet.
    prepared: Option<Prepared>,
    /// On their way, with the entry each ends at: what comes after it is needed next.
    sending: BTreeMap<CheckpointId, Index>,
    /// Received, until consensus has decided whether to install it.
    received: Option<StageId>,
    installing: Option<Installing>,
}

#[derive(Debug)]
struct Prepared {
    id: CheckpointId,
    ticks_left: u32,
}

/// Ticks after which a checkpoint that nobody came for is let go: it holds on to disk space.
const PREPARED_TICKS_MAX: u32 = 300;

#[derive(Debug)]
struct Installing {
    number: u64,
    after_sync: Vec<(MemberId, Frame)>,
    /// Set once the checkpoint is the state and only the log has still to start anew.
    position: Option<Position>,
}

impl Snapshots {
    /// Whether a checkpoint is being installed. Until it is, consensus hands out nothing further:
    /// the log starts anew behind it.
    pub(super) fn is_installing(&self) -> bool {
        self.installing.is_some()
    }

    /// Whether this checkpoint was made and is not on its way.
    pub(super) fn is_prepared(&self, id: CheckpointId) -> bool {
        self.prepared.as_ref().is_some_and(|prepared| prepared.id == id)
    }

    /// The entry after which the log is needed by members that are being sent a checkpoint.
    pub(super) fn needed_after(&self) -> Option<Index> {
        self.sending.values().min().copied()
    }

    /// Rounds up to `number` are synced. Returns what is installed, when that was the last step:
    /// consensus counts nothing as applied that is not persisted.
    pub(super) fn persisted(&mut self, number: u64) -> Option<Position> {
        self.installing.take_if(|installing| installing.number <= number)?.position
    }
}

impl Replica {
    pub(super) fn receive_snapshot(&mut self, from: MemberId, stage: StageId, message: &Bytes) {
        // Whatever is ready now is not about this snapshot.
        self.drain_ready();
        if self.is_deaf() || self.snapshots.is_installing() || self.writing.is_full() {
            self.output.dropped_stages.push(stage);
            return;
        }
        self.snapshots.received = Some(stage);
        let stepped = self.core.step_snapshot(from, message);
        self.judge(from, stepped);
        self.drain_ready();
        self.output.dropped_stages.extend(self.snapshots.received.take());
    }

    /// Consensus wants the received checkpoint as the state.
    pub(super) fn install(
        &mut self,
        number: u64,
        position: Position,
        after_sync: Vec<(MemberId, Frame)>,
    ) {
        let Some(stage) = self.snapshots.received.take() else {
            self.output.fault =
                Some(Fault::new("a snapshot without a checkpoint is to be installed"));
            return;
        };
        tracing::info!(index = %position.index, "installing a checkpoint");
        self.snapshots.installing = Some(Installing { number, after_sync, position: None });
        self.apply_after(0, ApplyTask::Install(stage, position));
    }

    /// The checkpoint is the state now, durably; the log starts anew behind it.
    pub(super) fn installed(&mut self, position: Position) {
        self.applied = position;
        self.flushed = position.index;
        self.retention = Retention::default();
        let hard_state = self.writing.hard_state().committed_to(position.index);
        if let Some(installing) = &mut self.snapshots.installing {
            installing.position = Some(position);
            self.output.log.push(LogTask::Reset {
                number: installing.number,
                to: position,
                hard_state,
                after_sync: std::mem::take(&mut installing.after_sync),
            });
        }
        self.reads.applied(position.index);
    }

    /// Asks for entries and checkpoints that lagging members need.
    pub(super) fn fetch_and_snapshot(&mut self) {
        let fetches = self.core.take_fetches();
        self.output.log.extend(fetches.into_iter().map(LogTask::Fetch));
        if self.core.wants_snapshot() && !self.snapshots.making {
            self.snapshots.making = true;
            self.output.chores.push(Chore::Checkpoint);
        }
    }

    /// The prepared checkpoint is on its way; whoever sends it releases it.
    pub(super) fn prepared_is_sent(&mut self, checkpoint: Checkpoint) {
        self.snapshots.prepared.take_if(|prepared| prepared.id == checkpoint.id);
        self.snapshots.sending.insert(checkpoint.id, checkpoint.applied.index);
    }

    /// A checkpoint has arrived, or has not.
    pub(super) fn snapshot_sent(&mut self, to: MemberId, id: CheckpointId, arrived: bool) {
        self.snapshots.sending.remove(&id);
        self.core.report_snapshot(to, arrived);
    }

    /// Lets go of a checkpoint that nobody came for, and of the wish for one.
    pub(super) fn drop_prepared(&mut self) {
        self.core.put_snapshot(None);
        let prepared = self.snapshots.prepared.take();
        self.output.released_checkpoints.extend(prepared.map(|prepared| prepared.id));
    }

    /// Lets a tick pass for a checkpoint that waits to be asked for.
    pub(super) fn age_prepared(&mut self) {
        if let Some(prepared) = &mut self.snapshots.prepared {
            prepared.ticks_left = prepared.ticks_left.saturating_sub(1);
            if prepared.ticks_left == 0 {
                self.drop_prepared();
            }
        }
    }

    pub(super) fn checkpoint_made(&mut self, made: Result<(Checkpoint, ConfState), Fault>) {
        self.snapshots.making = false;
        self.drop_prepared();
        match made {
            Ok((checkpoint, conf)) if self.core.role() == Role::Leader => {
                let name = Bytes::copy_from_slice(&checkpoint.id.0.to_be_bytes());
                let voters = to_voters(&conf);
                self.core.put_snapshot(Some((checkpoint.applied, &voters, name)));
                let prepared = Prepared { id: checkpoint.id, ticks_left: PREPARED_TICKS_MAX };
                self.snapshots.prepared = Some(prepared);
            }
            Ok((checkpoint, _)) => self.output.released_checkpoints.push(checkpoint.id),
            Err(fault) => tracing::warn!("no checkpoint could be made: {fault}"),
        }
    }
}
