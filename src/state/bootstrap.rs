//! The first state of a cluster.

use crate::{
    state::{
        ConfState, FORMAT_VERSION, Family, Member, Writes, member,
        schema::meta::{
            APPLIED_KEY, CLUSTER_KEY, CONF_STATE_KEY, FORMAT_KEY, STORE_KEY, Store, encode_applied,
            encode_cluster, encode_conf_state, encode_format, encode_store,
        },
    },
    types::{ClusterId, Index, Term},
};

/// The state in which a new cluster begins, the same on each of its first members: an empty store
/// at revision 1 that has applied entry 1 of term 1, the origin of the log, which nobody holds.
#[must_use]
pub fn bootstrap(cluster: ClusterId, members: &[Member]) -> Writes {
    let mut conf_state = ConfState::default();
    for member in members {
        let list = if member.learner { &mut conf_state.learners } else { &mut conf_state.voters };
        list.push(member.id);
    }
    conf_state.voters.sort_unstable();
    conf_state.learners.sort_unstable();

    let fixed = [
        (APPLIED_KEY, encode_applied(Index(1), Term(1))),
        (CLUSTER_KEY, encode_cluster(cluster)),
        (CONF_STATE_KEY, encode_conf_state(&conf_state)),
        (FORMAT_KEY, encode_format(FORMAT_VERSION)),
        (STORE_KEY, encode_store(&Store::default())),
    ];
    let fixed = fixed.into_iter().map(|(key, value)| (key.into(), value));
    let records = fixed.chain(members.iter().map(member::record));
    Writes {
        records: records.map(|(key, value)| ((Family::Meta, key), Some(value))).collect(),
        dropped_ranges: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        state::{meta, testing::MapView},
        types::{MemberId, Revision},
    };

    /// What was put in can be read, and the store is empty at revision 1.
    #[test]
    fn a_new_cluster_reads_as_it_was_set_up() {
        let members = [
            Member { id: MemberId(2), name: "b".into(), learner: true, ..Member::default() },
            Member {
                id: MemberId(1),
                name: "a".into(),
                peer_urls: vec!["http://a:2380".into()],
                ..Member::default()
            },
        ];
        let mut view = MapView::default();
        view.commit(bootstrap(ClusterId(0xc1), &members));

        assert_eq!(meta::revision(&view).unwrap(), Revision(1));
        assert_eq!(meta::compacted(&view).unwrap(), Revision::NEVER_COMPACTED);
        assert_eq!(meta::logical_size(&view).unwrap(), 0);
        assert_eq!(meta::applied(&view).unwrap(), (Index(1), Term(1)));
        assert_eq!(meta::cluster(&view).unwrap(), Some(ClusterId(0xc1)));
        assert_eq!(meta::format_version(&view).unwrap(), Some(FORMAT_VERSION));
        let conf_state = meta::conf_state(&view).unwrap();
        assert_eq!(
            (conf_state.voters, conf_state.learners),
            (vec![MemberId(1)], vec![MemberId(2)])
        );
        let [first, second] = members;
        assert_eq!(meta::members(&view).unwrap(), [second, first]);
    }

    /// A state that was never set up says so.
    #[test]
    fn an_empty_state_reads_as_none() {
        let view = MapView::default();
        assert_eq!(meta::applied(&view).unwrap(), (Index(0), Term(0)));
        assert_eq!(meta::cluster(&view).unwrap(), None);
        assert_eq!(meta::format_version(&view).unwrap(), None);
        assert_eq!(meta::revision(&view).unwrap(), Revision(1));
    }
}
