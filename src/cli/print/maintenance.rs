//! Answers about alarms, leadership and versions.

use super::{Answer, Page, json, wire};
use crate::proto::etcdserverpb::{AlarmResponse, DowngradeResponse, MoveLeaderResponse};

/// That another member leads.
pub(in crate::cli) struct Moved {
    pub(in crate::cli) from: u64,
    pub(in crate::cli) to: u64,
    pub(in crate::cli) response: MoveLeaderResponse,
}

/// What was done about a downgrade.
pub(in crate::cli) struct Downgraded {
    /// `validate`, `enable` or `cancel`.
    pub(in crate::cli) what: &'static str,
    pub(in crate::cli) response: DowngradeResponse,
}

impl Answer for AlarmResponse {
    /// As Go writes the message as text.
    fn simple(&self, page: &mut Page) {
        for alarm in &self.alarms {
            let (member, kind) = (alarm.member_id, alarm.alarm().as_str_name());
            page.line(format!("memberID:{member} alarm:{kind} "));
        }
    }

    fn fields(&self, page: &mut Page) -> bool {
        page.header(self.header.as_ref());
        for alarm in &self.alarms {
            page.id("MemberID", alarm.member_id);
            page.field("AlarmType", alarm.alarm().as_str_name());
            page.line("");
        }
        true
    }

    fn json(&self, _: bool) -> String {
        json::of("etcdserverpb.AlarmResponse", self)
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        wire(self)
    }
}

impl Answer for Moved {
    fn simple(&self, page: &mut Page) {
        page.line(format!("Leadership transferred from {:x} to {:x}", self.from, self.to));
    }

    fn json(&self, _: bool) -> String {
        json::of("etcdserverpb.MoveLeaderResponse", &self.response)
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        wire(&self.response)
    }
}

impl Answer for Downgraded {
    fn simple(&self, page: &mut Page) {
        let (what, version) = (self.what, &self.response.version);
        page.line(format!("Downgrade {what} success, cluster version {version}"));
    }

    fn json(&self, _: bool) -> String {
        json::of("etcdserverpb.DowngradeResponse", &self.response)
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        wire(&self.response)
    }
}
