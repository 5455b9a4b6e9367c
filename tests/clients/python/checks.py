"""What clients rely on, a function each: build, act, look. A check that does not hold raises Mismatch."""

import queue
import time

import grpc
from pyetcd import exceptions
from pyetcd.events import DeleteEvent

# How long an event may take.
EVENT_TIMEOUT_SECONDS = 15.0
# An id that no server draws within a test's life.
UNKNOWN_LEASE = 0x123456789ABC
# How many operations a transaction may have in a list.
OPS_MAX = 128


class Mismatch(Exception):
    """The server did not do what it must."""


def want(what, got, wanted):
    if got != wanted:
        raise Mismatch("%s is %r, want %r" % (what, got, wanted))


def want_error(what, code, message, call):
    """The call must fail with this status. The client passes most of them on as they come."""
    try:
        call()
    except grpc.RpcError as error:
        want("%s: status" % what, (error.code().name, error.details()), (code, message))
        return
    raise Mismatch("%s: succeeded, want %s" % (what, message))


def put_and_get(client, prefix):
    key = prefix + "k"
    first = client.put(key, "one")
    second = client.put(key, "two", prev_kv=True)
    got = client.get_response(key)
    want("previous value", second.prev_kv.value, b"one")
    want("count", got.count, 1)
    kv = got.kvs[0]
    want("value", kv.value, b"two")
    want("version", kv.version, 2)
    want("create revision", kv.create_revision, first.header.revision)
    want("mod revision", kv.mod_revision, second.header.revision)
    want("missing key", client.get(prefix + "absent"), (None, None))
    old = client.get_response(key, revision=first.header.revision)
    want("value in the past", old.kvs[0].value, b"one")


def ranges(client, prefix):
    for name in ("c", "a", "d", "b"):
        client.put(prefix + name, name)

    def values(**options):
        got = client.get_prefix_response(prefix, **options)
        return [kv.value.decode() for kv in got.kvs], got.count, got.more

    want("prefix", values(), (["a", "b", "c", "d"], 4, False))
    want("limit", values(limit=2), (["a", "b"], 4, True))
    want("falling", values(sort_order="descend", limit=1), (["d"], 4, True))
    want(
        "by creation",
        values(sort_order="ascend", sort_target="create"),
        (["c", "a", "d", "b"], 4, False),
    )
    want("keys only", values(keys_only=True), (["", "", "", ""], 4, False))
    want("count only", values(count_only=True), ([], 4, False))
    half_open = client.get_range(prefix + "b", prefix + "d")
    want("half open", [value for value, _ in half_open], [b"b", b"c"])


def deletes(client, prefix):
    for name in ("a", "b", "ba"):
        client.put(prefix + name, name)
    want("delete", client.delete(prefix + "a"), True)
    want("delete where nothing is", client.delete(prefix + "a"), False)
    want("deleted below a prefix", client.delete_prefix(prefix + "b").deleted, 2)
    reborn = client.put(prefix + "a", "again")
    kv = client.get_response(prefix + "a").kvs[0]
    want("version after a rebirth", kv.version, 1)
    want("create revision after a rebirth", kv.create_revision, reborn.header.revision)


def transactions(client, prefix):
    key, txn = prefix + "k", client.transactions
    want("first put if absent", client.put_if_not_exists(key, "one"), True)
    want("second put if absent", client.put_if_not_exists(key, "two"), False)
    want("replace of another value", client.replace(key, "two", "three"), False)
    want("replace", client.replace(key, "one", "three"), True)

    held, responses = client.transaction(
        compare=[txn.version(key) == 2, txn.value(key) > "o"],
        success=[txn.put(prefix + "a", "1"), txn.get(prefix + "a"), txn.delete(key)],
        failure=[txn.get(key)],
    )
    want("comparison", held, True)
    want("a get sees the put before it", responses[1][0][0], b"1")
    want("deleted", responses[2].response_delete_range.deleted, 1)

    held, _ = client.transaction(
        compare=[txn.create(key) == 0, txn.value(key) != "x"], success=[], failure=[]
    )
    want("value of a missing key differs", held, False)

    puts = [txn.put("%s%d" % (prefix, i), "v") for i in range(OPS_MAX + 1)]
    client.transaction(compare=[], success=puts[:OPS_MAX], failure=[])
    want_error(
        "one operation too many",
        "INVALID_ARGUMENT",
        "etcdserver: too many operations in txn request",
        lambda: client.transaction(compare=[], success=puts, failure=[]),
    )
    want_error(
        "two puts of a key",
        "INVALID_ARGUMENT",
        "etcdserver: duplicate key given in txn request",
        lambda: client.transaction(compare=[], success=puts[:1] * 2, failure=[]),
    )


def leases(client, prefix):
    lease = client.lease(60)
    for name in ("b", "a"):
        client.put(prefix + name, name, lease=lease)
    info = client.get_lease_info(lease.id)
    want("granted", (lease.ttl, info.grantedTTL), (60, 60))
    want("time left is within the grant", 50 < info.TTL <= 60, True)
    want("attached keys", sorted(info.keys), [(prefix + name).encode() for name in ("a", "b")])
    want("kept alive for", [answer.TTL for answer in lease.refresh()], [60])
    lease.revoke()
    want("keys after the revoke", client.get_prefix_response(prefix).count, 0)
    want("keep alive of a revoked lease", [answer.TTL for answer in lease.refresh()], [0])
    want("time to live of a revoked lease", client.get_lease_info(lease.id).TTL, -1)
    for what, call in (
        ("put with an unknown lease", lambda: client.put(prefix + "k", "v", lease=UNKNOWN_LEASE)),
        ("revoke of an unknown lease", lambda: client.revoke_lease(UNKNOWN_LEASE)),
    ):
        want_error(what, "NOT_FOUND", "etcdserver: requested lease not found", call)


def lease_expiry(client, prefix):
    seen = Events(client, prefix)
    lease = client.lease(2)
    put = time.monotonic()
    client.put(prefix + "k", "v", lease=lease)
    events = seen.take(2)
    # The lease is a little older than the measured time, so the lower bound leaves a second.
    want("the key lived long enough", time.monotonic() - put > lease.ttl - 1, True)
    want("events", [kind for kind, *_ in events], ["PUT", "DELETE"])
    seen.stop()


def watches(client, prefix):
    before = client.put(prefix + "k", "one").header.revision
    past = Events(client, prefix, start_revision=before, prev_kv=True)
    client.put(prefix + "k", "two")
    client.delete(prefix + "k")
    want(
        "events",
        past.take(3),
        [
            ("PUT", "k", before, b"one", b""),
            ("PUT", "k", before + 1, b"two", b"one"),
            ("DELETE", "k", before + 2, b"", b"two"),
        ],
    )
    # A second watcher on the same stream.
    live = Events(client, prefix)
    txn = client.transactions
    client.transaction(
        compare=[], success=[txn.put(prefix + "b", "1"), txn.put(prefix + "a", "2")], failure=[]
    )
    events = live.take(2)
    want("order within a transaction", [key for _, key, *_ in events], ["b", "a"])
    want("one revision", events[0][2], events[1][2])
    want("the first watcher sees it too", [key for _, key, *_ in past.take(2)], ["b", "a"])
    past.stop()
    live.stop()


def compaction(client, prefix):
    key = prefix + "k"
    old = client.put(key, "old").header.revision
    kept = client.put(key, "kept").header.revision
    client.put(key, "new")
    client.compact(kept)
    want("value at the compacted revision", client.get(key, revision=kept)[0], b"kept")
    compacted = "etcdserver: mvcc: required revision has been compacted"
    future = "etcdserver: mvcc: required revision is a future revision"
    for what, message, call in (
        ("get before it", compacted, lambda: client.get(key, revision=old)),
        ("compacting twice", compacted, lambda: client.compact(kept)),
        ("get of the future", future, lambda: client.get(key, revision=kept + 1_000_000)),
        ("compacting the future", future, lambda: client.compact(kept + 1_000_000)),
    ):
        want_error(what, "OUT_OF_RANGE", message, call)

    responses, cancel = client.watch_response(key, start_revision=old)
    try:
        got = next(responses)
    except exceptions.RevisionCompactedError as error:
        want("oldest revision told to the watcher", error.compacted_revision, kept)
    else:
        raise Mismatch("a watch of lost history got %r" % got)
    finally:
        cancel()


class Events:
    """The events below a prefix, as tuples: kind, key, mod revision, value, previous value."""

    def __init__(self, client, prefix, **options):
        self.client = client
        self.prefix = prefix
        self.queue = queue.Queue()
        self.watch_id = client.add_watch_prefix_callback(prefix, self.queue.put, **options)

    def take(self, n):
        give_up = time.monotonic() + EVENT_TIMEOUT_SECONDS
        taken = []
        while len(taken) < n:
            try:
                response = self.queue.get(timeout=max(0.0, give_up - time.monotonic()))
            except queue.Empty:
                raise Mismatch("only these events came: %r" % taken) from None
            if isinstance(response, Exception) or response is None:
                raise Mismatch("the watch ended: %r" % response)
            taken += [self.describe(event) for event in response.events]
        want("number of events", len(taken), n)
        return taken

    def describe(self, event):
        kind = "DELETE" if isinstance(event, DeleteEvent) else "PUT"
        key = event.key.decode().removeprefix(self.prefix)
        return kind, key, event.mod_revision, event.value, event.prev_value

    def stop(self):
        self.client.cancel_watch(self.watch_id)


ALL = (
    ("put-and-get", put_and_get),
    ("ranges", ranges),
    ("deletes", deletes),
    ("transactions", transactions),
    ("leases", leases),
    ("lease-expiry", lease_expiry),
    ("watches", watches),
    ("compaction", compaction),
)
