//! What somebody wrote with `etcdctl`, in whatever form, is an instance.

use std::collections::BTreeMap;

use quorate::proto::registry::{
    ListServicesRequest, ResolveRequest, ServiceSummary, registry_client::RegistryClient,
};
use tokio::process::Command;
use tonic::transport::Channel;

use crate::{
    SOON,
    harness::{Cluster, eventually_or, finish, program, streams::channel},
};

/// A key below `/services/`, a value, and where the instance is called.
const FORMS: [(&str, &str, &str); 10] = [
    ("default/shop/a", r#"{"Op":0,"Addr":"10.0.0.1:80","Metadata":null}"#, "10.0.0.1:80"),
    ("default/shop/b", r#"{"addr":"10.0.0.2:80"}"#, "10.0.0.2:80"),
    ("shop/c", r#"{"address":"10.0.0.3","port":80}"#, "10.0.0.3:80"),
    ("shop/d", r#"{"host":"shop.example","port":"80"}"#, "shop.example:80"),
    ("default/shop/e", r#"{"ip":"10.0.0.5","port":80,"team":"blue"}"#, "10.0.0.5:80"),
    ("shop/f", "10.0.0.6:80", "10.0.0.6:80"),
    ("shop/10.0.0.7:80", "up", "10.0.0.7:80"),
    ("default/shop/[::1]:80", "", "::1:80"),
    // The same instance under both forms of its key: the long one counts.
    ("shop/i", "10.0.0.8:80", ""),
    ("default/shop/i", "10.0.0.9:80", "10.0.0.9:80"),
];

async fn resolve(client: &RegistryClient<Channel>) -> BTreeMap<String, (String, bool)> {
    let request =
        ResolveRequest { service: "shop".into(), linearizable: true, ..ResolveRequest::default() };
    let answer = client.clone().resolve(request).await.unwrap().into_inner();
    let is_blue =
        |metadata: &BTreeMap<String, String>| metadata.get("team").is_some_and(|it| it == "blue");
    let instances = answer.instances.into_iter();
    instances
        .map(|one| {
            let target = format!("{}:{}", one.address, one.port);
            (one.id, (target, is_blue(&one.metadata)))
        })
        .collect()
}

/// Each form is found by its address; what has none is counted, and not found.
#[tokio::test]
async fn what_etcdctl_writes_is_found() {
    let Some(etcdctl) = program("etcdctl").await else { return };
    let cluster = Cluster::start(3).await;
    let put = async |key: &str, value: &str| {
        let mut command = Command::new(&etcdctl);
        let key = format!("/services/{key}");
        command.args(["--endpoints", &cluster.endpoints(), "put", "--", &key, value]);
        finish(command).await.ok();
    };

    for (key, value, _) in FORMS {
        put(key, value).await;
    }
    put("shop/dark", "up").await;

    let with_address = FORMS.iter().filter(|(.., target)| !target.is_empty());
    let expected: BTreeMap<String, (String, bool)> = with_address
        .map(|(key, value, target)| {
            let id = key.rsplit('/').next().unwrap().to_owned();
            (id, ((*target).to_owned(), value.contains("blue")))
        })
        .collect();
    for index in 0..3 {
        let client = RegistryClient::new(channel(&cluster.endpoint(index)));
        assert_eq!(resolve(&client).await, expected, "on member {index}");
        let listed = async || {
            let request = ListServicesRequest { linearizable: true, ..Default::default() };
            client.clone().list_services(request).await.unwrap().into_inner().services
        };
        let services = ServiceSummary {
            namespace: "default".into(),
            service: "shop".into(),
            total: 10,
            enabled: 9,
        };
        eventually_or(
            || format!("{services:?} to be listed"),
            SOON,
            async || (listed().await == [services.clone()]).then_some(()),
        )
        .await;
    }
}
