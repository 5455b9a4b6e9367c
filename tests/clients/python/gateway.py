"""Checks the JSON gateway through stock Python programs, unmodified.

    gateway.py etcd3gw --endpoints host:port     the client of the gateway that OpenStack uses
    gateway.py tooz --endpoints host:port        OpenStack's coordination, with the same below it
    gateway.py patroni --endpoints host:port,... what Patroni keeps a PostgreSQL cluster in order with
    gateway.py --endpoints host:port,...         all of them

Prints "ok <program> <check>" for each check that holds, and ends with status 1 and a sentence on
standard error at the first one that does not.
"""

import argparse
import contextlib
import logging
import sys
import threading
import time
import uuid

import etcd3gw
import requests
from etcd3gw import exceptions
from patroni.dcs import get_dcs
from tooz import coordination

# How long something may take that happens soon, on a busy machine.
SOON_SECONDS = 30.0
# The shortest time to live that every server grants as it is asked for.
TTL_SECONDS = 2


class Mismatch(Exception):
    """A check that does not hold."""


def expect(what, found, wanted):
    if found != wanted:
        raise Mismatch("%s: found %r, wanted %r" % (what, found, wanted))


def eventually(what, look):
    """Waits until something is true, and returns it."""
    deadline = time.monotonic() + SOON_SECONDS
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Mismatch("%s: it did not happen" % what)
        time.sleep(0.05)


@contextlib.contextmanager
def raises(what, kind):
    try:
        yield
    except kind:
        return
    raise Mismatch("%s: it was not refused" % what)


class Etcd3gw:
    """The checks of etcd3gw."""

    def __init__(self, endpoints, prefix):
        host, _, port = endpoints[0].rpartition(":")
        self.client = etcd3gw.client(host=host, port=int(port), timeout=SOON_SECONDS)
        self.prefix = prefix

    def key(self, name):
        return "%s%s" % (self.prefix, name)

    def check_keys(self):
        client, key = self.client, self.key("k")
        expect("a put", client.put(key, "v 1"), True)
        expect("a get", client.get(key), ["v 1".encode()])
        [(value, metadata)] = client.get(key, metadata=True)
        expect("a version", (value, metadata["version"]), ("v 1".encode(), "1"))
        expect("a second create", client.create(key, "x"), False)
        expect("a replace of another value", client.replace(key, "y", "z"), False)
        expect("a replace", client.replace(key, "v 1", "2"), True)
        expect("what was replaced", client.get(key), [b"2"])
        expect("a delete", client.delete(key), True)
        expect("a second delete", client.delete(key), False)
        expect("a get of nothing", client.get(key), [])

    def check_ranges(self):
        client = self.client
        for number in range(5):
            client.put(self.key("r/%d" % number), str(number))
        below = client.get_prefix(self.key("r/"))
        expect("a prefix", [value for value, _ in below], [b"0", b"1", b"2", b"3", b"4"])
        below = client.get_prefix(self.key("r/"), sort_order="descend", sort_target="mod")
        expect("a sorted prefix", [value for value, _ in below][:2], [b"4", b"3"])
        expect("a delete of a prefix", client.delete_prefix(self.key("r/")), True)
        expect("what is left", client.get_prefix(self.key("r/")), [])

    def check_leases(self):
        client, key = self.client, self.key("l")
        lease = client.lease(ttl=60)
        client.put(key, "leased", lease=lease)
        expect("the keys of a lease", lease.keys(), [key.encode()])
        expect("a renewal", lease.refresh(), 60)
        if not 0 < lease.ttl() <= 60:
            raise Mismatch("a lease has %d seconds left of 60" % lease.ttl())
        expect("a revocation", lease.revoke(), True)
        expect("a key whose lease is gone", client.get(key), [])
        expect("a renewal of what is gone", lease.refresh(), -1)
        with raises("a second revocation", exceptions.Etcd3Exception):
            lease.revoke()
        client.put(key, "short", lease=client.lease(ttl=TTL_SECONDS))
        eventually("a lease to end", lambda: client.get(key) == [])

    def check_locks(self):
        with self.client.lock(self.key("lock"), ttl=60) as lock:
            expect("a lock that is held", lock.is_acquired(), True)
            other = self.client.lock(self.key("lock"), ttl=60)
            expect("a lock that another holds", other.acquire(), False)
            expect("a renewal of a lock", lock.refresh(), 60)
        expect("a lock that was given back", other.acquire(), True)
        expect("its end", other.release(), True)

    def check_watches(self):
        client, key = self.client, self.key("w")
        events, stop = client.watch_prefix(key)
        client.put(key + "/1", "one")
        client.delete(key + "/1")
        put, delete = next(events), next(events)
        expect("a put that is watched", (put["kv"]["key"], put["kv"]["value"]), ((key + "/1").encode(), b"one"))
        expect("a delete that is watched", (delete["type"], delete["kv"]["key"]), ("DELETE", (key + "/1").encode()))
        stop()
        seen = threading.Event()
        watcher = threading.Thread(target=lambda: (client.watch_once(key, timeout=SOON_SECONDS), seen.set()))
        watcher.start()
        # Whoever watches once looks at what comes, so that it must come again until it is seen.
        eventually("a watch for once", lambda: client.put(key, "x") and seen.wait(0.1))
        watcher.join()

    def check_members(self):
        client = self.client
        expect("the version", client.status()["version"].startswith("3."), True)
        members = client.members()
        expect("the members", all(member["clientURLs"] for member in members), True)
        with raises("a range without a key", exceptions.Etcd3Exception):
            client.post(client.get_url("/kv/range"), json={})
        # As curl sends it: JSON that says it is a form.
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = client.session.post(client.get_url("/kv/range"), data='{"key":"Zm9v"}', headers=form)
        expect("a request that says it is a form", answer.status_code, 200)
        answer = client.session.post(client.base_url + "/v3beta/cluster/member/list", json={})
        expect("the old name of the API", answer.json()["members"], members)


class Tooz:
    """The checks of tooz: its driver for etcd3gw has locks and groups."""

    def __init__(self, endpoints, prefix):
        self.url = "etcd3+http://%s?lock_timeout=%d&membership_timeout=%d" % (endpoints[0], 60, TTL_SECONDS)
        self.name = prefix.strip("/").replace("/", "-").encode()

    @contextlib.contextmanager
    def member(self, name):
        coordinator = coordination.get_coordinator(self.url, name)
        coordinator.start()
        try:
            yield coordinator
        finally:
            coordinator.stop()

    def check_locks(self):
        with self.member(b"one") as one, self.member(b"two") as two:
            held, other = one.get_lock(b"/" + self.name), two.get_lock(b"/" + self.name)
            expect("a lock", held.acquire(), True)
            expect("a lock that another holds", other.acquire(blocking=False), False)
            expect("a heartbeat of a lock", held.heartbeat(), True)
            expect("its end", held.release(), True)
            expect("a lock that was given back", other.acquire(blocking=False), True)
            expect("a lock that is broken", held.break_(), True)
            expect("what is left of it", other.release(), False)

    def check_groups(self):
        group = self.name
        with self.member(b"one") as one, self.member(b"two") as two:
            one.create_group(group).get()
            with raises("a group that is there", coordination.GroupAlreadyExist):
                two.create_group(group).get()
            expect("the groups", group in one.get_groups().get(), True)
            one.join_group(group, capabilities={"cores": 4}).get()
            two.join_group(group).get()
            expect("the members", set(two.get_members(group).get()), {b"one", b"two"})
            expect("what a member can", two.get_member_capabilities(group, b"one").get(), {"cores": 4})
            one.update_capabilities(group, {"cores": 8}).get()
            expect("what it can now", two.get_member_capabilities(group, b"one").get(), {"cores": 8})
            one.leave_group(group).get()
            expect("who is left", set(one.get_members(group).get()), {b"two"})
            for _ in range(3):
                two.heartbeat()
                time.sleep(TTL_SECONDS / 4)
            expect("who is still there", set(one.get_members(group).get()), {b"two"})
            # Its lease ends, because it says nothing more.
            eventually("a silent member to go", lambda: not one.get_members(group).get())
            one.delete_group(group).get()
            with raises("a group that is gone", coordination.GroupNotCreated):
                one.get_members(group).get()


class Patroni:
    """The checks of what Patroni does with its class for the API version 3."""

    def __init__(self, endpoints, prefix):
        self.endpoints, self.namespace = endpoints, prefix
        self.one, self.two = self.member("one"), self.member("two")

    def member(self, name):
        return get_dcs({
            "scope": "checked", "namespace": self.namespace, "name": name,
            "ttl": 20, "loop_wait": 1, "retry_timeout": 10,
            "etcd3": {"hosts": list(self.endpoints)},
        })

    def check_the_start(self):
        one, two = self.one, self.two
        expect("an empty cluster", one.get_cluster().is_unlocked(), True)
        expect("who initializes", bool(one.initialize(create_new=True)), True)
        expect("who comes late", bool(two.initialize(create_new=True)), False)
        expect("what it is told", bool(one.initialize(create_new=False, sysid="42")), True)
        eventually("the other to know", lambda: two.get_cluster().initialize == "42")
        expect("a configuration", one.set_config_value('{"ttl":20}'), True)
        config = eventually("it to be known", lambda: two.get_cluster().config)
        expect("another one", two.set_config_value('{"ttl":21}', config.version), True)
        expect("one from an old version", bool(one.set_config_value('{"ttl":22}', config.version)), False)
        eventually("it to be known", lambda: one.get_cluster().config.data == {"ttl": 21})
        for dcs, number in [(one, 1), (two, 2)]:
            member = {"conn_url": "postgres://127.0.0.1:%d/x" % number, "state": "running"}
            expect("a member", dcs.touch_member(member), True)
        names = lambda: sorted(member.name for member in two.get_cluster().members)
        eventually("both members", lambda: names() == ["one", "two"])

    def check_the_leader(self):
        one, two = self.one, self.two
        expect("who leads", bool(one.attempt_to_acquire_leader()), True)
        expect("who does not", bool(two.attempt_to_acquire_leader()), False)
        cluster = eventually("the other to know", lambda: self.led_by(two, "one"))
        expect("a leader that goes on", bool(one.update_leader(cluster, 123)), True)
        eventually("how far it is", lambda: two.get_cluster().status.last_lsn == 123)
        expect("a switch-over", two.manual_failover("one", "two"), True)
        eventually("it to be known", lambda: one.get_cluster().failover)
        expect("a state", bool(one.write_sync_state("one", ["two"], 0)), True)
        eventually("it to be known", lambda: two.get_cluster().sync.leader == "one")
        expect("a history", one.set_history_value('[[1,2,"x"]]'), True)
        # What wakes the other: it waits in its loop until the leader changes.
        woken = []
        waiter = threading.Thread(target=lambda: woken.append(two.watch(None, SOON_SECONDS)))
        two.event.clear()
        waiter.start()
        expect("a leader that goes", bool(one.delete_leader(one.get_cluster().leader)), True)
        waiter.join(SOON_SECONDS)
        expect("who is woken", woken, [True])
        eventually("nobody to lead", lambda: two.get_cluster().is_unlocked())
        expect("who leads then", bool(two.attempt_to_acquire_leader()), True)
        eventually("the first to know", lambda: self.led_by(one, "two"))

    def check_the_end(self):
        expect("an initialization that is taken back", bool(self.one.cancel_initialization()), True)
        expect("the end of it all", bool(self.one.delete_cluster()), True)
        eventually("nothing to be left", lambda: not self.two.get_cluster().members)

    @staticmethod
    def led_by(dcs, name):
        cluster = dcs.get_cluster()
        return cluster if cluster.leader and cluster.leader.name == name else None


PROGRAMS = {"etcd3gw": Etcd3gw, "tooz": Tooz, "patroni": Patroni}


def main():
    parser = argparse.ArgumentParser(description="checks the JSON gateway through stock programs")
    parser.add_argument("programs", nargs="*", metavar="program", help=" ".join(PROGRAMS))
    parser.add_argument("--endpoints", required=True, help="host:port,...")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    for name in args.programs or PROGRAMS:
        # Nothing of an earlier run is in the way.
        prefix = "/gateway/%s/%s/" % (name, uuid.uuid4())
        checked = PROGRAMS[name](args.endpoints.split(","), prefix)
        checks = [check for check in vars(type(checked)) if check.startswith("check_")]
        for check in checks:
            try:
                getattr(checked, check)()
            except Mismatch as mismatch:
                raise Mismatch("%s %s: %s" % (name, check, mismatch)) from mismatch
            print("ok", name, check.removeprefix("check_"), flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except (Mismatch, exceptions.Etcd3Exception, requests.RequestException, coordination.ToozError) as error:
        sys.exit("gateway.py: %s: %s" % (type(error).__name__, error))
