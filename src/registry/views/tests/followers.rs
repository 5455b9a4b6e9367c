//! What followers are told, case by case.

use futures_util::poll;
use tokio::{spawn, task::yield_now, time::sleep};

use super::*;
use crate::{
    node,
    registry::{DownReason, Error, Follow, Snapshot, Told, views::snapshot::Room},
    state::{
        Command, RevokeCause,
        testing::{compact, delete, grant, revoke},
    },
    types::{Index, LeaseId, limits::REGISTRY_CATCH_UPS_MAX},
};

/// What is told next, in words, bookmarks aside.
async fn next(follow: &mut Follow) -> String {
    loop {
        match soon(follow.next()).await.unwrap() {
            Told::Snapshot { revision, reset, instances } => {
                let what = if reset { "reset" } else { "snapshot" };
                return format!("{what} {revision} {}", text(&instances.all()).join(" "));
            }
            Told::Changes { revision, changes } => {
                let words = changes.iter().map(|change| {
                    let reason = match change.reason {
                        None => "",
                        Some(DownReason::Deregistered) => " deregistered",
                        Some(DownReason::Expired) => " expired",
                    };
                    let sides = [&change.before, &change.after];
                    let [before, after] = sides.map(|it| text(it).join(""));
                    format!("[{before}>{after}{reason}]")
                });
                return format!("{revision} {}", words.collect::<Vec<_>>().join(" "));
            }
            Told::Bookmark(_) => {}
        }
    }
}

/// A snapshot, then what happens to the service and nothing else, each for its reason; the same with
/// and without a view in memory.
#[tokio::test]
async fn a_follower_is_told_of_its_service() {
    for view in [usize::MAX, 0] {
        let mut member = Member::start().await;
        let views = member.views(Limits { view, ..ROOMY });
        member.put("/services/n/a/1", "h:1").await;
        for lease in [7, 8] {
            member.running.propose(grant(lease)).await;
        }
        let mut follow = views.follow(scope("n", "a"), None).await.unwrap();
        let first = next(&mut follow).await;
        // The view may not have come so far.
        if first == "snapshot 1 " {
            assert_eq!(next(&mut follow).await, "2 [>1=h:1]");
        } else {
            assert_eq!(first, "snapshot 2 1=h:1");
        }
        for (id, lease) in [("2", 7), ("3", 8)] {
            let put = put(&format!("/services/n/a/{id}")).value("h:2").attached_to(lease);
            member.running.propose(put).await;
        }
        member.put("/services/n/b/1", "h:1").await;
        member.running.propose(revoke(7)).await;
        let (term, known) = (member.running.handle.term(), Index(u64::MAX));
        let cause = RevokeCause::Expiry { term, known };
        member.running.propose(Command::LeaseRevoke { id: LeaseId(8), cause }).await;
        member.put("/services/n/a/1", "h:3").await;
        member.running.propose(delete("/services/n/a/1")).await;

        for expected in [
            "3 [>2=h:2]",
            "4 [>3=h:2]",
            "6 [2=h:2> deregistered]",
            "7 [3=h:2> expired]",
            "8 [1=h:1>1=h:3]",
            "9 [1=h:3> deregistered]",
        ] {
            assert_eq!(next(&mut follow).await, expected);
        }
    }
}

/// Who goes on from before what is kept is told everything since, or everything anew when that is
/// compacted.
#[tokio::test]
async fn a_follower_goes_on_from_any_revision() {
    let few = Bounds { revisions: 1, ..ROOMY.recent };
    for limits in [ROOMY, Limits { recent: few, ..ROOMY }, Limits { view: 0, ..ROOMY }] {
        let mut member = Member::start().await;
        let views = member.views(limits);
        for port in 1..6 {
            member.put("/services/n/a/1", &format!("h:{port}")).await;
        }
        let mut follows = Vec::new();
        for after in 2..6 {
            let mut follow = views.follow(scope("n", "a"), Some(Revision(after))).await.unwrap();
            for revision in after + 1..7 {
                let [before, now] = [revision - 2, revision - 1];
                assert_eq!(next(&mut follow).await, format!("{revision} [1=h:{before}>1=h:{now}]"));
            }
            follows.push(follow);
        }
        member.running.propose(compact(5)).await;
        if limits.view == 0 {
            let mut follow = views.follow(Scope::All, Some(Revision(4))).await.unwrap();
            assert_eq!(next(&mut follow).await, "reset 6 1=h:5");
        }
        let mut follow = views.follow(Scope::All, Some(Revision(5))).await.unwrap();
        assert_eq!(next(&mut follow).await, "6 [1=h:4>1=h:5]");
        // However they came to where they are, they go on from there.
        member.put("/services/n/a/1", "h:9").await;
        for follow in &mut follows {
            assert_eq!(next(follow).await, "7 [1=h:5>1=h:9]");
        }
    }
}

/// A revision that is to come is waited for.
#[tokio::test]
async fn a_follower_waits_for_a_revision_to_come() {
    for view in [usize::MAX, 0] {
        let mut member = Member::start().await;
        let views = member.views(Limits { view, ..ROOMY });
        let mut follow = views.follow(scope("n", "a"), Some(Revision(3))).await.unwrap();
        let told = spawn(async move { follow.next().await });
        for port in 1..4 {
            member.put("/services/n/a/1", &format!("h:{port}")).await;
        }
        let Told::Changes { revision, changes } = soon(told).await.unwrap().unwrap() else {
            panic!("nothing else was to be told")
        };
        assert_eq!((revision, changes.len()), (Revision(4), 1));
        assert_eq!(changes[0].before.as_ref().unwrap().port, 2);
    }
}

/// A follower to whom nothing happens is told how far things have come, and goes on from there.
#[tokio::test]
async fn bookmarks_tell_how_far_things_have_come() {
    for view in [usize::MAX, 0] {
        let mut member = Member::start().await;
        let views = member.views(Limits { view, ..ROOMY });
        let mut follow = views.follow(scope("n", "a"), None).await.unwrap();
        assert!(next(&mut follow).await.starts_with("snapshot"));
        let last = member.put("other", "v").await;
        let mut known = Revision(0);
        while known < last {
            let told = soon(follow.next()).await.unwrap();
            assert!(matches!(told, Told::Bookmark(_)), "{told:?}");
            assert!(told.revision() > known, "{told:?} after {known}");
            known = told.revision();
        }
        assert_eq!(known, last);
        member.put("/services/n/a/1", "h:1").await;
        assert_eq!(next(&mut follow).await, "3 [>1=h:1]");
    }
}

/// Followers that need more memory than there is are told everything anew, if that is in memory, or
/// sent away.
#[tokio::test]
async fn followers_take_no_more_memory_than_there_is() {
    let few = Bounds { revisions: 1, ..ROOMY.recent };
    let mut member = Member::start().await;
    let kept = member.loaded(Limits { own: 100, recent: few, ..ROOMY }).await;
    let stored = member.views(Limits { own: 100, view: 0, ..ROOMY });
    for port in 1..4 {
        member.put("/services/n/a/1", &format!("h:{port}")).await;
    }
    until(&kept, Revision(4)).await;

    let mut follow = kept.follow(scope("n", "a"), Some(Revision(2))).await.unwrap();
    assert_eq!(next(&mut follow).await, "reset 4 1=h:3");
    let mut follow = stored.follow(scope("n", "a"), Some(Revision(2))).await.unwrap();
    let error = soon(follow.next()).await.unwrap_err();
    assert_eq!(error, Error::Node(node::Error::TooManyRequests));
    drop(follow);
    for views in [kept, stored] {
        assert_eq!(views.figures().follower_bytes, 0);
    }
}

/// Who leaves leaves nothing behind.
#[tokio::test]
async fn topics_end_with_their_followers() {
    let mut member = Member::start().await;
    let views = member.loaded(ROOMY).await;
    for round in 0..3 {
        let mut follow = views.follow(scope("n", &format!("s{round}")), None).await.unwrap();
        assert!(next(&mut follow).await.starts_with("snapshot"));
        assert_eq!((views.figures().followers, views.shared.read().topics()), (1, 1));
    }
    assert_eq!((views.figures().followers, views.shared.read().topics()), (0, 0));
}

/// A follower is told everything although the view that it shared is given up meanwhile.
#[tokio::test]
async fn a_follower_outlives_the_view() {
    let mut member = Member::start().await;
    let views = member.loaded(Limits { view: 5_000, ..ROOMY }).await;
    let mut follow = views.follow(scope("n", "a"), None).await.unwrap();
    assert_eq!(next(&mut follow).await, "snapshot 1 ");
    for port in 2..30 {
        member.put(&format!("/services/n/a/{port}"), &format!("h:{port}")).await;
    }
    for port in 2..30 {
        assert_eq!(next(&mut follow).await, format!("{port} [>{port}=h:{port}]"));
    }
    assert!(!views.figures().is_in_memory);
    assert!(views.figures().follower_bytes > 0);
    drop(follow);
    assert_eq!(views.figures().follower_bytes, 0);
}

/// A follower that is overtaken by a compaction while it reads history is told everything anew.
#[tokio::test]
async fn a_follower_is_overtaken_by_a_compaction() {
    let mut member = Member::start().await;
    // Nobody reads history for it.
    member.tasks.remove(0).abort();
    let views = member.views(Limits { view: 0, ..ROOMY });
    for port in 1..6 {
        member.put("/services/n/a/1", &format!("h:{port}")).await;
    }
    let mut follow = views.follow(scope("n", "a"), Some(Revision(3))).await.unwrap();
    // Once it has read what there was then, it waits for what came after it.
    let mut waiting = Box::pin(follow.next());
    while views.figures().follower_bytes == 0 {
        assert!(poll!(waiting.as_mut()).is_pending());
        yield_now().await;
    }
    drop(waiting);
    member.running.propose(compact(6)).await;
    member.tasks.push(spawn(member.running.handle.clone().fan_out()));
    assert_eq!(next(&mut follow).await, "reset 6 1=h:5");
}

/// Followers for whom there is no room while the view is loaded wait for it, and share it.
#[tokio::test]
async fn followers_wait_for_a_view_that_is_loaded() {
    let mut member = Member::start().await;
    for port in 1..4 {
        member.put("/services/n/a/1", &format!("h:{port}")).await;
    }
    let views = Views::bounded(member.running.handle.clone(), Limits { own: 100, ..ROOMY });
    let follow = |after| {
        let views = Arc::clone(&views);
        spawn(async move {
            let mut follow = views.follow(Scope::All, after).await.unwrap();
            next(&mut follow).await
        })
    };
    let (anew, after) = (follow(None), follow(Some(Revision(2))));
    // Each looks for how far the view has come.
    soon(async {
        while views.fits.receiver_count() < 2 {
            yield_now().await;
        }
    })
    .await;
    assert!(!anew.is_finished() && !after.is_finished());

    member.tasks.push(spawn(Arc::clone(&views).follow_keys()));
    assert_eq!(soon(anew).await.unwrap(), "snapshot 4 1=h:3");
    // What happened before the view was there is not in it.
    assert_eq!(soon(after).await.unwrap(), "reset 4 1=h:3");
}

/// Followers for whom there is no room are sent away when the view does not fit into memory either.
#[tokio::test]
async fn followers_do_not_wait_for_a_view_that_does_not_fit() {
    let mut member = Member::start().await;
    member.put("/services/n/a/1", "h:1").await;
    let views = member.views(Limits { own: 100, view: 100, ..ROOMY });
    let mut follow = views.follow(Scope::All, None).await.unwrap();
    let error = soon(follow.next()).await.unwrap_err();
    assert_eq!(error, Error::Node(node::Error::TooManyRequests));
}

/// Who waits for a place to read history in finds the view that came meanwhile.
#[tokio::test]
async fn followers_look_again_when_they_have_a_place() {
    let mut member = Member::start().await;
    member.put("/services/n/a/1", "h:1").await;
    let views = Views::bounded(member.running.handle.clone(), ROOMY);
    let all = u32::try_from(REGISTRY_CATCH_UPS_MAX).unwrap();
    let places = views.catch_ups.acquire_many(all).await.unwrap();
    let mut follow = views.follow(Scope::All, None).await.unwrap();
    let mut waiting = Box::pin(follow.next());
    assert!(poll!(waiting.as_mut()).is_pending());

    member.tasks.push(spawn(Arc::clone(&views).follow_keys()));
    until(&views, Revision(2)).await;
    drop(places);
    let told = soon(waiting).await.unwrap();
    assert!(matches!(told, Told::Snapshot { revision: Revision(2), .. }), "{told:?}");
    let bytes = views.figures().follower_bytes;
    assert!((1..100).contains(&bytes), "it has no catalog of its own: {bytes}");
}

/// A snapshot that nobody takes is counted, and does not keep what it shows for ever.
#[tokio::test]
async fn a_snapshot_is_to_be_taken_in_time() {
    let mut member = Member::start().await;
    let views = member.loaded(ROOMY).await;
    for id in 0..3 {
        let last = member.put(&format!("/services/n/a/{id}"), "h:1").await;
        until(&views, last).await;
    }
    let services = views.shared.read().catalog().unwrap().within(&Scope::All);
    let service = Arc::downgrade(&services[0]);
    let mut room = Room::new(&views);
    assert!(room.take(8));
    let mut snapshot = Snapshot::within(Some(room), services, Duration::from_millis(20));
    assert_eq!(snapshot.take().unwrap().unwrap().name.id.as_str(), "0");
    assert_eq!(views.figures().follower_bytes, 8);

    // The catalog has another one from now on.
    member.put("/services/n/a/0", "h:2").await;
    soon(async {
        while service.strong_count() > 0 {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert_eq!(views.figures().follower_bytes, 0);
    assert!(!snapshot.is_over());
    assert_eq!(snapshot.take().unwrap_err(), Error::Node(node::Error::TooManyRequests));
}
