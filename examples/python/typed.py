"""Registers and finds services with the typed registry, through stubs that grpcio-tools made of
registry.proto (see README.md).

    typed.py register --service user --id u1 --addr 10.0.0.7:8080 --ttl 15
    typed.py resolve --service user
    typed.py watch --service user
"""

import itertools
import queue
import sys
import threading
import time
import uuid

import grpc

import options
from quorate.registry.v1 import registry_pb2 as pb
from quorate.registry.v1 import registry_pb2_grpc

CALL_TIMEOUT_SECONDS = 5.0  # of one call, an election included
RETRY_PAUSE_SECONDS = 0.2
CHANNEL_OPTIONS = (
    # A member that vanished without a word is noticed.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    # A member that came back is found soon.
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


def main():
    given = options.parse()
    sys.exit({"register": register, "resolve": resolve, "watch": watch}[given.command](given))


def connect(endpoint):
    """A channel to one member. Which one does not matter: each of them serves everything."""
    return grpc.insecure_channel(endpoint, options=CHANNEL_OPTIONS)


def resolve(given):
    """Prints the instances that can be called; the next member is asked when one does not answer."""
    request = pb.ResolveRequest(
        namespace=given.namespace, service=given.service, linearizable=True
    )
    for endpoint in given.endpoints:
        try:
            with connect(endpoint) as channel:
                stub = registry_pb2_grpc.RegistryStub(channel)
                answer = stub.Resolve(request, timeout=CALL_TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            complain(error)
            continue
        for instance in answer.instances:
            print(instance.id, target(instance))
        return 0
    return 1


def watch(given):
    """Prints what there is, and then each change, until the program is told to end."""
    options.end_on_signals(on_end=sys.exit)
    follower = Follower()
    for endpoint in itertools.cycle(given.endpoints):
        try:
            with connect(endpoint) as channel:
                follower.follow(registry_pb2_grpc.RegistryStub(channel), given)
        except grpc.RpcError as error:
            complain(error)
        time.sleep(RETRY_PAUSE_SECONDS)


class Follower:
    """What is known of a service. It goes from stream to stream."""

    def __init__(self):
        self.known = {}
        self.revision = 0  # all up to here was printed

    def follow(self, stub, given):
        """Prints changes, from where it was, until the stream ends."""
        request = pb.WatchRequest(
            namespace=given.namespace, service=given.service, revision=self.revision
        )
        parts = []  # of one revision; what is not complete yet would come again on the next stream
        for answer in stub.Watch(request):
            parts.append(answer)
            if not answer.more:
                self.show(parts)
                self.revision = answer.revision
                parts = []

    def show(self, parts):
        """Prints all that was said of one revision."""
        if parts[0].HasField("snapshot"):
            self.replace([one for part in parts for one in part.snapshot.instances])
        for change in (change for part in parts for change in part.changes.changes):
            if change.kind == pb.Change.DOWN:
                self.known.pop(change.before.id, None)
                reason = pb.Change.Reason.Name(change.reason)
                say("DOWN", change.before.id, target(change.before), reason)
            else:
                self.known[change.after.id] = change.after
                say(pb.Change.Kind.Name(change.kind), change.after.id, target(change.after))

    def replace(self, instances):
        """Takes a snapshot for what is known. There may have been one before: when the history from
        its revision on is gone, the server begins anew."""
        before = self.known
        self.known = {instance.id: instance for instance in instances}
        for instance in instances:
            if instance.id not in before:
                say("UP", instance.id, target(instance))
            elif before[instance.id].mod_revision != instance.mod_revision:
                say("CHANGED", instance.id, target(instance))
        for name, instance in before.items():
            if name not in self.known:
                say("DOWN", name, target(instance), "REASON_UNSPECIFIED")


def register(given):
    """Keeps the instance there until the program is told to end, and then takes it away.

    A session outlives its stream by the TTL. When the stream breaks, the session is opened again at
    the next member, and whoever watches the service notices nothing.
    """
    end = options.end_on_signals()
    session = Session(given)
    give_up = None  # set once the program is to end
    for endpoint in itertools.cycle(given.endpoints):
        try:
            session.hold(endpoint, end)
            say("DEREGISTERED", given.id)
            return 0
        except (grpc.RpcError, Declined, Ended) as error:
            complain(error)
            if invalid(error):
                return 1  # no member would take it
        if end.is_set():
            give_up = give_up or time.monotonic() + given.ttl
            if time.monotonic() > give_up:
                complain("no member took the end of the session; it has run out by now")
                return 1
        time.sleep(RETRY_PAUSE_SECONDS)


def invalid(error):
    return not isinstance(error, Ended) and error.code() == grpc.StatusCode.INVALID_ARGUMENT


class Ended(Exception):
    """A stream that is over before its time."""


class Declined(Exception):
    """An answer that says no. The session goes on."""

    def __init__(self, error):
        super().__init__(error.message)
        self.number = error.code

    def code(self):
        return next((code for code in grpc.StatusCode if code.value[0] == self.number), None)


class Session:
    """What one process holds. It is the same over all streams."""

    def __init__(self, given):
        host, port = options.split(given.addr)
        self.id = str(uuid.uuid4())
        self.lease = 0  # none yet
        self.announced = 0  # the lease that the program's user was told of
        self.ttl = given.ttl
        self.instance = pb.Instance(
            namespace=given.namespace, service=given.service, id=given.id, address=host, port=port
        )

    def hold(self, endpoint, end):
        """Opens the session at a member and renews it; closes it when the program is to end. An
        exception says that another member is to be tried."""
        with connect(endpoint) as channel, Stream(channel) as stream:
            request = pb.OpenSession(session_id=self.id, ttl=self.ttl, lease_id=self.lease)
            self.ask(stream, open=request)
            while not end.is_set():
                # To register what stands there already changes nothing, so nobody needs to know
                # whether it does.
                self.register(stream)
                self.renew(stream, end)
            self.ask(stream, close=pb.CloseSession())

    def register(self, stream):
        self.ask(stream, register=pb.RegisterInSession(instance=self.instance))
        if self.announced != self.lease:
            self.announced = self.lease
            say("REGISTERED", self.instance.id, self.lease)

    def renew(self, stream, end):
        """Keeps the session alive until the program is to end, or until it was lost: then it is a new
        one with nothing in it."""
        lease = self.lease
        while self.lease == lease and not end.wait(self.ttl / 3):
            self.ask(stream, heartbeat=pb.Heartbeat())

    def ask(self, stream, **request):
        # A member that does not answer is left while there is still time to ask another one.
        answer = stream.ask(max(1.0, self.ttl / 2), **request)
        # The answer to open; and to any other request when the session was lost meanwhile.
        if answer.HasField("opened"):
            self.lease, self.ttl = answer.opened.lease_id, answer.opened.ttl
            if answer.opened.lost:
                complain("the session was lost, registering again")


class Stream:
    """Requests and their answers: each has one, in their order."""

    def __init__(self, channel):
        self.requests = queue.SimpleQueue()
        self.seq = 0
        stub = registry_pb2_grpc.RegistryStub(channel)
        self.call = stub.Session(iter(self.requests.get, None))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.requests.put(None)
        self.call.cancel()

    def ask(self, timeout, **request):
        """The answer to a request. One that does not come in time ends the stream."""
        self.seq += 1
        self.requests.put(pb.SessionRequest(seq=self.seq, **request))
        timer = threading.Timer(timeout, self.call.cancel)
        timer.start()
        try:
            answer = next(self.call, None)
        finally:
            timer.cancel()
        if answer is None:
            raise Ended("the member has ended the stream")
        if answer.HasField("error"):
            raise Declined(answer.error)
        return answer


def target(instance):
    return options.join(instance.address, instance.port)


def say(*words):
    print(*words, flush=True)


def complain(what):
    if isinstance(what, grpc.RpcError):
        what = "%s: %s" % (what.code().name, what.details())
    print("typed.py:", what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
