"""Drives a cluster through `etcd3`, unmodified: the oldest of the Python clients, and in wide use.

    stock_etcd3.py HOST:PORT,...

Prints "ok <check>" for each check that holds, and ends with 1 and a sentence on standard error at the
first that does not. The client knows one endpoint: the first. It works below a prefix of its own, which
it deletes at the end, and compacts the history.
"""

import sys
import time

import etcd3

DEADLINE_SECONDS = 60


def eventually(what, look):
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("%s did not happen in time" % what)


def want(what, got, wanted):
    assert got == wanted, "%s: got %r, wanted %r" % (what, got, wanted)


def keys(client, prefix):
    client.put(prefix + "a", "one")
    value, meta = client.get(prefix + "a")
    want("a value", value, b"one")
    want("its version", meta.version, 1)
    want("no value", client.get(prefix + "missing"), (None, None))
    want("the pair before", client.put(prefix + "a", "uno", prev_kv=True).prev_kv.value, b"one")
    want("a new key", client.put_if_not_exists(prefix + "b", "two"), True)
    want("no new key", client.put_if_not_exists(prefix + "b", "drei"), False)
    want("replaced", client.replace(prefix + "b", "two", "zwei"), True)
    client.put(prefix + "c", bytes([0, 255]))


def ranges(client, prefix):
    found = [(meta.key.decode(), value) for value, meta in client.get_prefix(prefix)]
    wanted = [(prefix + "a", b"uno"), (prefix + "b", b"zwei"), (prefix + "c", bytes([0, 255]))]
    want("all", found, wanted)
    found = client.get_range(prefix + "b", prefix + "d", sort_order="descend")
    want("some", [value for value, _ in found], [bytes([0, 255]), b"zwei"])
    want("deleted", client.delete(prefix + "c"), True)
    want("nothing to delete", client.delete(prefix + "c"), False)


def transactions(client, prefix):
    make, key = client.transactions, prefix + "t"

    def create(value):
        return client.transaction(
            compare=[make.create(key) == 0],
            success=[make.put(key, value)],
            failure=[make.get(key), make.txn([make.value(key) == "first"], [make.delete(key)], [])],
        )

    want("the first", create("first")[0], True)
    won, answers = create("second")
    want("the second", won, False)
    want("what it found", answers[0][0][0], b"first")
    want("what the one within deleted", client.get(key), (None, None))


def leases(client, prefix):
    lease = client.lease(2)
    client.put(prefix + "leased", "here", lease=lease)
    want("its life", lease.granted_ttl, 2)
    want("its keys", [key.decode() for key in lease.keys], [prefix + "leased"])
    for _ in range(3):
        time.sleep(1)
        want("a renewal", lease.refresh()[0].TTL, 2)
    want("still here", client.get(prefix + "leased")[0], b"here")
    eventually("its end", lambda: client.get(prefix + "leased")[0] is None)
    lease = client.lease(60)
    client.put(prefix + "revoked", "here", lease=lease)
    lease.revoke()
    want("revoked", client.get(prefix + "revoked"), (None, None))


def watches(client, prefix):
    events, cancel = client.watch_prefix(prefix + "w/")
    client.put(prefix + "w/1", "one")
    client.put(prefix + "w/2", "two")
    client.delete(prefix + "w/1")
    # The count first: the events never end.
    seen = [(type(event).__name__, event.key.decode()[len(prefix):]) for _, event in zip(range(3), events)]
    cancel()
    want("events", seen, [("PutEvent", "w/1"), ("PutEvent", "w/2"), ("DeleteEvent", "w/1")])

    second = client.get(prefix + "w/2")[1].mod_revision
    events, cancel = client.watch_prefix(prefix + "w/", start_revision=second)
    past = [event.key.decode()[len(prefix):] for _, event in zip(range(2), events)]
    cancel()
    want("the past", past, ["w/2", "w/1"])


def locks(client, prefix):
    lock, other = client.lock(prefix + "job", ttl=10), client.lock(prefix + "job", ttl=10)
    want("the lock", lock.acquire(), True)
    want("not twice", other.acquire(timeout=0), False)
    want("given back", lock.release(), True)
    with other:
        want("the other's turn", other.is_acquired(), True)


def operators(client, prefix):
    status = client.status()
    assert status.version.startswith("3.") and status.db_size > 0 and status.leader is not None
    want("members", len(list(client.members)), 3)
    want("alarms", list(client.list_alarms()), [])
    revision = client.put(prefix + "z", "last").header.revision
    client.compact(revision)
    client.defragment()
    assert client.hash() > 0


def main(endpoints):
    host, _, port = endpoints.split(",")[0].rpartition(":")
    prefix = "stock-etcd3/%d/" % time.time_ns()
    client = etcd3.client(host=host, port=int(port), timeout=10)
    for check in (keys, ranges, transactions, leases, watches, locks, operators):
        check(client, prefix)
        print("ok", check.__name__, flush=True)
    client.delete_prefix(prefix)
    want("nothing left", len(list(client.get_prefix(prefix))), 0)
    client.close()


main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:2379")
