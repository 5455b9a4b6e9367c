//! The JSON gateway, asked beside etcd's own: every answer compared, good or bad.
//!
//! A table of requests written by hand comes first ([`table`]), then random ones ([`generate`]), of
//! which `QUORATE_DIFF_SEED` is the seed. [`compare`] says what is masked and why. Where we differ on
//! purpose is in [`differs`], and in no other request.

mod case;
mod compare;
mod differs;
mod generate;
#[allow(dead_code, reason = "other tests use what this one does not")]
#[path = "../../cluster/registry_http/http.rs"]
mod http;
mod table;
mod table_of_calls;

use std::time::Duration;

use quorate::api::{UNIMPLEMENTED, gateway::ETCD};
use serde_json::Value;

use self::{
    case::{Answers, Case},
    compare::Seen,
    http::{Answer, ask, open},
};
use crate::{
    harness::{Cluster, Timing},
    level::Level,
    number,
    rng::Rng,
    servers::{Etcd, Peer},
};

/// How long an answer may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// Requests of a run, all together.
const REQUESTS: usize = 500;
/// The seed of the random ones.
const SEED: u64 = 1;

/// Both servers, with equal contents until the first difference.
struct Pair {
    quorate: String,
    etcd: String,
    newest: i64,
    _processes: (Cluster, Etcd),
}

/// Changes what Quorate said, to see that it is noticed.
type Plant = fn(&Case, &mut Seen);

/// What came of a run.
#[derive(Debug, Default)]
struct Tally {
    good: usize,
    refused: usize,
    /// Calls of methods that the services do not have yet.
    unimplemented: usize,
}

impl Pair {
    /// Starts both, where there is an etcd whose gateway is ours.
    async fn start() -> Option<Self> {
        let peer = Peer::find().await?;
        if peer.level != Level::Etcd37 {
            eprintln!("SKIPPED: the gateway of etcd before 3.7 has other manners");
            return None;
        }
        let (cluster, etcd) =
            tokio::join!(Cluster::start_with(1, Timing::Alone), Etcd::start(&peer));
        let authority = |url: &str| url.trim_start_matches("http://").to_owned();
        Some(Self {
            quorate: authority(&cluster.endpoint(0)),
            etcd: authority(etcd.url()),
            newest: 1,
            _processes: (cluster, etcd),
        })
    }

    /// Sends a request to both; the difference is told.
    async fn compare(
        &mut self,
        case: &Case,
        plant: Option<Plant>,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let (mut quorate, etcd) =
            tokio::join!(answer(&self.quorate, case), answer(&self.etcd, case));
        if let Some(plant) = plant {
            plant(case, &mut quorate);
        }
        self.newest = etcd.revision().map_or(self.newest, |told| told.max(self.newest));
        if quorate.status == 501 && is_unimplemented(&case.path) {
            tally.unimplemented += 1;
            return Ok(());
        }
        if quorate != etcd {
            let brief = case.brief();
            return Err(format!("{brief}\n    quorate: {quorate:?}\n    etcd:    {etcd:?}"));
        }
        if etcd.status == 200 {
            tally.good += 1
        } else {
            tally.refused += 1
        }
        Ok(())
    }
}

fn is_unimplemented(path: &str) -> bool {
    ETCD.iter().any(|(_, of, method)| *of == path && UNIMPLEMENTED.contains(method))
}

async fn answer(authority: &str, case: &Case) -> Seen {
    let headers: Vec<(&str, &str)> =
        case.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    match case.answer {
        Answers::Whole => {
            let answer = ask(authority, case.method, &case.path, &headers, &case.body).await;
            let Answer { status, headers, body } = answer;
            Seen::of(&case.path, status, headers, &body)
        }
        Answers::Watch { control, events } => {
            let mut coming = open(authority, case.method, &case.path, &headers, &case.body).await;
            let (mut lines, mut seen) = (Vec::new(), Vec::new());
            while lines.len() < control || seen.len() < events {
                let Some(line) = coming.json().await else { break };
                match line["result"]["events"].as_array() {
                    // How lines group events is the server's affair.
                    Some(events) => seen.extend(events.iter().cloned()),
                    None => lines.push(line),
                }
            }
            lines.push(Value::Array(seen));
            Seen::of_lines(&case.path, coming.status, coming.headers, lines)
        }
    }
}

/// The requests of the table, and as many random ones as it takes; all differences are shown.
async fn run(plant: Option<Plant>) -> Option<Result<Tally, Vec<String>>> {
    let mut pair = Pair::start().await?;
    let seed = number("QUORATE_DIFF_SEED").unwrap_or(SEED);
    let (mut rng, mut tally, mut differences) = (Rng::new(seed), Tally::default(), Vec::new());
    let table = table::cases();
    for index in 0..REQUESTS.max(table.len()) {
        let random = |rng: &mut Rng| generate::case(rng, pair.newest);
        let case = table.get(index).cloned().unwrap_or_else(|| random(&mut rng));
        if let Err(difference) = pair.compare(&case, plant, &mut tally).await {
            differences.push(format!("{index}: {difference}"));
            // What comes later differs because of the first.
            if differences.len() >= 40 {
                break;
            }
        }
    }
    Some(if differences.is_empty() { Ok(tally) } else { Err(differences) })
}

/// Programs that use etcd's gateway cannot tell us from it.
#[tokio::test]
async fn the_gateway_answers_as_etcds_does() {
    let Some(result) = run(None).await else { return };
    let tally = result.unwrap_or_else(|differences| {
        panic!("{} answers differ:\n{}", differences.len(), differences.join("\n"))
    });
    eprintln!("{REQUESTS} requests, no difference: {tally:?}");
    assert!(tally.good > REQUESTS / 4 && tally.refused > REQUESTS / 4, "{tally:?}");
    assert!(tally.unimplemented < 20, "{tally:?}");
}

/// A gateway that forgets to tell how many keys there are.
fn loses_the_count(_: &Case, seen: &mut Seen) {
    for fields in seen.body.iter_mut().filter_map(Value::as_object_mut) {
        fields.remove("count");
    }
}

/// A gateway that answers bad requests with another status.
fn mistakes_the_status(_: &Case, seen: &mut Seen) {
    if seen.status == 501 {
        seen.status = 405;
    }
}

/// What is planted is found.
#[tokio::test]
async fn a_planted_difference_is_found() {
    for (plant, shows) in
        [(loses_the_count as Plant, "/v3/kv/range"), (mistakes_the_status, "GET /v3/kv/range")]
    {
        let Some(result) = run(Some(plant)).await else { return };
        let differences = result.expect_err("the planted difference was not found");
        assert!(differences.iter().any(|it| it.contains(shows)), "{differences:?}");
    }
}

/// Where we differ from etcd, it is as it is written down.
#[tokio::test]
async fn differences_are_those_that_are_known() {
    let Some(pair) = Pair::start().await else { return };
    for known in differs::cases() {
        let (quorate, etcd) =
            tokio::join!(answer(&pair.quorate, &known.case), answer(&pair.etcd, &known.case));
        let brief = known.case.brief();
        assert_eq!(quorate.status, known.status, "{brief}: {quorate:?}\n{}", known.reason);
        assert_ne!(quorate, etcd, "{brief}: etcd does the same: {}", known.reason);
    }
}
