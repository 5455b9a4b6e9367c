//! The members, and whom they say to lead.

use std::time::Duration;

use prost::Message;
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use crate::{
    cli::{
        Client, Error,
        bench::{
            call::{Caller, Unary},
            wire::Malformed,
        },
    },
    proto::etcdserverpb::{MoveLeaderRequest, MoveLeaderResponse, StatusRequest, StatusResponse},
};

/// How often members are asked who leads.
const ASK_EVERY: Duration = Duration::from_millis(5);
/// Who does not answer so soon is asked again later.
const ANSWER_WITHIN: Duration = Duration::from_millis(200);
/// A hand-over takes an election timeout at most.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(10);

impl Unary for StatusRequest {
    const METHOD: &'static str = "/etcdserverpb.Maintenance/Status";
}

impl Unary for MoveLeaderRequest {
    const METHOD: &'static str = "/etcdserverpb.Maintenance/MoveLeader";
}

/// The members behind the endpoints, in their order.
pub(super) struct Members {
    endpoints: Vec<String>,
    ids: Vec<u64>,
    /// Some connections to each.
    callers: Vec<Vec<Caller>>,
}

/// Who leads.
pub(super) struct Led {
    /// The place of its endpoint.
    pub(super) leader: usize,
}

impl Members {
    pub(super) async fn of(client: &Client, connections: u32) -> Result<Self, Error> {
        let mut members = Self { endpoints: Vec::new(), ids: Vec::new(), callers: Vec::new() };
        for endpoint in client.endpoints() {
            let one = client.with_endpoints(std::slice::from_ref(&endpoint.text))?;
            let mut callers = Vec::new();
            for _ in 0..connections {
                callers.push(Caller::connect(&one, 0).await?);
            }
            let told = match callers.first_mut() {
                Some(caller) => status(caller).await?,
                None => return Err(Error::input("members need connections")),
            };
            members.ids.push(told.header.map_or(0, |header| header.member_id));
            members.endpoints.push(endpoint.text.clone());
            members.callers.push(callers);
        }
        Ok(members)
    }

    pub(super) fn count(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn callers(&self) -> &[Vec<Caller>] {
        &self.callers
    }

    pub(super) fn endpoint(&self, place: usize) -> &str {
        self.endpoints.get(place).map_or("?", String::as_str)
    }

    /// Waits until all of them name the same leader.
    pub(super) async fn agree(&self, limit: Duration) -> Result<Led, Error> {
        let deadline = Instant::now() + limit;
        loop {
            let mut named = Vec::new();
            for place in 0..self.count() {
                named.push(self.leader_by(place).await);
            }
            let same = named.windows(2).all(|pair| matches!(pair, [one, other] if one == other));
            if let (true, Some(Some(leader))) = (same, named.first())
                && let Some(leader) = self.ids.iter().position(|id| id == leader)
            {
                return Ok(Led { leader });
            }
            if Instant::now() >= deadline {
                return Err(Error::failed("the members do not agree on a leader"));
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// Waits until a member names another leader than this one; who is away is not asked.
    pub(super) async fn led_by_another(
        &self,
        than: usize,
        away: Option<usize>,
        limit: Duration,
    ) -> Result<Instant, Error> {
        let deadline = Instant::now() + limit;
        let before = self.ids.get(than).copied();
        loop {
            for place in (0..self.count()).filter(|place| Some(*place) != away) {
                if self.leader_by(place).await.is_some_and(|leader| Some(leader) != before) {
                    return Ok(Instant::now());
                }
            }
            if Instant::now() >= deadline {
                return Err(Error::failed("nobody else leads"));
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// Asks the leader to hand over to the member after it.
    pub(super) async fn hand_over(&self, leader: usize) -> Result<(), Error> {
        let next = self.ids.get((leader + 1) % self.count().max(1)).copied().unwrap_or_default();
        let request = MoveLeaderRequest { target_id: next };
        let mut caller = self.caller(leader)?;
        let call = caller.call(&request, decode::<MoveLeaderResponse>);
        let late = |_| Error::failed("the leader did not hand over in time");
        timeout(HAND_OVER_WITHIN, call).await.map_err(late)??;
        Ok(())
    }

    /// Whom a member names, if it answers and knows.
    async fn leader_by(&self, place: usize) -> Option<u64> {
        let mut caller = self.caller(place).ok()?;
        let told = timeout(ANSWER_WITHIN, status(&mut caller)).await.ok()?.ok()?;
        (told.leader != 0).then_some(told.leader)
    }

    fn caller(&self, place: usize) -> Result<Caller, Error> {
        let caller = self.callers.get(place).and_then(|callers| callers.first()).cloned();
        caller.ok_or_else(|| Error::failed("there is no such member"))
    }
}

async fn status(caller: &mut Caller) -> Result<StatusResponse, Status> {
    caller.call(&StatusRequest {}, decode).await
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, Malformed> {
    M::decode(bytes).map_err(|_| Malformed::Cut)
}
