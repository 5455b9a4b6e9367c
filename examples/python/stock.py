"""Registers and finds services with a stock etcd client: an instance is a key on a lease, and finding
is a range and a watch from the revision after it.

    stock.py register --service user --id u1 --addr 10.0.0.7:8080 --ttl 15
    stock.py resolve --service user
    stock.py watch --service user
"""

import itertools
import json
import sys
import time

import grpc
import pyetcd
from pyetcd import events, exceptions

import options

RETRY_PAUSE_SECONDS = 0.2
# How soon a member that failed is asked again.
ENDPOINT_RETRY_SECONDS = 0.5
# The client turns what it knows into exceptions of its own, and lets the rest pass.
FAILURES = (exceptions.Etcd3Exception, grpc.RpcError)


class NotFound(Exception):
    """There is no such lease."""


class End(Exception):
    """The program was told to end."""


def main():
    given = options.parse()
    # A call that hangs has to leave time for another one before a lease runs out.
    timeout = max(1.0, given.ttl / 2)
    members = [endpoint(address) for address in given.endpoints]
    client = pyetcd.MultiEndpointEtcd3Client(members, timeout=timeout, failover=True)
    {"register": register, "resolve": resolve, "watch": watch}[given.command](client, given)


def endpoint(address):
    host, port = options.split(address)
    return pyetcd.Endpoint(host, port, secure=False, time_retry=ENDPOINT_RETRY_SECONDS)


def prefix(given):
    return "/services/%s/%s/" % (given.namespace, given.service)


def persist(call, end=None, tries=None):
    """Calls until a member answers; the client takes another one after each failure."""
    for attempt in itertools.count(1):
        try:
            return call()
        except FAILURES as failure:
            if isinstance(failure, grpc.RpcError) and failure.code() == grpc.StatusCode.NOT_FOUND:
                raise NotFound from failure
            if attempt == tries:
                raise
            complain(failure)
        time.sleep(RETRY_PAUSE_SECONDS)
        if end and end.is_set():
            raise End


def register(client, given):
    """Keeps the instance there until the program is told to end, and then takes it away."""
    end = options.end_on_signals()
    while not end.is_set():
        lease = None
        try:
            lease = persist(lambda: client.lease(given.ttl), end)
            persist(lambda: client.put(prefix(given) + given.id, value(given), lease=lease), end)
            print("REGISTERED", given.id, lease.id, flush=True)
            keep_alive(lease, end)
            if not end.is_set():
                complain("lease %d is gone, registering again" % lease.id)
        except NotFound:
            complain("lease %d was gone before it was used" % lease.id)
        except End:
            pass
    if lease:
        # The lease takes its key along. Were this to fail, it would run out by itself.
        persist(lambda: client.revoke_lease(lease.id), tries=len(given.endpoints) + 1)
        print("DEREGISTERED", given.id, flush=True)


def value(given):
    """What stands under the key. Op, Addr and Metadata are what etcd's resolver for gRPC reads."""
    host, port = options.split(given.addr)
    return json.dumps(
        {
            "Op": 0,
            "Addr": given.addr,
            "Metadata": {},
            "id": given.id,
            "namespace": given.namespace,
            "service": given.service,
            "address": host,
            "port": port,
        }
    )


def keep_alive(lease, end):
    """Returns when the program is to end, or when the lease is gone."""
    while not end.wait(lease.ttl / 3):
        answers = persist(lease.refresh, end)
        if not answers or answers[-1].TTL <= 0:
            return


def resolve(client, given):
    """Prints the instances as they are now."""
    for name, text in listed(client, given)[0].items():
        if address(text):
            print(name, address(text))


def listed(client, given):
    """Values by id, and the revision that this shows."""
    answer = persist(lambda: client.get_prefix_response(prefix(given)))
    start = len(prefix(given))
    found = {pair.key.decode()[start:]: pair.value.decode() for pair in answer.kvs}
    return found, answer.header.revision


def watch(client, given):
    """Prints what there is, and then each change, until the program is told to end."""
    options.end_on_signals(on_end=sys.exit)
    known = {}
    following = None  # the first revision not seen yet; None: nothing is known
    while True:
        if following is None:
            found, revision = listed(client, given)
            for name in [name for name in known if name not in found]:
                remove(known, name)
            for name, text in found.items():
                put(known, name, text)
            following = revision + 1
        try:
            responses, _ = client.watch_prefix_response(prefix(given), start_revision=following)
            for response in responses:
                for event in response.events:
                    apply(known, event, len(prefix(given)))
                    following = event.mod_revision + 1  # one answer has all of a revision
        except exceptions.RevisionCompactedError:
            following = None  # the difference is found with a new list
        except FAILURES as failure:
            complain(failure)
        time.sleep(RETRY_PAUSE_SECONDS)


def apply(known, event, start):
    name = event.key.decode()[start:]
    if isinstance(event, events.DeleteEvent):
        remove(known, name)
    else:
        put(known, name, event.value.decode())


def put(known, name, text):
    before = known.get(name)
    known[name] = text
    if before is None:
        print("UP", name, address(text) or "-", flush=True)
    elif before != text:
        print("CHANGED", name, address(text) or "-", flush=True)


def remove(known, name):
    if known.pop(name, None) is not None:
        print("DOWN", name, "- -", flush=True)  # a plain event has no reason


def address(text):
    """host:port, or None when the value has no address that this program understands."""
    try:
        return json.loads(text).get("Addr")
    except (ValueError, AttributeError):
        return None


def complain(what):
    if isinstance(what, Exception):
        what = str(what) or type(what).__name__
    print("stock.py:", what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
