//! [`Workload`]: clients that fight over a few keys and note what they were told.

use std::collections::BTreeMap;

use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::{
    node::{Error, Input, ports::StateStore},
    sim::{
        checks::Violation,
        config::Planted,
        history::{Content, Contents, Fate, KeyId, Operation, ValueId},
        member::Member,
        plan::{Ask, Plan},
        process::Process,
        schedule::Event,
        world::Context,
    },
    state::{Answer, Range, Refused, meta, mvcc},
    types::MemberId,
};

type Members = BTreeMap<MemberId, Member>;

/// Clients that fight over a few keys.
#[derive(Debug)]
pub struct Workload {
    clients: Vec<Client>,
    operations: Vec<Operation>,
    last_value: u64,
    /// What some client last heard that a key holds, so that swaps have a chance.
    rumours: Contents,
}

#[derive(Debug)]
struct Client {
    /// The member it always asks; others ask any.
    pinned: Option<MemberId>,
    calls: u64,
    call: Option<Call>,
}

/// A call that waits for its answer.
#[derive(Debug)]
struct Call {
    plan: Plan,
    member: MemberId,
    called: u64,
    waiting: Waiting,
}

#[derive(Debug)]
enum Waiting {
    Outcome(u64, oneshot::Receiver<Result<Result<Answer, Refused>, Error>>),
    Barrier(Range, oneshot::Receiver<()>),
}

/// Whether a call was made or the member was found dead or full.
type Made = Result<Option<Call>, Violation>;

impl Workload {
    /// The clients of a world, each with a first turn soon.
    pub fn new(ctx: &mut Context) -> Self {
        let mut clients = Vec::new();
        for number in 0..ctx.config.clients {
            let pinned = ctx.rng.chance(500).then(|| *ctx.rng.pick(&ctx.roster));
            clients.push(Client { pinned, calls: 0, call: None });
            let delay = ctx.rng.below(ctx.config.think_max);
            ctx.schedule.after(delay, Event::ClientTurn(number));
        }
        Self { clients, operations: Vec::new(), last_value: 0, rumours: Contents::new() }
    }

    /// Everything that was asked and told, once no client waits any more.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Whether some client waits for an answer.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.clients.iter().any(|client| client.call.is_some())
    }

    /// A client makes its next call.
    pub fn turn(
        &mut self,
        number: u64,
        members: &mut Members,
        ctx: &mut Context,
    ) -> Result<(), Violation> {
        let Some(client) = at(&mut self.clients, number) else { return Ok(()) };
        client.calls += 1;
        let (calls, pinned) = (client.calls, client.pinned);
        let pinned = pinned.filter(|member| ctx.roster.contains(member));
        let to = pinned.unwrap_or_else(|| *ctx.rng.pick(&ctx.roster));
        let plan = self.plan(ctx);
        match self.call(number, to, plan, members, ctx)? {
            Some(call) => {
                ctx.note(&[4, number, to.0], format_args!("client {number} asks {to}: {plan:?}"));
                let timeout = ctx.rng.between(200_000, 5_000_000);
                ctx.schedule.after(timeout, Event::ClientTimeout(number, calls));
                if let Some(client) = at(&mut self.clients, number) {
                    client.call = Some(call);
                }
            }
            None => self.rest(number, ctx),
        }
        Ok(())
    }

    /// Looks whether calls to a member have come to something.
    pub fn poll(
        &mut self,
        member: MemberId,
        members: &Members,
        ctx: &mut Context,
    ) -> Result<(), Violation> {
        for number in 0..self.clients.len() as u64 {
            let Some(client) = at(&mut self.clients, number) else { break };
            if let Some(call) = client.call.take_if(|call| call.member == member) {
                match self.look(number, call, members, ctx)? {
                    Some(call) => {
                        at(&mut self.clients, number).expect("it exists").call = Some(call)
                    }
                    None => self.rest(number, ctx),
                }
            }
        }
        Ok(())
    }

    /// A client has waited long enough.
    pub fn timeout(&mut self, number: u64, calls: u64, members: &Members, ctx: &mut Context) {
        let Some(client) = at(&mut self.clients, number).filter(|c| c.calls == calls) else {
            return;
        };
        let Some(call) = client.call.take() else { return };
        ctx.note(&[5, number], format_args!("client {number} gives up on {:?}", call.plan));
        let process = members.get(&call.member).and_then(Member::process);
        let fate = match &call.waiting {
            Waiting::Outcome(sequence, _) => {
                let open = process.is_none_or(|process| process.shared.forget(*sequence));
                if open { Fate::Unknown } else { Fate::No }
            }
            Waiting::Barrier(..) => Fate::No,
        };
        self.unanswered(number, &call, fate);
        self.rest(number, ctx);
    }

    /// A member died: whoever waited for it hears nothing more.
    pub fn crashed(&mut self, member: MemberId, ctx: &mut Context) {
        for number in 0..self.clients.len() as u64 {
            let Some(client) = at(&mut self.clients, number) else { break };
            if let Some(call) = client.call.take_if(|call| call.member == member) {
                self.unanswered(number, &call, Fate::Unknown);
                self.rest(number, ctx);
            }
        }
    }

    /// One call by itself to `member`, as the last client.
    pub fn call_directly(
        &mut self,
        member: MemberId,
        write: bool,
        members: &mut Members,
        ctx: &mut Context,
    ) -> Result<(), Violation> {
        let plan = if write { Plan::Put(KeyId(0), self.new_value()) } else { Plan::List };
        let call = self.call(self.clients.len() as u64, member, plan, members, ctx)?;
        self.clients.push(Client { pinned: Some(member), calls: 1, call });
        Ok(())
    }

    /// The number that the next call made directly will have.
    #[must_use]
    pub fn next_call(&self) -> u64 {
        self.clients.len() as u64
    }

    /// Whether a call made directly waits no more.
    #[must_use]
    pub fn has_ended(&self, call: u64) -> bool {
        let client = usize::try_from(call).ok().and_then(|at| self.clients.get(at));
        client.is_none_or(|client| client.call.is_none())
    }

    /// Whether a call made directly was answered.
    #[must_use]
    pub fn was_done(&self, call: u64) -> bool {
        let mut latest = self.operations.iter().rev();
        latest.any(|op| op.client == call && op.returned().is_some())
    }

    fn plan(&mut self, ctx: &mut Context) -> Plan {
        let rng = &mut ctx.rng;
        let key = KeyId(u8::try_from(rng.below(u64::from(ctx.config.keys))).expect("keys are few"));
        let other = KeyId((key.0 + 1) % ctx.config.keys);
        match rng.below(100) {
            0..20 => Plan::Put(key, self.new_value()),
            20..30 => Plan::BlindPut(key, self.new_value()),
            30..38 => Plan::PutBoth(key, other, self.new_value()),
            38..58 => {
                let expected: Content = self.rumours.get(&key).copied().flatten();
                Plan::Swap(key, expected, self.new_value())
            }
            58..65 => Plan::Delete(key),
            65..85 => Plan::Get(key, false),
            85..90 => Plan::Get(key, true),
            _ => Plan::List,
        }
    }

    fn new_value(&mut self) -> ValueId {
        self.last_value += 1;
        ValueId(self.last_value)
    }

    /// Makes a call; `None` when it came to nothing or was answered at once.
    fn call(
        &mut self,
        number: u64,
        to: MemberId,
        plan: Plan,
        members: &mut Members,
        ctx: &mut Context,
    ) -> Made {
        let called = ctx.schedule.now();
        let Some(member) = members.get_mut(&to) else { return Ok(None) };
        // One that joins serves nobody before it has a state, nor does one that is fenced.
        let serves = |it: &&Process| member.has_state() && !it.shared.serves_nobody();
        let Some(process) = member.process().filter(serves) else { return Ok(None) };
        let (waiting, input) = match plan.ask(ctx.config.value_bytes) {
            Ask::Propose(command) => {
                let Ok((sequence, outcome)) = process.shared.submit(command) else {
                    return Ok(None);
                };
                (Waiting::Outcome(sequence, outcome), Input::Proposal(sequence))
            }
            Ask::Read { range, serializable }
                if serializable || ctx.config.planted == Planted::UnconfirmedReads =>
            {
                self.read(number, called, plan, &range, member, ctx)?;
                return Ok(None);
            }
            Ask::Read { range, .. } => {
                let (waiter, woken) = oneshot::channel();
                (Waiting::Barrier(range, woken), Input::Read(waiter))
            }
        };
        member.post(input, ctx);
        Ok(Some(Call { plan, member: to, called, waiting }))
    }

    /// Looks whether a call was answered; gives it back if not.
    fn look(&mut self, number: u64, mut call: Call, members: &Members, ctx: &mut Context) -> Made {
        match &mut call.waiting {
            Waiting::Outcome(_, outcome) => match outcome.try_recv() {
                Ok(Ok(Ok(answer))) => self.answered(number, &call, &answer, ctx)?,
                Ok(Ok(Err(refused))) => {
                    return Err(Violation(format!("{:?} was refused: {refused}", call.plan)));
                }
                Ok(Err(_)) | Err(TryRecvError::Closed) => {
                    self.unanswered(number, &call, Fate::Unknown);
                }
                Err(TryRecvError::Empty) => return Ok(Some(call)),
            },
            Waiting::Barrier(range, woken) => match woken.try_recv() {
                Ok(()) => {
                    let member = members.get(&call.member).expect("calls end with their member");
                    self.read(number, call.called, call.plan, range, member, ctx)?;
                }
                Err(TryRecvError::Closed) => {}
                Err(TryRecvError::Empty) => return Ok(Some(call)),
            },
        }
        Ok(None)
    }

    fn answered(
        &mut self,
        number: u64,
        call: &Call,
        answer: &Answer,
        ctx: &mut Context,
    ) -> Result<(), Violation> {
        let revision = answer.revision;
        let contents = call.plan.answered(&answer.response);
        let (saw, wrote) = contents
            .ok_or_else(|| Violation(format!("{:?} was answered by {answer:?}", call.plan)))?;
        self.rumours.extend(saw.iter().chain(&wrote).map(|(key, content)| (*key, *content)));
        let returned = ctx.schedule.now();
        ctx.note(
            &[6, number, u64::try_from(revision.0).unwrap_or(0)],
            format_args!("client {number} is answered with revision {revision}"),
        );
        self.operations.push(Operation {
            client: number,
            member: call.member,
            what: call.plan.name(),
            called: call.called,
            saw,
            wrote,
            fate: Fate::Done { returned, revision, serializable: false },
        });
        Ok(())
    }

    fn read(
        &mut self,
        number: u64,
        called: u64,
        plan: Plan,
        range: &Range,
        member: &Member,
        ctx: &mut Context,
    ) -> Result<(), Violation> {
        let broken = |error: String| Violation(format!("reading at {}: {error}", member.id()));
        let view = member.store().view().map_err(|fault| broken(fault.to_string()))?;
        let response = mvcc::range(&*view, range).map_err(|error| broken(error.to_string()))?;
        let revision = meta::revision(&*view).map_err(|fault| broken(fault.to_string()))?;
        let saw = plan.read(&response, ctx.config.keys);
        let saw = saw.ok_or_else(|| Violation(format!("{plan:?} was answered by {response:?}")))?;
        let returned = ctx.schedule.now();
        ctx.note(
            &[7, number, u64::try_from(revision.0).unwrap_or(0)],
            format_args!("client {number} reads as of revision {revision}: {saw:?}"),
        );
        let serializable = matches!(plan, Plan::Get(_, true));
        self.operations.push(Operation {
            client: number,
            member: member.id(),
            what: plan.name(),
            called,
            saw,
            wrote: Contents::new(),
            fate: Fate::Done { returned, revision, serializable },
        });
        Ok(())
    }

    fn unanswered(&mut self, number: u64, call: &Call, fate: Fate) {
        let (saw, wrote) = call.plan.unanswered();
        self.operations.push(Operation {
            client: number,
            member: call.member,
            what: call.plan.name(),
            called: call.called,
            saw,
            wrote,
            fate,
        });
    }

    /// A client thinks before its next turn, unless things are to come to an end.
    fn rest(&mut self, number: u64, ctx: &mut Context) {
        if ctx.is_open {
            let delay = ctx.rng.below(ctx.config.think_max) + 1;
            ctx.schedule.after(delay, Event::ClientTurn(number));
        }
    }
}

fn at(clients: &mut [Client], number: u64) -> Option<&mut Client> {
    clients.get_mut(usize::try_from(number).ok()?)
}
