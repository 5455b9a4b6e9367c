//! What is answered out of memory is what the store would answer, at each revision.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
};

use super::*;
use crate::{
    registry::{Error, Listed, Page},
    state::{
        Refused,
        testing::{compact, delete},
    },
};

const NOTHING: Limits = Limits { view: 0, ..ROOMY };

fn page(namespace: Option<&str>, prefix: &str, size: usize) -> Page {
    Page { namespace: namespace.map(name), prefix: prefix.to_owned(), after: None, size }
}

/// All pages from a first one on, as `namespace/service total/callable`.
async fn pages(views: &Views, mut page: Page, mut at: At) -> (Revision, Vec<String>) {
    let (mut all, mut first) = (Vec::new(), None);
    loop {
        let Listed { revision, services, next } = soon(views.list(page.clone(), at)).await.unwrap();
        assert_eq!(*first.get_or_insert(revision), revision);
        assert!(services.len() <= page.size);
        all.extend(services.iter().map(|(name, total, up)| format!("{name} {total}/{up}")));
        let Some(next) = next else { return (revision, all) };
        (page.after, at) = (Some(next), At::Revision(revision));
    }
}

/// Instances of every form, with overrides that come and go; what has no value is deleted.
const STEPS: [(&str, Option<&str>); 14] = [
    ("/services/n/a/1", Some("h:1")),
    ("/services/n/a/2", Some("h:2")),
    ("/services/n/a-b/1", Some("h:3")),
    ("/services/default/a/1", Some("h:4")),
    ("/services/a/1", Some("h:5")),
    ("/services/a/2", Some("no address")),
    ("other", Some("v")),
    ("/quorate/registry/override/n/a/1", Some(r#"{"enabled":false}"#)),
    ("/quorate/registry/override/default/a/2", Some(r#"{"weight":1}"#)),
    ("/services/z.z/1", Some("h:6")),
    ("/services/n/a/1", Some("h:7")),
    ("/services/default/a/1", None),
    ("/quorate/registry/override/n/a/1", None),
    ("/services/n/a-b/1", None),
];

/// Everything that can be asked.
async fn answers(views: &Views, at: At) -> Vec<(Revision, Vec<String>)> {
    let mut answers = Vec::new();
    for (namespace, name) in
        [("n", "a"), ("n", "a-b"), ("default", "a"), ("default", "z.z"), ("n", "none")]
    {
        answers.push(resolve(views, &service(namespace, name), at).await);
    }
    for namespace in [None, Some("n"), Some("default"), Some("none")] {
        for (prefix, size) in [("", 1), ("", 100), ("a", 2), ("z.", 1), ("x", 1)] {
            answers.push(pages(views, page(namespace, prefix, size), at).await);
        }
    }
    answers
}

/// Memory and store give the same answers, now and later about then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_store_answer_the_same() {
    let mut member = Member::start().await;
    let (kept, stored) = (member.loaded(ROOMY).await, member.views(NOTHING));
    let mut remembered = Vec::new();
    for (key, value) in STEPS {
        match value {
            Some(value) => member.running.propose(put(key).value(value)).await,
            None => member.running.propose(delete(key)).await,
        }
        let revision = member.running.handle.revision();
        until(&kept, revision).await;
        let expected = answers(&kept, At::Here).await;
        for at in [At::Here, At::Linearizable, At::Revision(revision)] {
            assert_eq!(answers(&stored, at).await, expected, "{at:?} is {revision}");
        }
        remembered.push((revision, expected));
    }
    assert!(kept.figures().is_in_memory && !stored.figures().is_in_memory);
    for (revision, expected) in remembered {
        for views in [&kept, &stored] {
            let then = answers(views, At::Revision(revision)).await;
            assert_eq!(then, expected, "at {revision}");
        }
    }
    let last = member.running.handle.revision();
    let (revision, all) = pages(&kept, page(None, "", 2), At::Here).await;
    let expected = ["default/a 2/1", "default/z.z 1/1", "n/a 2/2"];
    assert_eq!((revision, all), (last, expected.map(str::to_owned).to_vec()));
    let figures = kept.figures();
    assert_eq!((figures.services, figures.instances, figures.revision), (3, 5, last));
}

/// Further pages are of the revision of the first, whatever happens and is compacted meanwhile.
#[tokio::test]
async fn all_pages_are_of_one_revision() {
    let mut member = Member::start().await;
    let views = member.loaded(ROOMY).await;
    for service in ["a", "b", "c"] {
        member.put(&format!("/services/n/{service}/1"), "h:1").await;
    }
    let revision = member.running.handle.revision();
    until(&views, revision).await;
    let mut page = page(None, "", 2);
    let first = views.list(page.clone(), At::Here).await.unwrap();
    assert_eq!((first.revision, first.next.clone()), (revision, Some(service("n", "b"))));

    let later = member.put("/services/n/bb/1", "h:1").await;
    member.running.propose(delete("/services/n/c/1")).await;
    member.running.propose(compact(later.0)).await;
    until(&views, later.next()).await;
    page.after = first.next;
    let second = views.list(page, At::Revision(revision)).await.unwrap();
    assert_eq!(second.services, [(service("n", "c"), 1, 1)]);
    assert_eq!((second.revision, second.next), (revision, None));
}

/// What is compacted is gone, and what is to come is not there yet: unless it is known all the same.
#[tokio::test]
async fn a_revision_out_of_range_is_refused() {
    let mut member = Member::start().await;
    let (kept, stored) = (member.loaded(ROOMY).await, member.views(NOTHING));
    let first = member.put("/services/n/a/1", "h:1").await;
    member.put("/services/n/b/1", "h:1").await;
    let last = member.put("/services/n/b/1", "h:2").await;
    member.running.propose(compact(last.0)).await;
    until(&kept, last).await;

    for views in [&kept, &stored] {
        let at = At::Revision(first.next());
        let gone = views.resolve(&service("n", "b"), at).await.unwrap_err();
        assert_eq!(gone, Error::Compacted(first.next()));
        let to_come = views.resolve(&service("n", "b"), At::Revision(last.next())).await;
        assert_eq!(to_come.unwrap_err(), Error::Refused(Refused::FutureRevision(last.next())));
        let gone = views.list(page(None, "", 9), at).await.unwrap_err();
        assert_eq!(gone, Error::Compacted(first.next()));
    }
    let still = resolve(&kept, &service("n", "a"), At::Revision(first)).await;
    assert_eq!(still, (first, vec!["1=h:1".to_owned()]));
}

/// A linearizable read shows what was written before, and its revision, although nothing of the
/// registry happened at it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_linearizable_read_shows_what_was_written() {
    let mut member = Member::start().await;
    let views = member.loaded(ROOMY).await;
    for number in 1..200 {
        member.put("/services/n/a/1", &format!("h:{number}")).await;
        let revision = member.put("other", "v").await;
        let (reflected, instances) = resolve(&views, &service("n", "a"), At::Linearizable).await;
        assert_eq!(instances, [format!("1=h:{number}")]);
        assert!(reflected >= revision);
    }
}

/// Looks at a wait once.
async fn is_over(mut wait: Pin<&mut impl Future>) -> bool {
    poll_fn(|context| Poll::Ready(wait.as_mut().poll(context).is_ready())).await
}

/// Who waits for a change is told of one of his service, not of others, and not before.
#[tokio::test]
async fn a_wait_ends_with_a_change_of_the_service() {
    for limits in [ROOMY, NOTHING] {
        let mut member = Member::start().await;
        let views =
            if limits.view == 0 { member.views(limits) } else { member.loaded(limits).await };
        let first = member.put("/services/n/a/1", "h:1").await;
        if limits.view > 0 {
            until(&views, first).await;
        }
        let scope = scope("n", "a");
        let mut wait = pin!(views.changed_after(&scope, first, SOON));
        assert!(!is_over(wait.as_mut()).await);
        let other = member.put("/services/n/b/1", "h:1").await;
        if limits.view > 0 {
            until(&views, other).await;
        }
        assert!(!is_over(wait.as_mut()).await);
        let second = member.put("/quorate/registry/override/n/a/1", r#"{"weight":3}"#).await;
        assert_eq!(soon(wait).await.unwrap(), second);

        let known = soon(views.changed_after(&scope, first, SOON)).await.unwrap();
        assert_eq!(known, second, "it has changed already");
        let over = views.changed_after(&scope, second, Duration::ZERO).await.unwrap();
        assert_eq!(over, second, "the time is over");
    }
}

/// A view that outgrows its memory is read from the store.
#[tokio::test]
async fn a_view_that_is_too_large_is_given_up() {
    let mut member = Member::start().await;
    let views = member.loaded(Limits { view: 5_000, ..ROOMY }).await;
    let mut last = Revision(0);
    for number in 1..20 {
        last = member.put(&format!("/services/n/a/{number}"), "h:1").await;
    }
    let mut progressed = views.progressed.subscribe();
    soon(progressed.wait_for(Option::is_none)).await.unwrap();
    assert!(!views.figures().is_in_memory);
    for at in [At::Here, At::Linearizable, At::Revision(last)] {
        let (revision, instances) = resolve(&views, &service("n", "a"), at).await;
        assert_eq!((revision, instances.len()), (last, 19));
    }
    let again = member.views(Limits { view: 5_000, ..ROOMY });
    assert_eq!(resolve(&again, &service("n", "a"), At::Here).await.1.len(), 19);
}

/// Who asks what changed since a time of which nothing is known any more is not kept waiting.
#[tokio::test]
async fn a_wait_for_what_is_forgotten_is_over() {
    let mut member = Member::start().await;
    let recent = Bounds { revisions: 1, ..ROOMY.recent };
    let views = member.loaded(Limits { recent, ..ROOMY }).await;
    let first = member.put("/services/n/a/1", "h:1").await;
    let last = member.put("/services/n/b/1", "h:1").await;
    until(&views, last).await;
    let scope = scope("n", "a");
    let now = soon(views.changed_after(&scope, Revision(1), 2 * SOON)).await.unwrap();
    assert_eq!(now, last);
    let mut wait = pin!(views.changed_after(&scope, first, SOON));
    assert!(!is_over(wait.as_mut()).await, "it is known that nothing changed since");
}
