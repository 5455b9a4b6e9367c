//! `quorate elect`: stands for election, or follows who is elected.

use std::{ffi::OsString, time::Duration};

use bytes::Bytes;
use clap::Args;
use tokio::{select, time::sleep};

use super::{
    Client, Error,
    client::RESPONSE_BYTES_MAX,
    error::Exit,
    print::{Pairs, Printer},
    session::{Ending, Session, wait_for},
};
use crate::proto::{
    etcdserverpb::{RangeRequest, RangeResponse, kv_client::KvClient},
    v3electionpb::{
        CampaignRequest, LeaderRequest, ResignRequest, election_client::ElectionClient,
    },
};

/// Before a stream that ended is opened again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Seconds after which the place of a process that is gone is free.
const TTL: i64 = 60;

#[derive(Args, Clone, Debug)]
pub(super) struct ElectArgs {
    /// Name of the election
    name: OsString,
    /// What is told of this candidate
    proposal: Option<OsString>,
    /// Do not stand; show who is elected, now and after that
    #[arg(short, long)]
    listen: bool,
}

/// Stands for election until it is told to stop, or follows it.
pub(super) async fn run(
    args: ElectArgs,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), Error> {
    let mut ending = Ending::new()?;
    let usage = |reason| Err(Error::new(Exit::Usage, reason));
    let name = bytes_of(&args.name);
    match (args.proposal, args.listen) {
        (None, false) => usage("no proposal argument but -l not set"),
        (Some(_), true) => usage("proposal given but -l is set"),
        (None, true) => select! {
            () = ending.asked() => Ok(()),
            followed = observe(&name, client, printer) => followed,
        },
        (Some(proposal), false) => {
            let (session, value) = (Session::open(client, TTL).await?, bytes_of(&proposal));
            let result = select! {
                _ = session.lost(client) => Err(Error::failed("elect: session expired")),
                done = stand(&name, &value, &session, &mut ending, client, printer) => done,
            };
            session.close(client).await;
            result
        }
    }
}

fn bytes_of(text: &OsString) -> Bytes {
    Bytes::copy_from_slice(text.as_encoded_bytes())
}

async fn stand(
    name: &Bytes,
    value: &Bytes,
    session: &Session,
    ending: &mut Ending,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), Error> {
    let request =
        CampaignRequest { name: name.clone(), lease: session.lease, value: value.clone() };
    let campaign = async |channel| ElectionClient::new(channel).campaign(request.clone()).await;
    let mut attempt = 0;
    let leader = select! {
        () = ending.asked() => return Err(Error::failed("context canceled")),
        elected = wait_for(client, &mut attempt, campaign) => elected?.leader.unwrap_or_default(),
    };
    let request = RangeRequest { key: leader.key.clone(), ..RangeRequest::default() };
    let call = async |channel| {
        let mut kv = KvClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
        kv.range(request.clone()).await
    };
    printer.show(&Pairs(client.read(call).await?.into_inner()))?;
    ending.asked().await;
    let request = ResignRequest { leader: Some(leader) };
    let call = async |channel| ElectionClient::new(channel).resign(request.clone()).await;
    client.write(call).await.map(drop)
}

/// Shows who is elected, over the loss of any one endpoint. One that was shown is not shown again.
async fn observe(name: &Bytes, client: &Client, printer: &mut Printer) -> Result<(), Error> {
    let (mut shown, mut attempt) = (0, 0);
    loop {
        let request = LeaderRequest { name: name.clone() };
        let call = async |channel| ElectionClient::new(channel).observe(request.clone()).await;
        let mut leaders = wait_for(client, &mut attempt, call).await?;
        while let Ok(Some(leader)) = leaders.message().await {
            let Some(pair) = leader.kv.filter(|pair| pair.mod_revision > shown) else { continue };
            shown = pair.mod_revision;
            let kvs = vec![pair];
            let answer = RangeResponse { header: leader.header, kvs, ..Default::default() };
            printer.show(&Pairs(answer))?;
        }
        sleep(RETRY_PAUSE).await;
    }
}
