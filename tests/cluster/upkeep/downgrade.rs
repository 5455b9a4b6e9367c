//! Downgrade: what is checked, what is refused, and what always succeeds.

use quorate::proto::etcdserverpb::{
    DowngradeRequest, StatusRequest, downgrade_request::DowngradeAction,
};
use tokio::process::Command;
use tonic::Code;

use super::{SOON, maintenance};
use crate::harness::{Cluster, eventually, finish, program};

/// The version before is what one may go back to, said in two numbers or three. To begin is refused;
/// to cancel succeeds although nothing was begun.
#[tokio::test]
async fn case_35_downgrades_are_checked_and_not_begun() {
    let cluster = Cluster::start(1).await;
    let mut client = maintenance(&cluster, 0);
    let mut ask = async |action: DowngradeAction, version: &str| {
        let request = DowngradeRequest { action: action.into(), version: version.to_owned() };
        match client.downgrade(request).await {
            Ok(answer) => Ok(answer.into_inner().version),
            Err(status) => Err((status.code(), status.message().to_owned())),
        }
    };
    use DowngradeAction::{Cancel, Enable, Validate};
    eventually("a cluster version", SOON, async || ask(Validate, "3.6").await.ok()).await;
    let invalid = |text: &str| Err((Code::InvalidArgument, format!("etcdserver: {text}")));
    let (wrong, other) =
        ("wrong downgrade target version format", "invalid downgrade target version");

    assert_eq!(ask(Validate, "3.6").await, Ok("3.7".to_owned()));
    assert_eq!(ask(Validate, "3.6.0").await, Ok("3.7".to_owned()));
    for (action, version, text) in [
        (Validate, "3", wrong),
        (Validate, "", wrong),
        (Enable, "three", wrong),
        (Validate, "3.7", other),
        (Validate, "3.5.0", other),
        (Validate, "2.6", other),
        (Enable, "3.5", other),
    ] {
        assert_eq!(ask(action, version).await, invalid(text), "{version}");
    }
    let (code, text) = ask(Enable, "3.6").await.unwrap_err();
    assert_eq!(code, Code::FailedPrecondition);
    assert!(text.starts_with("etcdserver: downgrade is not supported"), "{text}");
    assert_eq!(ask(Cancel, "").await, Ok("3.7".to_owned()));

    let status = client.status(StatusRequest {}).await.unwrap().into_inner();
    let info = status.downgrade_info.unwrap();
    assert_eq!((info.enabled, info.target_version.as_str()), (false, ""));
}

/// etcd's own command line asks the same.
#[tokio::test]
async fn etcdctl_validates_and_cancels_downgrades() {
    let Some(etcdctl) = program("etcdctl").await else { return };
    let cluster = Cluster::start(3).await;
    let run = async |line: &str| {
        let mut command = Command::new(&etcdctl);
        command.args(["--endpoints", &cluster.endpoints()]).args(line.split(' '));
        finish(command).await
    };
    let told = eventually("a cluster version", SOON, async || {
        let finished = run("downgrade validate 3.6").await;
        (finished.code == Some(0)).then_some(finished.stdout)
    })
    .await;
    assert!(told.contains("Downgrade validate success, cluster version 3.7"), "{told}");
    let refused = run("downgrade validate 3.4").await;
    assert!(refused.stderr.contains("invalid downgrade target version"), "{refused:?}");
    let refused = run("downgrade enable 3.6").await;
    assert!(refused.stderr.contains("downgrade is not supported"), "{refused:?}");
    let told = run("downgrade cancel").await.ok();
    assert!(told.contains("Downgrade cancel success, cluster version 3.7"), "{told}");
}
