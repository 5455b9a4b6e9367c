//! What is served as JSON, and under which paths.

use axum::http::Method as HttpMethod;

/// What is served where: an HTTP method, a path, and the method of a service as
/// `package.Service/Method`.
pub type Route = (HttpMethod, &'static str, &'static str);

/// The registry.
pub const REGISTRY: &[Route] = &[
    (HttpMethod::POST, "/v1/registry/register", "quorate.registry.v1.Registry/Register"),
    (HttpMethod::POST, "/v1/registry/deregister", "quorate.registry.v1.Registry/Deregister"),
    (HttpMethod::POST, "/v1/registry/resolve", "quorate.registry.v1.Registry/Resolve"),
    (HttpMethod::POST, "/v1/registry/list-services", "quorate.registry.v1.Registry/ListServices"),
    (HttpMethod::POST, "/v1/registry/set-override", "quorate.registry.v1.Registry/SetOverride"),
    (HttpMethod::POST, "/v1/registry/clear-override", "quorate.registry.v1.Registry/ClearOverride"),
    (HttpMethod::POST, "/v1/registry/watch", "quorate.registry.v1.Registry/Watch"),
];

/// etcd's API, with every path that etcd's own gateway has.
pub const ETCD: &[Route] = &[
    (HttpMethod::POST, "/v3/kv/range", "etcdserverpb.KV/Range"),
    (HttpMethod::POST, "/v3/kv/put", "etcdserverpb.KV/Put"),
    (HttpMethod::POST, "/v3/kv/deleterange", "etcdserverpb.KV/DeleteRange"),
    (HttpMethod::POST, "/v3/kv/txn", "etcdserverpb.KV/Txn"),
    (HttpMethod::POST, "/v3/kv/compaction", "etcdserverpb.KV/Compact"),
    (HttpMethod::POST, "/v3/watch", "etcdserverpb.Watch/Watch"),
    (HttpMethod::POST, "/v3/lease/grant", "etcdserverpb.Lease/LeaseGrant"),
    (HttpMethod::POST, "/v3/lease/revoke", "etcdserverpb.Lease/LeaseRevoke"),
    (HttpMethod::POST, "/v3/kv/lease/revoke", "etcdserverpb.Lease/LeaseRevoke"),
    (HttpMethod::POST, "/v3/lease/keepalive", "etcdserverpb.Lease/LeaseKeepAlive"),
    (HttpMethod::POST, "/v3/lease/timetolive", "etcdserverpb.Lease/LeaseTimeToLive"),
    (HttpMethod::POST, "/v3/kv/lease/timetolive", "etcdserverpb.Lease/LeaseTimeToLive"),
    (HttpMethod::POST, "/v3/lease/leases", "etcdserverpb.Lease/LeaseLeases"),
    (HttpMethod::POST, "/v3/kv/lease/leases", "etcdserverpb.Lease/LeaseLeases"),
    (HttpMethod::POST, "/v3/cluster/member/add", "etcdserverpb.Cluster/MemberAdd"),
    (HttpMethod::POST, "/v3/cluster/member/remove", "etcdserverpb.Cluster/MemberRemove"),
    (HttpMethod::POST, "/v3/cluster/member/update", "etcdserverpb.Cluster/MemberUpdate"),
    (HttpMethod::POST, "/v3/cluster/member/list", "etcdserverpb.Cluster/MemberList"),
    (HttpMethod::POST, "/v3/cluster/member/promote", "etcdserverpb.Cluster/MemberPromote"),
    (HttpMethod::POST, "/v3/maintenance/alarm", "etcdserverpb.Maintenance/Alarm"),
    (HttpMethod::POST, "/v3/maintenance/status", "etcdserverpb.Maintenance/Status"),
    (HttpMethod::POST, "/v3/maintenance/defragment", "etcdserverpb.Maintenance/Defragment"),
    (HttpMethod::POST, "/v3/maintenance/hash", "etcdserverpb.Maintenance/Hash"),
    (HttpMethod::POST, "/v3/maintenance/hashkv", "etcdserverpb.Maintenance/HashKV"),
    (HttpMethod::POST, "/v3/maintenance/snapshot", "etcdserverpb.Maintenance/Snapshot"),
    (
        HttpMethod::POST,
        "/v3/maintenance/transfer-leadership",
        "etcdserverpb.Maintenance/MoveLeader",
    ),
    (HttpMethod::POST, "/v3/maintenance/downgrade", "etcdserverpb.Maintenance/Downgrade"),
    (HttpMethod::POST, "/v3/auth/enable", "etcdserverpb.Auth/AuthEnable"),
    (HttpMethod::POST, "/v3/auth/disable", "etcdserverpb.Auth/AuthDisable"),
    (HttpMethod::POST, "/v3/auth/status", "etcdserverpb.Auth/AuthStatus"),
    (HttpMethod::POST, "/v3/auth/authenticate", "etcdserverpb.Auth/Authenticate"),
    (HttpMethod::POST, "/v3/auth/user/add", "etcdserverpb.Auth/UserAdd"),
    (HttpMethod::POST, "/v3/auth/user/get", "etcdserverpb.Auth/UserGet"),
    (HttpMethod::POST, "/v3/auth/user/list", "etcdserverpb.Auth/UserList"),
    (HttpMethod::POST, "/v3/auth/user/delete", "etcdserverpb.Auth/UserDelete"),
    (HttpMethod::POST, "/v3/auth/user/changepw", "etcdserverpb.Auth/UserChangePassword"),
    (HttpMethod::POST, "/v3/auth/user/grant", "etcdserverpb.Auth/UserGrantRole"),
    (HttpMethod::POST, "/v3/auth/user/revoke", "etcdserverpb.Auth/UserRevokeRole"),
    (HttpMethod::POST, "/v3/auth/role/add", "etcdserverpb.Auth/RoleAdd"),
    (HttpMethod::POST, "/v3/auth/role/get", "etcdserverpb.Auth/RoleGet"),
    (HttpMethod::POST, "/v3/auth/role/list", "etcdserverpb.Auth/RoleList"),
    (HttpMethod::POST, "/v3/auth/role/delete", "etcdserverpb.Auth/RoleDelete"),
    (HttpMethod::POST, "/v3/auth/role/grant", "etcdserverpb.Auth/RoleGrantPermission"),
    (HttpMethod::POST, "/v3/auth/role/revoke", "etcdserverpb.Auth/RoleRevokePermission"),
    (HttpMethod::POST, "/v3/lock/lock", "v3lockpb.Lock/Lock"),
    (HttpMethod::POST, "/v3/lock/unlock", "v3lockpb.Lock/Unlock"),
    (HttpMethod::POST, "/v3/election/campaign", "v3electionpb.Election/Campaign"),
    (HttpMethod::POST, "/v3/election/proclaim", "v3electionpb.Election/Proclaim"),
    (HttpMethod::POST, "/v3/election/leader", "v3electionpb.Election/Leader"),
    (HttpMethod::POST, "/v3/election/observe", "v3electionpb.Election/Observe"),
    (HttpMethod::POST, "/v3/election/resign", "v3electionpb.Election/Resign"),
];
