//! `quorate alarm`, `defrag`, `move-leader` and `downgrade`: what operators do to members.

use clap::{Args, Subcommand};
use tokio::time::Instant;
use tonic::transport::Channel;

use super::{
    Client, Error,
    endpoint::{Scope, complain, each, scope},
    error::Exit,
    member::IdArgs,
    print::{Downgraded, Moved, Printer, go_duration},
};
use crate::proto::etcdserverpb::{
    AlarmRequest, AlarmResponse, DefragmentRequest, DowngradeRequest, MoveLeaderRequest,
    StatusRequest, alarm_request::AlarmAction, downgrade_request::DowngradeAction,
    maintenance_client::MaintenanceClient,
};

#[derive(Subcommand, Clone, Copy, Debug)]
pub(super) enum AlarmCommand {
    /// Show the alarms that stand
    List,
    /// Take back all alarms that stand
    Disarm,
}

/// Shows alarms, or takes them back.
pub(super) async fn alarm(
    command: AlarmCommand,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), Error> {
    let call = async |channel| MaintenanceClient::new(channel).alarm(AlarmRequest::default()).await;
    let standing = client.read(call).await?.into_inner();
    let answer = match command {
        AlarmCommand::List => standing,
        AlarmCommand::Disarm => disarm(standing, client).await?,
    };
    printer.show(&answer)
}

async fn disarm(standing: AlarmResponse, client: &Client) -> Result<AlarmResponse, Error> {
    // Without a header, which would be that of one of several calls.
    let mut answer = AlarmResponse::default();
    for alarm in standing.alarms {
        let action = AlarmAction::Deactivate.into();
        let request = AlarmRequest { action, member_id: alarm.member_id, alarm: alarm.alarm };
        let call = async |channel| MaintenanceClient::new(channel).alarm(request).await;
        let one = client.write(call).await?.into_inner();
        answer.alarms.extend(one.alarms);
    }
    Ok(answer)
}

/// Has the room of what was given up made free on disk, member by member.
pub(super) async fn defrag(it: Scope, client: &Client, printer: &mut Printer) -> Result<(), Error> {
    let client = scope(client, it.is_cluster()).await?;
    let mut failures = 0;
    for endpoint in client.endpoints() {
        let start = Instant::now();
        let call =
            async |channel| MaintenanceClient::new(channel).defragment(DefragmentRequest {}).await;
        let result = endpoint.call(call, start + client.timeout()).await;
        let took = go_duration(start.elapsed());
        // In every format, as in etcdctl.
        match result.map_err(Error::from) {
            Ok(_) => printer.output.line(format!(
                "Finished defragmenting etcd member[{}]. took {took}",
                endpoint.text
            ))?,
            Err(error) => {
                failures += 1;
                complain(&format!(
                    "Failed to defragment etcd member[{}]. took {took}. ({error})",
                    endpoint.text
                ))?;
            }
        }
    }
    if failures == 0 { Ok(()) } else { Err(Error::failed(format!("{failures} members failed"))) }
}

/// Makes another member lead. Only the leader can do that, so it is looked for first.
pub(super) async fn move_leader(
    to: IdArgs,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), Error> {
    let target = to.parse_bare()?;
    let status = async |channel: Channel| {
        let status = MaintenanceClient::new(channel.clone()).status(StatusRequest {}).await?;
        Ok(status.map(|status| (channel, status)))
    };
    let (answers, _) = each(client, "failed to get the status of endpoint", status).await?;
    let leader = answers.into_iter().find_map(|(_, (channel, status))| {
        let member = status.header.as_ref()?.member_id;
        (member == status.leader).then_some((channel, member))
    });
    let Some((channel, from)) = leader else {
        let texts: Vec<&str> =
            client.endpoints().iter().map(|endpoint| endpoint.text.as_str()).collect();
        let reason = format!("no leader endpoint given at [{}]", texts.join(" "));
        return Err(Error::new(Exit::Usage, reason));
    };
    let request = MoveLeaderRequest { target_id: target };
    let moved = MaintenanceClient::new(channel).move_leader(request).await?;
    printer.show(&Moved { from, to: target, response: moved.into_inner() })
}

#[derive(Subcommand, Clone, Debug)]
pub(super) enum DowngradeCommand {
    /// Check that a downgrade to a version is possible
    Validate(TargetVersion),
    /// Begin a downgrade to a version
    Enable(TargetVersion),
    /// Give up a downgrade that was begun
    Cancel,
}

#[derive(Args, Clone, Debug)]
pub(super) struct TargetVersion {
    /// The version, like 3.6
    #[arg(value_name = "TARGET_VERSION")]
    versions: Vec<String>,
}

impl TargetVersion {
    fn parse(&self) -> Result<String, Error> {
        let reason = match self.versions.as_slice() {
            [] => "TARGET_VERSION not provided",
            [version] if version.is_empty() => "target version not provided",
            [version] => return Ok(version.clone()),
            [..] => "too many arguments",
        };
        Err(Error::new(Exit::Usage, reason))
    }
}

/// Asks about a downgrade.
pub(super) async fn downgrade(
    command: &DowngradeCommand,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), Error> {
    let (what, action, version) = match command {
        DowngradeCommand::Validate(to) => ("validate", DowngradeAction::Validate, to.parse()?),
        DowngradeCommand::Enable(to) => ("enable", DowngradeAction::Enable, to.parse()?),
        DowngradeCommand::Cancel => ("cancel", DowngradeAction::Cancel, String::new()),
    };
    let request = DowngradeRequest { action: action.into(), version };
    let call = async |channel| MaintenanceClient::new(channel).downgrade(request.clone()).await;
    let response = client.write(call).await?.into_inner();
    printer.show(&Downgraded { what, response })
}
