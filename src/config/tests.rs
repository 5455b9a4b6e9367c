//! What the settings do together: layers, refusals, and what is printed.

use std::{fs, time::Duration};

use super::{
    Config, Error, InitialMember, Inputs, ListenUrl, Loaded, LogLevel, Url, load, settings,
};

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn flags(list: &[(&str, &str)]) -> Inputs {
    Inputs { flags: pairs(list), ..Inputs::default() }
}

fn environment(list: &[(&str, &str)]) -> Inputs {
    Inputs { environment: pairs(list), ..Inputs::default() }
}

fn config(inputs: &Inputs) -> Config {
    load(inputs).unwrap().config
}

fn refusals(inputs: &Inputs) -> Vec<String> {
    load(inputs).unwrap_err().to_string().lines().map(str::to_owned).collect()
}

/// Writes a config file that goes with the folder returned.
fn file(text: &str) -> (tempfile::TempDir, Inputs) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("quorate.toml");
    fs::write(&path, text).unwrap();
    (dir, Inputs { config_file: Some(path), ..Inputs::default() })
}

/// Without any setting a member runs alone on etcd's ports.
#[test]
fn the_defaults_are_those_of_etcd() {
    let config = config(&Inputs::default());

    let url = |text| Url::parse(text).unwrap();
    assert_eq!(config.name, "default");
    assert_eq!(config.data_dir.to_str(), Some("default.quorate"));
    let bound = |urls: &[ListenUrl]| urls[0].place.socket_addr().unwrap().to_string();
    assert_eq!(bound(&config.listen_client_urls), "127.0.0.1:2379");
    assert_eq!(bound(&config.listen_peer_urls), "127.0.0.1:2380");
    assert_eq!(config.advertise_client_urls, [url("http://localhost:2379")]);
    let alone =
        InitialMember { name: "default".to_owned(), peer_urls: vec![url("http://localhost:2380")] };
    assert_eq!(config.initial_cluster, [alone]);
    assert!(!config.initial_cluster_is_set);
    assert_eq!(config.heartbeat_interval, Duration::from_millis(100));
    assert_eq!(config.election_timeout, Duration::from_millis(1000));
    assert_eq!((config.max_request_bytes, config.max_txn_ops), (1_572_864, 128));
    assert_eq!(config.log_level, LogLevel::Info);
    assert_eq!((config.strict_reconfig_check, config.max_learners), (true, 1));
    assert!(!config.learner_serves_reads);
}

/// Switches and numbers of members are read from every layer, and what they cannot be is refused.
#[test]
fn settings_about_members_are_checked() {
    let (_dir, mut inputs) = file("learner-serves-reads = true\nmax-learners = 3\n");
    inputs.environment = pairs(&[("ETCD_STRICT_RECONFIG_CHECK", "false")]);

    let config = config(&inputs);

    assert!(config.learner_serves_reads && !config.strict_reconfig_check);
    assert_eq!(config.max_learners, 3);
    assert_eq!(
        refusals(&flags(&[("max-learners", "0")])),
        ["max-learners: 0 is not between 1 and 1000 (flag --max-learners)"]
    );
    let refused = refusals(&flags(&[("strict-reconfig-check", "perhaps")])).join("\n");
    assert!(refused.contains("strict-reconfig-check"), "{refused}");
}

/// Each layer wins over those below it, setting by setting.
#[test]
fn flags_win_over_own_variables_over_those_of_etcd_over_the_file() {
    let (_dir, mut inputs) = file(
        "name = 'file'\ninitial-cluster-token = 'file'\nheartbeat-interval = 11\nelection-timeout = 2000\n",
    );
    inputs.environment = pairs(&[
        ("ETCD_INITIAL_CLUSTER_TOKEN", "etcd"),
        ("ETCD_HEARTBEAT_INTERVAL", "12"),
        ("ETCD_NAME", "etcd"),
        ("QUORATE_HEARTBEAT_INTERVAL", "13"),
        ("QUORATE_NAME", "own"),
    ]);
    inputs.flags = pairs(&[("name", "flag")]);

    let Loaded { config, printed, .. } = load(&inputs).unwrap();

    assert_eq!(config.name, "flag");
    assert_eq!(config.heartbeat_interval, Duration::from_millis(13));
    assert_eq!(config.initial_cluster_token, "etcd");
    assert_eq!(config.election_timeout, Duration::from_millis(2000));
    let path = inputs.config_file.unwrap();
    for line in [
        "name = \"flag\" # flag --name",
        "heartbeat-interval = 13 # environment variable QUORATE_HEARTBEAT_INTERVAL",
        "initial-cluster-token = \"etcd\" # environment variable ETCD_INITIAL_CLUSTER_TOKEN",
        &format!("election-timeout = 2000 # file {}", path.display()),
        "max-txn-ops = 128 # default",
        "watch-progress-notify-interval = \"600s\" # default",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in:\n{printed}");
    }
}

/// The data directory and the initial cluster follow the name that is in force.
#[test]
fn what_is_derived_follows_the_name() {
    let config =
        config(&flags(&[("name", "n1"), ("initial-advertise-peer-urls", "http://10.0.0.1:1")]));

    assert_eq!(config.data_dir.to_str(), Some("n1.quorate"));
    assert_eq!(config.initial_cluster[0].name, "n1");
    assert_eq!(config.initial_cluster[0].peer_urls[0].to_string(), "http://10.0.0.1:1");
}

/// What is printed is a file that sets the same.
#[test]
fn a_printed_configuration_loads_to_itself() {
    let inputs = flags(&[
        ("name", "a\"b\\c d"),
        ("data-dir", "/x y"),
        ("listen-client-urls", "http://127.0.0.1:1,http://[::1]:1"),
        ("advertise-client-urls", "http://n1:1"),
        ("listen-metrics-urls", "http://0.0.0.0:3"),
        ("log-level", "debug"),
    ]);
    let first = load(&inputs).unwrap();

    let (_dir, inputs) = file(&first.printed);
    let second = load(&inputs).unwrap();

    assert_eq!(second.config, Config { initial_cluster_is_set: true, ..first.config });
    assert_eq!(first.printed.lines().count(), settings().count());
}

/// A list may be written as one in the file.
#[test]
fn the_file_takes_lists_and_texts() {
    let (_dir, list) = file("initial-cluster = ['default=http://localhost:2380', 'b=http://b:1']");
    let (_dir, text) = file("initial-cluster = 'default=http://localhost:2380,b=http://b:1'");

    assert_eq!(config(&list).initial_cluster, config(&text).initial_cluster);
    assert_eq!(config(&list).initial_cluster.len(), 2);
}

/// An unknown key or own variable is refused by name; one of etcd's is only reported.
#[test]
fn unknown_settings_are_refused_unless_they_are_etcds() {
    let (_dir, inputs) = file("nmae = 'x'");
    let path = inputs.config_file.clone().unwrap();
    assert_eq!(refusals(&inputs), [format!("nmae: no such setting (file {})", path.display())]);

    let own = environment(&[("QUORATE_NMAE", "x"), ("QUORATE_ENDPOINTS", "a:1")]);
    assert_eq!(
        refusals(&own),
        ["QUORATE_NMAE: no such setting (environment variable QUORATE_NMAE)"]
    );

    let etcd =
        environment(&[("ETCD_SNAPSHOT_COUNT", "1"), ("ETCD_NAME", ""), ("ETCDCTL_API", "3")]);
    let loaded = load(&etcd).unwrap();
    assert_eq!(loaded.warnings, ["ETCD_SNAPSHOT_COUNT is set but not read"]);
    assert_eq!(loaded.config.name, "default");
}

/// The quota is a number that may be negative, wherever it is written.
#[test]
fn a_quota_may_be_negative() {
    assert_eq!(config(&environment(&[("ETCD_QUOTA_BACKEND_BYTES", "-1")])).quota_backend_bytes, -1);
    assert_eq!(config(&flags(&[("quota-backend-bytes", "65536")])).quota_backend_bytes, 65_536);
    let (_dir, inputs) = file("quota-backend-bytes = -2");
    assert_eq!(config(&inputs).quota_backend_bytes, -2);
    assert_eq!(config(&Inputs::default()).quota_backend_bytes, 0);
}

/// The block cache has a size, wherever it is written, or none that makes sense is refused.
#[test]
fn the_block_cache_has_a_size_or_follows_the_memory() {
    let given = |bytes: &'static str| environment(&[("QUORATE_BLOCK_CACHE_BYTES", bytes)]);
    assert_eq!(config(&Inputs::default()).block_cache_bytes, 0);
    assert_eq!(config(&given("8388608")).block_cache_bytes, 8 << 20);
    assert_eq!(
        config(&flags(&[("block-cache-bytes", "1099511627776")])).block_cache_bytes,
        1 << 40
    );
    let (_dir, inputs) = file("block-cache-bytes = 16777216");
    assert_eq!(config(&inputs).block_cache_bytes, 16 << 20);
    for outside in ["8388607", "1099511627777"] {
        assert_eq!(
            refusals(&given(outside)),
            [format!(
                "block-cache-bytes: {outside} is neither 0 nor between 8388608 and 1099511627776 \
                 (environment variable QUORATE_BLOCK_CACHE_BYTES)"
            )]
        );
    }
}

/// The registry's view has a size, or is not in memory at all.
#[test]
fn the_registrys_view_has_a_size() {
    assert_eq!(config(&Inputs::default()).registry_view_bytes, 256 << 20);
    assert_eq!(config(&flags(&[("registry-view-bytes", "0")])).registry_view_bytes, 0);
    let inputs = environment(&[("QUORATE_REGISTRY_VIEW_BYTES", "1048576")]);
    assert_eq!(config(&inputs).registry_view_bytes, 1 << 20);
}

/// Snapshots are sent at a rate, at any that goes, or one at which they would never arrive is
/// refused.
#[test]
fn snapshots_have_a_rate() {
    let given = |rate: &'static str| flags(&[("snapshot-send-rate", rate)]);
    assert_eq!(config(&Inputs::default()).snapshot_send_rate, 64 << 20);
    assert_eq!(config(&given("0")).snapshot_send_rate, 0);
    assert_eq!(config(&given("1048576")).snapshot_send_rate, 1 << 20);
    assert_eq!(
        refusals(&given("1048575")),
        [
            "snapshot-send-rate: 1048575 is neither 0 nor at least 1048576 (flag --snapshot-send-rate)"
        ]
    );
}

/// A file that is missing or broken is named.
#[test]
fn a_bad_file_is_refused_by_name() {
    let missing = Inputs { config_file: Some("/nowhere/q.toml".into()), ..Inputs::default() };
    assert_eq!(refusals(&missing), ["config file /nowhere/q.toml: no such file"]);

    let (_dir, inputs) = file("name = ");
    let path = inputs.config_file.clone().unwrap();
    let error = load(&inputs).unwrap_err();
    assert!(matches!(&error, Error::File { path: named, .. } if *named == path), "{error}");
}

/// A variable can name the file, and the flag wins over it.
#[test]
fn a_variable_can_name_the_file() {
    let (_dir, named) = file("name = 'x'");
    let path = named.config_file.unwrap();

    let config = config(&environment(&[("QUORATE_CONFIG_FILE", path.to_str().unwrap())]));

    assert_eq!(config.name, "x");
}

/// A value of the wrong kind is refused with its setting and its source.
#[test]
fn a_number_must_be_one() {
    let refused = refusals(&environment(&[("ETCD_HEARTBEAT_INTERVAL", "abc")]));

    assert_eq!(
        refused,
        ["heartbeat-interval: invalid type: found string \"abc\", expected u64 \
          (environment variable ETCD_HEARTBEAT_INTERVAL)"]
    );
}

/// All problems are told at once, each with the setting, the value and the source.
#[test]
fn every_problem_is_reported() {
    let refused = refusals(&flags(&[
        ("name", ""),
        ("listen-client-urls", "https://localhost:1"),
        ("listen-peer-urls", "http://example.com:1"),
        ("initial-cluster-state", "old"),
        ("log-level", "loud"),
        ("heartbeat-interval", "500"),
        ("max-txn-ops", "0"),
        ("watch-progress-notify-interval", "10"),
    ]));

    for line in [
        "name: must not be empty (flag --name)",
        "cert-file: a certificate and its key (cert-file, key-file) must be provided for \
         https://localhost:1 of listen-client-urls, or auto-tls be set (default)",
        "advertise-client-urls: is required when listen-client-urls is set (default)",
        "listen-peer-urls: \"http://example.com:1\": a listener needs an ip address or localhost, not a name \
         (flag --listen-peer-urls)",
        "initial-cluster-state: \"old\" must be new or existing (flag --initial-cluster-state)",
        "log-level: \"loud\" must be trace, debug, info, warn or error (flag --log-level)",
        "election-timeout: 1000 ms is less than 5 times heartbeat-interval, which is 500 ms \
         (flag --heartbeat-interval) (default)",
        "max-txn-ops: 0 is not between 1 and 65536 (flag --max-txn-ops)",
        "watch-progress-notify-interval: \"10\" is not a duration such as 5s, 500ms or 1m30s \
         (flag --watch-progress-notify-interval)",
    ] {
        assert!(refused.iter().any(|refused| refused == line), "{line:?} is not in {refused:#?}");
    }
    assert_eq!(refused.len(), 9, "{refused:#?}");
}

/// The initial cluster must hold this member under its own URLs, and no URL twice.
#[test]
fn the_initial_cluster_must_fit_this_member() {
    let refused = |cluster| refusals(&flags(&[("name", "a"), ("initial-cluster", cluster)]));

    assert_eq!(
        refused("b=http://b:1"),
        ["initial-cluster: has no member \"a\", which is this one's name (flag --initial-cluster)"]
    );
    assert_eq!(
        refused("a=http://x:1"),
        ["initial-cluster: lists \"a\" with http://x:1, but initial-advertise-peer-urls is \
          http://localhost:2380 (default) (flag --initial-cluster)"]
    );
    assert_eq!(
        refused("a=http://localhost:2380,b=http://localhost:2380"),
        ["initial-cluster: http://localhost:2380 is listed twice (flag --initial-cluster)"]
    );
    assert_eq!(
        refused("a=http://localhost:2380,http://b:1"),
        ["initial-cluster: \"http://b:1\" must have the form name=url (flag --initial-cluster)"]
    );
}

/// A member may have several peer URLs; their order makes no difference.
#[test]
fn a_member_may_have_several_peer_urls() {
    let config = config(&flags(&[
        ("name", "a"),
        ("initial-advertise-peer-urls", "http://y:1,http://x:1"),
        ("initial-cluster", "a=http://x:1,b=http://b:1,a=http://y:1"),
    ]));

    let texts: Vec<String> =
        config.initial_cluster[0].peer_urls.iter().map(Url::to_string).collect();
    assert_eq!(texts, ["http://x:1", "http://y:1"]);
    assert_eq!(config.initial_cluster[1].name, "b");
}

/// Two listeners cannot share an address.
#[test]
fn listeners_must_differ() {
    let refused = refusals(&flags(&[("listen-peer-urls", "http://localhost:2379")]));

    assert_eq!(
        refused,
        [
            "listen-peer-urls: http://localhost:2379 is also in listen-client-urls (flag --listen-peer-urls)"
        ]
    );
}

/// The initial cluster is either listed or found in the DNS, whose server can be named.
#[test]
fn discovery_is_in_place_of_the_initial_cluster() {
    let found = config(&flags(&[
        ("discovery-srv", "example.com"),
        ("discovery-srv-name", "prod"),
        ("discovery-srv-resolver", "127.0.0.1:53"),
        ("force-new-cluster", "true"),
    ]));
    assert_eq!(found.discovery_srv.as_deref(), Some("example.com"));
    assert_eq!(found.discovery_srv_name, "prod");
    assert_eq!(found.discovery_srv_resolver, Some("127.0.0.1:53".parse().unwrap()));
    assert!(found.force_new_cluster && !config(&Inputs::default()).force_new_cluster);

    let both = flags(&[
        ("discovery-srv", "example.com"),
        ("discovery-srv-resolver", "dns"),
        ("initial-cluster", "default=http://localhost:2380"),
    ]);
    assert_eq!(
        refusals(&both),
        [
            "discovery-srv: multiple discovery or bootstrap flags are set: choose one of \
             initial-cluster and discovery-srv (flag --discovery-srv)",
            "discovery-srv-resolver: \"dns\" must have the form ip:port (flag --discovery-srv-resolver)",
        ]
    );
}
