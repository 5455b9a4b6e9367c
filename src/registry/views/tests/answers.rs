//! What is answered out of memory is what the store would answer, at each revision.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::atomic::{AtomicU32, Ordering},
    task::{Context, Poll, Wake, Waker},
};

use tokio::time::Instant;

use super::*;
use crate::{
    registry::{Error, Listed, Page, place, views::LOOK},
    state::{
        Command, Op, Refused, Txn,
        testing::{compact, delete},
    },
    types::limits::{REGISTRY_RESOLVES_MAX, SMALL_READ_KEYS_MAX},
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

/// All of these at one revision.
fn together(success: Vec<Op>) -> Command {
    Command::Txn(Txn { compares: Vec::new(), success, failure: Vec::new() })
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

/// Readers for whom the store must be read do so a few at a time; one that has its place looks first
/// whether memory has the answer by now.
#[tokio::test]
async fn readers_of_the_store_take_turns() {
    let mut member = Member::start().await;
    let first = member.put("/services/n/a/1", "h:1").await;
    let last = member.put("/services/n/a/1", "h:2").await;
    let views = Views::bounded(member.running.handle.clone(), ROOMY);
    let all = u32::try_from(REGISTRY_RESOLVES_MAX).unwrap();
    let places = views.resolves.acquire_many(all).await.unwrap();
    let named = service("n", "a");
    let mut then = pin!(views.resolve(&named, At::Revision(first)));
    let mut now = pin!(views.resolve(&named, At::Here));
    assert!(!is_over(then.as_mut()).await && !is_over(now.as_mut()).await);

    member.tasks.push(tokio::spawn(Arc::clone(&views).follow_keys()));
    until(&views, last).await;
    drop(places);
    let (then, now) = (soon(then).await.unwrap(), soon(now).await.unwrap());
    assert_eq!(
        (then.revision, text(then.service.instances.values())),
        (first, vec!["1=h:1".into()])
    );
    let known = Arc::clone(views.shared.read().catalog().unwrap().service(&named).unwrap());
    assert!(Arc::ptr_eq(&now.service, &known), "it was not read from the store");
}

/// A compaction that overtakes the counting of services is not the client's business.
#[tokio::test]
async fn services_are_counted_again_after_a_compaction() {
    let mut member = Member::start().await;
    let views = member.views(NOTHING);
    let keys = (0..=SMALL_READ_KEYS_MAX).map(|number| format!("/services/n/a/{number}"));
    let puts: Vec<_> = keys.map(|key| put(&key).value("h:1").into()).collect();
    member.running.propose(together(puts)).await;

    let mut counting = pin!(views.list(page(None, "", 9), At::Here));
    let mut polls = 0;
    // Two ranges, the second of them in two pieces: it is amid them.
    while polls < 2 {
        assert!(!is_over(counting.as_mut()).await);
        polls += 1;
    }
    let last = member.put("/services/n/b/1", "h:1").await;
    member.running.propose(compact(last.0)).await;
    let listed = soon(counting).await.unwrap();
    assert_eq!(listed.revision, last, "it was begun again");
    assert_eq!(listed.services, [(service("n", "a"), 1_001, 1_001), (service("n", "b"), 1, 1)]);
}

/// Others may have very many keys between those of the registry, as Kubernetes has: they are neither
/// told of nor kept.
#[tokio::test]
async fn keys_of_others_cost_no_memory() {
    let mut member = Member::start().await;
    let views = member.loaded(ROOMY).await;
    let everything = place::everything().into();
    let mut changes = member.running.handle.changes_within(everything, Revision(2));
    let first = member.put("/quorate/registry/override/n/a/1", r#"{"weight":3}"#).await;
    let value = "v".repeat(100);
    let mut keys = (0..100_000).map(|number| format!("/registry/pods/default/pod-{number}"));
    let mut step = async || {
        let puts: Vec<_> =
            keys.by_ref().take(10_000).map(|key| put(&key).value(&value).into()).collect();
        let empty = puts.is_empty();
        member.running.propose(together(puts)).await;
        !empty
    };
    assert!(step().await);
    until(&views, first.next()).await;
    let before = views.figures();
    while step().await {}
    let last = member.put("/services/n/a/1", "h:1").await;

    let mut told = Vec::new();
    while told.last() != Some(&last) {
        let happened = soon(changes.next()).await.unwrap();
        told.extend(happened.events.iter().map(|event| event.id.revision));
    }
    assert_eq!(told, [first, last], "nothing else is told");
    until(&views, last).await;
    let after = views.figures();
    let instance = after.catalog_bytes - before.catalog_bytes;
    assert!((1..2_000).contains(&instance), "{after:?} after {before:?}");
    assert_eq!((after.instances, before.instances), (1, 0));
}

/// Whoever waits for a revision that is far away is not woken by those that come before it.
#[tokio::test]
async fn a_wait_for_what_is_far_away_sleeps() {
    let mut member = Member::start().await;
    let views = member.loaded(ROOMY).await;
    let woken = Arc::new(Wakes(AtomicU32::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let far = Revision(1_000_000);
    let mut wait = pin!(views.reached(far));
    let mut is_over = || wait.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
    assert!(!is_over());
    let began = Instant::now();
    for _ in 0..200 {
        let seen = woken.0.load(Ordering::Relaxed);
        member.put("other", "v").await;
        if woken.0.load(Ordering::Relaxed) > seen {
            assert!(!is_over());
        }
    }
    let looks = began.elapsed().as_millis() / LOOK.as_millis();
    let woken = woken.0.load(Ordering::Relaxed);
    assert!(u128::from(woken) <= looks + 1, "{woken} times in {looks} looks");
    let now = member.running.handle.revision();
    soon(views.reached(now)).await;
    let mut next = pin!(views.reached(now.next()));
    assert!(!self::is_over(next.as_mut()).await);
    member.put("other", "v").await;
    soon(next).await;
}

struct Wakes(AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
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
