//! Answers of single endpoints.

use super::{Answer, Json, Page, Table, json};
use crate::proto::etcdserverpb::{HashKvResponse, StatusResponse};

/// What several endpoints answered.
pub(in crate::cli) struct Endpoints<T>(pub(in crate::cli) Vec<T>);

/// How an endpoint is.
pub(in crate::cli) struct EndpointHealth {
    pub(in crate::cli) endpoint: String,
    /// How long the check took, as Go writes it.
    pub(in crate::cli) took: String,
    /// Why it is not well.
    pub(in crate::cli) error: Option<String>,
}

/// What an endpoint says of itself.
pub(in crate::cli) struct EndpointStatus {
    pub(in crate::cli) endpoint: String,
    pub(in crate::cli) status: StatusResponse,
}

/// The checksum of an endpoint's data.
pub(in crate::cli) struct EndpointHash {
    pub(in crate::cli) endpoint: String,
    pub(in crate::cli) hash: HashKvResponse,
}

fn list<T>(all: &[T], json: impl Fn(&T) -> String) -> String {
    if all.is_empty() {
        return "null".to_owned();
    }
    all.iter().fold(Json::list(), |list, one| list.element(&json(one))).end()
}

impl Answer for Endpoints<EndpointHealth> {
    /// Those that are well. The others are the command's to complain of.
    fn simple(&self, page: &mut Page) {
        for it in self.0.iter().filter(|it| it.error.is_none()) {
            let (endpoint, took) = (&it.endpoint, &it.took);
            page.line(format!(
                "{endpoint} is healthy: successfully committed proposal: took = {took}"
            ));
        }
    }

    fn fields(&self, page: &mut Page) -> bool {
        for it in &self.0 {
            page.text("Endpoint", &it.endpoint);
            page.field("Health", it.error.is_none());
            page.field("Took", &it.took);
            page.field("Error", it.error.as_deref().unwrap_or_default());
            page.line("");
        }
        true
    }

    fn json(&self, _: bool) -> String {
        list(&self.0, |it| {
            let object = Json::object()
                .text("endpoint", &it.endpoint)
                .plain("health", it.error.is_none())
                .text("took", &it.took);
            let error = it.error.iter();
            error.fold(object, |object, error| object.text("error", error)).end()
        })
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        None
    }

    fn table(&self) -> Option<Table> {
        let mut table = Table::new(&["endpoint", "health", "took", "error"]);
        for it in &self.0 {
            let error = it.error.clone().unwrap_or_default();
            let health = it.error.is_none().to_string();
            table.row(vec![it.endpoint.clone(), health, it.took.clone(), error]);
        }
        Some(table)
    }
}

impl Answer for Endpoints<EndpointStatus> {
    fn simple(&self, page: &mut Page) {
        statuses(&self.0).lines().for_each(|line| page.line(line));
    }

    fn fields(&self, page: &mut Page) -> bool {
        for EndpointStatus { endpoint, status } in &self.0 {
            page.header(status.header.as_ref());
            page.text("Version", &status.version);
            page.text("StorageVersion", &status.storage_version);
            page.field("DBSize", status.db_size);
            page.field("DBSizeInUse", status.db_size_in_use);
            page.field("DBSizeQuota", status.db_size_quota);
            page.field("Leader", status.leader);
            page.field("IsLearner", status.is_learner);
            page.field("RaftIndex", status.raft_index);
            page.field("RaftTerm", status.raft_term);
            page.field("RaftAppliedIndex", status.raft_applied_index);
            page.field("Errors", format_args!("[{}]", status.errors.join(" ")));
            page.text("Endpoint", endpoint);
            let downgrade = status.downgrade_info.clone().unwrap_or_default();
            page.text("DowngradeTargetVersion", &downgrade.target_version);
            page.field("DowngradeEnabled", downgrade.enabled);
            page.line("");
        }
        true
    }

    fn json(&self, _: bool) -> String {
        list(&self.0, |it| {
            let status = json::of("etcdserverpb.StatusResponse", &it.status);
            Json::object().text("Endpoint", &it.endpoint).raw("Status", &status).end()
        })
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        None
    }

    fn table(&self) -> Option<Table> {
        Some(statuses(&self.0))
    }
}

fn statuses(all: &[EndpointStatus]) -> Table {
    let mut table = Table::new(&[
        "endpoint",
        "ID",
        "version",
        "storage version",
        "db size",
        "in use",
        "percentage not in use",
        "quota",
        "is leader",
        "is learner",
        "raft term",
        "raft index",
        "raft applied index",
        "errors",
        "downgrade target version",
        "downgrade enabled",
    ]);
    for EndpointStatus { endpoint, status } in all {
        let member = status.header.as_ref().map_or(0, |header| header.member_id);
        let downgrade = status.downgrade_info.clone().unwrap_or_default();
        let in_use = status.db_size_in_use.saturating_mul(100).checked_div(status.db_size);
        table.row(vec![
            endpoint.clone(),
            format!("{member:x}"),
            status.version.clone(),
            status.storage_version.clone(),
            size(status.db_size),
            size(status.db_size_in_use),
            format!("{}%", in_use.map_or(0, |in_use| 100_i64.saturating_sub(in_use))),
            size(status.db_size_quota),
            (status.leader == member).to_string(),
            status.is_learner.to_string(),
            status.raft_term.to_string(),
            status.raft_index.to_string(),
            status.raft_applied_index.to_string(),
            status.errors.join(", "),
            downgrade.target_version,
            downgrade.enabled.to_string(),
        ]);
    }
    table
}

impl Answer for Endpoints<EndpointHash> {
    fn simple(&self, page: &mut Page) {
        hashes(&self.0).lines().for_each(|line| page.line(line));
    }

    fn fields(&self, page: &mut Page) -> bool {
        for EndpointHash { endpoint, hash } in &self.0 {
            page.header(hash.header.as_ref());
            page.text("Endpoint", endpoint);
            page.field("Hash", hash.hash);
            page.field("HashRevision", hash.hash_revision);
            page.line("");
        }
        true
    }

    fn json(&self, _: bool) -> String {
        list(&self.0, |it| {
            let hash = json::of("etcdserverpb.HashKVResponse", &it.hash);
            Json::object().text("Endpoint", &it.endpoint).raw("HashKV", &hash).end()
        })
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        None
    }

    fn table(&self) -> Option<Table> {
        Some(hashes(&self.0))
    }
}

fn hashes(all: &[EndpointHash]) -> Table {
    let mut table = Table::new(&["endpoint", "hash", "hash_revision"]);
    for EndpointHash { endpoint, hash } in all {
        let (checksum, revision) = (hash.hash.to_string(), hash.hash_revision.to_string());
        table.row(vec![endpoint.clone(), checksum, revision]);
    }
    table
}

/// A size in thousands, with a decimal while the number is small: `20 kB`, `1.6 MB`.
pub(in crate::cli) fn size(bytes: i64) -> String {
    let bytes = u64::try_from(bytes).unwrap_or(0);
    let mut unit: u64 = 1;
    let mut names = ["B", "kB", "MB", "GB", "TB", "PB"].into_iter();
    let mut name = names.next().unwrap_or_default();
    for next in names {
        if bytes / unit < 1000 {
            break;
        }
        (unit, name) = (unit * 1000, next);
    }
    // etcdctl rounds to tenths, half up, and then, where those are not shown, halves to even.
    let unit = u128::from(unit);
    let tenths = (u128::from(bytes) * 10 + unit / 2) / unit;
    if unit > 1 && tenths < 100 {
        return format!("{}.{} {name}", tenths / 10, tenths % 10);
    }
    let (whole, rest) = (tenths / 10, tenths % 10);
    let up = rest > 5 || (rest == 5 && whole % 2 == 1);
    format!("{} {name}", whole + u128::from(up))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Format, testing::shown},
        *,
    };
    use crate::proto::etcdserverpb::ResponseHeader;

    /// Sizes read as those of etcdctl.
    #[test]
    fn sizes_are_in_thousands() {
        for (bytes, text) in [
            (-1, "0 B"),
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (20_480, "20 kB"),
            (21_504, "22 kB"),
            (78_613_536, "79 MB"),
            (1_572_864, "1.6 MB"),
            (2_147_483_648, "2.1 GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    /// The columns are those of etcdctl, and a size of nothing does no harm.
    #[test]
    fn a_status_reads_as_etcdctls() {
        let status = StatusResponse {
            header: Some(ResponseHeader { member_id: 0x1f, ..ResponseHeader::default() }),
            version: "3.7.1".to_owned(),
            leader: 0x1f,
            raft_term: 2,
            raft_index: 9,
            raft_applied_index: 8,
            ..StatusResponse::default()
        };
        let all = Endpoints(vec![EndpointStatus { endpoint: "a:1".to_owned(), status }]);
        assert_eq!(
            shown(&all, Format::Simple, false).unwrap(),
            "a:1, 1f, 3.7.1, , 0 B, 0 B, 0%, 0 B, true, false, 2, 9, 8, , , false\n"
        );
    }
}
