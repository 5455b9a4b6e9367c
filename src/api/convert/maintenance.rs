//! Alarms.

use crate::{
    api::convert::Invalid,
    proto::etcdserverpb::{self, AlarmType, alarm_request::AlarmAction},
    state::{Alarm, AlarmCommand, AlarmKind},
    types::MemberId,
};

/// What an alarm request comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmRequest {
    /// List the alarms: of one kind, or all.
    List(Option<AlarmKind>),
    /// Raise or clear one.
    Change(AlarmCommand),
    /// Nothing: an action or a kind that does not exist. It succeeds, as in etcd.
    Nothing,
}

/// What an alarm request comes to.
#[must_use]
pub fn alarm(request: etcdserverpb::AlarmRequest) -> AlarmRequest {
    let Ok(action) = AlarmAction::try_from(request.action) else {
        return AlarmRequest::Nothing;
    };
    let Ok(kind) = AlarmType::try_from(request.alarm).map(alarm_kind) else {
        return AlarmRequest::Nothing;
    };
    let change = |active| {
        kind.map_or(AlarmRequest::Nothing, |kind| {
            let alarm = Alarm { member: MemberId(request.member_id), kind };
            AlarmRequest::Change(AlarmCommand { active, alarm })
        })
    };
    match action {
        AlarmAction::Get => AlarmRequest::List(kind),
        AlarmAction::Activate => change(true),
        AlarmAction::Deactivate => change(false),
    }
}

fn alarm_kind(alarm: AlarmType) -> Option<AlarmKind> {
    match alarm {
        AlarmType::None => None,
        AlarmType::Nospace => Some(AlarmKind::NoSpace),
        AlarmType::Corrupt => Some(AlarmKind::Corrupt),
    }
}

/// Alarms as clients see them.
#[must_use]
pub fn alarms(alarms: Vec<Alarm>) -> Vec<etcdserverpb::AlarmMember> {
    alarms
        .into_iter()
        .map(|alarm| etcdserverpb::AlarmMember {
            member_id: alarm.member.0,
            alarm: match alarm.kind {
                AlarmKind::NoSpace => AlarmType::Nospace,
                AlarmKind::Corrupt => AlarmType::Corrupt,
            }
            .into(),
        })
        .collect()
}

/// The name of an alarm, as etcd prints it.
#[must_use]
pub fn alarm_name(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::NoSpace => AlarmType::Nospace.as_str_name(),
        AlarmKind::Corrupt => AlarmType::Corrupt.as_str_name(),
    }
}

/// An alarm in one line of text, as it stands among the errors of a member's status; etcd's text
/// ends in a blank.
#[must_use]
pub fn alarm_text(alarm: Alarm) -> String {
    format!("memberID:{} alarm:{} ", alarm.member.0, alarm_name(alarm.kind))
}

/// The first two numbers of a version such as `3.6` or `3.6.0`, as etcd reads it.
///
/// # Errors
///
/// [`Invalid::DowngradeFormat`] when it is no version.
pub fn cluster_version(text: &str) -> Result<(i64, i64), Invalid> {
    let read = |text: &str| {
        let text = text.split('+').next()?;
        let mut numbers = text.split('-').next()?.splitn(3, '.').map(str::parse::<i64>);
        match (numbers.next()?, numbers.next()?, numbers.next()?) {
            (Ok(major), Ok(minor), Ok(_)) => Some((major, minor)),
            _ => None,
        }
    };
    read(text).or_else(|| read(&format!("{text}.0"))).ok_or(Invalid::DowngradeFormat)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two numbers or three, and what semantic versions may have behind them.
    #[test]
    fn case_35_versions_are_read_as_etcd_reads_them() {
        for text in ["3.5", "3.5.0", "3.5.9", "3.5.0-rc.1", "3.5.0+build"] {
            assert_eq!(cluster_version(text), Ok((3, 5)), "{text}");
        }
        for text in ["", "3", "3.", "a.b", "3.5.0.1", "v3.5", "3.5-rc"] {
            assert_eq!(cluster_version(text), Err(Invalid::DowngradeFormat), "{text}");
        }
    }

    fn request(action: i32, alarm: i32) -> AlarmRequest {
        super::alarm(etcdserverpb::AlarmRequest { action, member_id: 7, alarm })
    }

    /// NONE lists every alarm and changes none; numbers that do not exist do nothing.
    #[test]
    fn requests_of_no_kind_change_nothing() {
        assert_eq!(request(0, 0), AlarmRequest::List(None));
        assert_eq!(request(0, 2), AlarmRequest::List(Some(AlarmKind::Corrupt)));
        assert_eq!(request(1, 0), AlarmRequest::Nothing);
        assert_eq!(request(2, 0), AlarmRequest::Nothing);
        assert_eq!(request(0, 3), AlarmRequest::Nothing);
        assert_eq!(request(3, 1), AlarmRequest::Nothing);
    }

    /// Raising and clearing name the member of the request.
    #[test]
    fn changes_name_the_member() {
        let alarm = Alarm { member: MemberId(7), kind: AlarmKind::NoSpace };
        assert_eq!(request(1, 1), AlarmRequest::Change(AlarmCommand { active: true, alarm }));
        assert_eq!(request(2, 1), AlarmRequest::Change(AlarmCommand { active: false, alarm }));
    }

    /// The text has the member's id in decimal and ends in a blank.
    #[test]
    fn text_is_that_of_etcd() {
        let alarm = Alarm { member: MemberId(26), kind: AlarmKind::NoSpace };
        assert_eq!(alarm_text(alarm), "memberID:26 alarm:NOSPACE ");
    }
}
