use std::{cell::RefCell, net::SocketAddr};

use super::{
    fake::{Facts, Member, TTL, World},
    *,
};
use crate::cli::{client::ClientArgs, secrets::TlsArgs};

/// How long a command may take. It is waited for only where something is to fail.
const TIMEOUT: Duration = Duration::from_secs(20);

fn wanted(id: &str, session: Session) -> Wanted {
    let instance = Instance { service: "web".to_owned(), id: id.to_owned(), ..Instance::default() };
    Wanted { instance, ttl: TTL, takeover: false, session }
}

fn own() -> Session {
    Session::Own("s".to_owned())
}

fn keeper(members: &[SocketAddr], wanted: Wanted) -> Keeper {
    let endpoints: Vec<String> = members.iter().map(SocketAddr::to_string).collect();
    let args = ClientArgs {
        endpoints: Some(endpoints.join(",")),
        command_timeout: TIMEOUT,
        tls: TlsArgs::default(),
    };
    Keeper::new(Client::new(&args, &[]).unwrap(), wanted)
}

/// What a keeper has said.
#[derive(Default)]
struct Said(RefCell<Vec<String>>);

impl Said {
    /// Lets a keeper work until something else is done.
    async fn during(&self, keeper: &mut Keeper, work: impl Future<Output = ()>) {
        tokio::select! {
            never = keeper.keep(|line| self.0.borrow_mut().push(line.to_owned())) => match never {},
            () = work => {}
        }
    }

    fn lines(&self) -> Vec<String> {
        self.0.borrow().clone()
    }
}

/// Lets a keeper work until something else is done.
async fn keep_during(keeper: &mut Keeper, work: impl Future<Output = ()>) {
    Said::default().during(keeper, work).await;
}

/// A renewal, as the registry sees it.
const RENEWAL: &str = "register a: false";

/// The last thing that happened is a renewal.
fn is_renewed(facts: &Facts) -> bool {
    facts.log.last().is_some_and(|line| line == RENEWAL)
}

/// From its registration to its end, with renewals in between.
#[tokio::test]
async fn an_instance_is_registered_renewed_and_removed() {
    let world = World::default();
    let member = Member::start(&world, 0).await;
    let mut keeper = keeper(&[member.address()], wanted("a", own()));

    let registered = keeper.register().await.unwrap();
    assert_eq!((registered.ttl, registered.changed), (TTL, true));
    keep_during(&mut keeper, world.until("it is renewed", |facts| facts.count(RENEWAL) >= 3)).await;
    keeper.close().await.unwrap();

    let facts = world.facts();
    assert_eq!(facts.count("register a: true"), 1);
    assert_eq!(facts.count("close"), 1);
    assert!(facts.instances.is_empty() && facts.sessions.is_empty(), "{:?}", facts.log);
    member.stop();
}

/// The death of a member moves the session, and nothing is registered again or worth a word.
#[tokio::test]
async fn a_session_moves_to_another_member() {
    let world = World::default();
    let members = [Member::start(&world, 0).await, Member::start(&world, 1).await];
    let addresses = members.each_ref().map(Member::address);
    let mut keeper = keeper(&addresses, wanted("a", own()));
    keeper.register().await.unwrap();
    let said = Said::default();

    let [first, second] = members;
    first.stop();
    said.during(&mut keeper, async {
        world.until("it is opened elsewhere", |facts| facts.count("open s: resumed") == 1).await;
        let before = world.facts().count(RENEWAL);
        world.until("it is renewed there", |facts| facts.count(RENEWAL) > before).await;
    })
    .await;

    assert_eq!(world.facts().count("register a: true"), 1);
    assert_eq!(said.lines(), Vec::<String>::new());
    keeper.close().await.unwrap();
    assert!(world.facts().sessions.is_empty());
    second.stop();
}

/// A member that takes requests and does not answer is left for another.
#[tokio::test]
async fn a_member_that_does_not_answer_is_left() {
    let world = World::default();
    world.facts().silent.insert(0);
    let members = [Member::start(&world, 0).await, Member::start(&world, 1).await];
    let addresses = members.each_ref().map(Member::address);
    let mut keeper = keeper(&addresses, wanted("a", own()));

    keeper.register().await.unwrap();
    keep_during(&mut keeper, async {
        world.until("it is renewed", |facts| facts.count(RENEWAL) >= 1).await;
        world.facts().silent = [1].into();
        world.until("it is back at the first", |facts| facts.count("open s: resumed") >= 1).await;
    })
    .await;

    members.into_iter().for_each(Member::stop);
}

/// What was lost with its session is registered again.
#[tokio::test]
async fn a_lost_session_is_registered_again() {
    let world = World::default();
    let member = Member::start(&world, 0).await;
    let mut keeper = keeper(&[member.address()], wanted("a", own()));
    keeper.register().await.unwrap();

    world.facts().lose_sessions();
    let again = world.until("it stands again", |facts| facts.count("register a: true") == 2);
    keep_during(&mut keeper, again).await;

    assert_eq!(world.facts().count("open s: lost"), 1);
    member.stop();
}

/// Somebody who has the id since then keeps it, also from one who took it over at first.
#[tokio::test]
async fn an_id_is_not_taken_back() {
    let world = World::default();
    world.facts().instances.insert("a".to_owned(), "before".to_owned());
    let member = Member::start(&world, 0).await;
    let taking = Wanted { takeover: true, ..wanted("a", own()) };
    let mut keeper = keeper(&[member.address()], taking);
    keeper.register().await.unwrap();
    let said = Said::default();

    {
        let mut facts = world.facts();
        facts.lose_sessions();
        facts.instances.insert("a".to_owned(), "after".to_owned());
    }
    said.during(&mut keeper, async {
        world.until("it is refused twice", |facts| facts.count("register a: held") >= 2).await;
        world.facts().instances.clear();
        world.until("it stands again", |facts| facts.count("register a: true") == 2).await;
        world.until("it is renewed", is_renewed).await;
    })
    .await;

    let refusal = "cannot be renewed, and is tried again: instance a is held by session after";
    assert_eq!(said.lines(), [refusal, "registered again"]);
    member.stop();
}

/// An id that is held is refused with its holder, and nothing is left behind.
#[tokio::test]
async fn a_refusal_names_the_holder() {
    let world = World::default();
    world.facts().instances.insert("a".to_owned(), "other".to_owned());
    let member = Member::start(&world, 0).await;
    let mut keeper = keeper(&[member.address()], wanted("a", own()));

    let error = keeper.register().await.unwrap_err();
    keeper.close().await.unwrap();

    assert_eq!(error.to_string(), "instance a is held by session other");
    let facts = world.facts();
    assert_eq!(facts.instances.get("a").unwrap(), "other");
    assert!(facts.sessions.is_empty());
    drop(facts);
    member.stop();
}

/// While nobody can be reached it is tried again; then it goes on as if nothing had been.
#[tokio::test]
async fn an_outage_is_told_once() {
    let world = World::default();
    let member = Member::start(&world, 0).await;
    let address = member.address();
    let mut keeper = keeper(&[address], wanted("a", own()));
    keeper.register().await.unwrap();
    let said = Said::default();

    member.stop();
    let mut restarted = None;
    said.during(&mut keeper, async {
        world.until("it says so", |_| !said.lines().is_empty()).await;
        restarted = Some(Member::start_at(&world, 0, address).await);
        world.until("it is opened again", |facts| facts.count("open s: resumed") == 1).await;
        world.until("it says so, too", |_| said.lines().len() >= 2).await;
    })
    .await;

    let lines = said.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("cannot be renewed, and is tried again: cannot connect to "));
    assert_eq!(lines[1], "registered again");
    restarted.unwrap().stop();
}

/// A first registration waits for a cluster that is about to start, and not for ever.
#[tokio::test]
async fn the_first_registration_waits_for_a_while() {
    let world = World::default();
    let member = Member::start(&world, 0).await;
    let address = member.address();
    member.stop();

    let args = ClientArgs {
        endpoints: Some(address.to_string()),
        command_timeout: Duration::from_millis(300),
        tls: TlsArgs::default(),
    };
    let mut short = Keeper::new(Client::new(&args, &[]).unwrap(), wanted("b", own()));
    let error = short.register().await.unwrap_err();
    assert!(error.to_string().starts_with("cannot connect to "), "{error}");

    let mut waiting = keeper(&[address], wanted("a", own()));
    let start = async {
        sleep(PAUSE_MIN).await;
        Member::start_at(&world, 0, address).await
    };
    let (registered, member) = tokio::join!(waiting.register(), start);
    registered.unwrap();
    assert_eq!(world.facts().count("register a: true"), 1);
    member.stop();
}

/// Without a stream the session is closed by a call, at whoever can be reached.
#[tokio::test]
async fn a_session_without_a_stream_is_closed() {
    let world = World::default();
    let members = [Member::start(&world, 0).await, Member::start(&world, 1).await];
    let addresses = members.each_ref().map(Member::address);
    let mut keeper = keeper(&addresses, wanted("a", own()));
    keeper.register().await.unwrap();

    let [first, second] = members;
    first.stop();
    keeper.close().await.unwrap();

    assert_eq!(world.facts().count("unary deregister \"\""), 1);
    assert!(world.facts().instances.is_empty());
    second.stop();
}

/// Of a session that others may be in, only what is ours is removed.
#[tokio::test]
async fn a_shared_session_is_not_closed() {
    let world = World::default();
    let member = Member::start(&world, 0).await;
    let shared = || Session::Shared("s".to_owned());
    let mut one = keeper(&[member.address()], wanted("a", shared()));
    let mut other = keeper(&[member.address()], wanted("b", shared()));
    one.register().await.unwrap();
    other.register().await.unwrap();

    one.close().await.unwrap();

    let facts = world.facts();
    assert_eq!(facts.instances.keys().collect::<Vec<_>>(), ["b"]);
    assert!(facts.sessions.contains_key("s"));
    drop(facts);
    member.stop();
}

/// An instance that somebody removed is registered again, and that is said.
#[tokio::test]
async fn an_instance_that_is_gone_is_registered_again() {
    let world = World::default();
    let member = Member::start(&world, 0).await;
    let mut keeper = keeper(&[member.address()], wanted("a", own()));
    keeper.register().await.unwrap();
    let said = Said::default();

    world.facts().instances.clear();
    let again = world.until("it stands again", |facts| facts.count("register a: true") == 2);
    said.during(&mut keeper, async {
        again.await;
        world.until("it is renewed", is_renewed).await;
    })
    .await;

    assert_eq!(said.lines(), ["was gone, and is registered again"]);
    assert_eq!(world.facts().count("open s: resumed"), 0);
    member.stop();
}

/// A renewal that is declined is told with its reason, once.
#[tokio::test]
async fn a_declined_renewal_is_told() {
    let world = World::default();
    let member = Member::start(&world, 0).await;
    let mut keeper = keeper(&[member.address()], wanted("a", own()));
    keeper.register().await.unwrap();
    let said = Said::default();

    world.facts().declining = Some("the store is full");
    said.during(&mut keeper, async {
        let twice = |facts: &Facts| facts.count("register a: declined") >= 2;
        world.until("it is declined twice", twice).await;
        world.facts().declining = None;
        world.until("it is renewed", is_renewed).await;
        let renewed = world.facts().count(RENEWAL);
        world.until("it goes on", |facts| facts.count(RENEWAL) > renewed).await;
    })
    .await;

    let refusal = "cannot be renewed, and is tried again: the store is full";
    assert_eq!(said.lines(), [refusal, "registered again"]);
    member.stop();
}

/// An instance that another process has registered since, in the same session, stays.
#[tokio::test]
async fn only_what_was_put_here_is_removed() {
    let world = World::default();
    let member = Member::start(&world, 0).await;
    let shared = || Session::Shared("s".to_owned());
    let mut one = keeper(&[member.address()], wanted("a", shared()));
    one.register().await.unwrap();
    world.facts().instances.clear();
    let mut other = keeper(&[member.address()], wanted("a", shared()));
    other.register().await.unwrap();

    one.close().await.unwrap();
    assert_eq!(world.facts().instances.keys().collect::<Vec<_>>(), ["a"]);
    other.close().await.unwrap();
    assert!(world.facts().instances.is_empty());
    member.stop();
}

/// Whatever the TTL, a member that says nothing leaves as much time for another as it had itself.
#[test]
fn there_is_time_for_another_member() {
    for seconds in 1..=60 {
        let ttl = Duration::from_secs(seconds);
        let asked_at = ttl / 3;
        assert!(asked_at + 2 * patience(ttl, TIMEOUT) <= ttl, "{ttl:?}");
    }
    assert_eq!(patience(Duration::from_secs(1), TIMEOUT), Duration::from_secs(1) / 3);
}
