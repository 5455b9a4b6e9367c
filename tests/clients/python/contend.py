"""Contends for a lock with others, and writes under it with its fencing token.

The lines that it prints are those of the Go program's `contend`; see there.
"""

import sys
import threading
import time

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from pyetcd import exceptions

# How long the lock is waited for before another member is asked.
WAIT_SECONDS = 5.0
# How long any other call may take.
STEP_SECONDS = 5.0
# The pause after a failure.
FAILURE_PAUSE_SECONDS = 0.1
# What may fail while members come and go.
FAILURES = (grpc.RpcError, exceptions.Etcd3Exception)


class Lost(Exception):
    """The lock was lost while it was believed to be held."""


def contend(client, args):
    """Acquires, writes and releases again and again until it is killed."""
    acquire = {"own": OwnLock, "service": ServiceLock}[args.through]
    while True:
        try:
            lock = acquire(client, args)
            print("held", lock.token, lock.key, flush=True)
            use(client, args, lock)
            lock.release()
            print("released", lock.token, flush=True)
        except (Lost, *FAILURES) as failure:
            print("scenario.py: %s: %s" % (type(failure).__name__, failure), file=sys.stderr)
            time.sleep(FAILURE_PAUSE_SECONDS)


def use(client, args, lock):
    """Writes the token into the register, each time only while the lock's key is the one it is of."""
    txn = client.transactions
    for number in range(args.writes):
        time.sleep(args.hold)
        value = "%d %s %s %d" % (lock.token, lock.key, args.worker, number)
        guard = [] if args.unguarded else [txn.create(lock.key) == lock.token]
        written, responses = client.transaction(
            compare=guard, success=[txn.put(args.register, value)], failure=[]
        )
        if not written:
            print("fenced", lock.token, number, flush=True)
            raise Lost("its key is gone")
        revision = responses[0].response_put.header.revision
        print("wrote", lock.token, revision, number, flush=True)


class OwnLock:
    """The lock that comes with the client library: one key, whoever creates it has the lock."""

    def __init__(self, client, args):
        self.lock = client.lock(args.lock, ttl=args.ttl)
        if not self.lock.acquire(timeout=WAIT_SECONDS):
            raise Lost("no turn within %s s" % WAIT_SECONDS)
        self.key, self.token = self.lock.key, self.lock.revision

    def release(self):
        self.lock.release()


class ServiceLock:
    """A lock of the Lock service, on a lease of our own that is kept alive meanwhile."""

    def __init__(self, client, args):
        self.client = client
        lease = client.lease(args.ttl)
        self.done = threading.Event()
        threading.Thread(target=self._keep_alive, args=(lease,), daemon=True).start()
        try:
            answer = call(client, "Lock", LockRequest(name=args.lock.encode(), lease=lease.id), WAIT_SECONDS)
            self.key = answer.key.decode()
            held = client.get_response(self.key).kvs
            if not held:
                raise Lost("before its token was read")
            self.token = held[0].create_revision
        except BaseException:
            self.done.set()
            raise

    def _keep_alive(self, lease):
        while not self.done.wait(lease.ttl / 3):
            try:
                lease.refresh()
            except FAILURES:
                pass  # the next one may go to another member

    def release(self):
        self.done.set()
        call(self.client, "Unlock", UnlockRequest(key=self.key.encode()), STEP_SECONDS)


def call(client, method, request, timeout):
    """A call of the Lock service, of which the client library knows nothing, on its connection."""
    stub = client.channel.unary_unary(
        "/v3lockpb.Lock/" + method,
        request_serializer=type(request).SerializeToString,
        response_deserializer=LockResponse.FromString,
    )
    try:
        return stub(request, timeout=timeout)
    except grpc.RpcError as error:
        # It marks a member that failed, so that the next call goes to another one.
        client._manage_grpc_errors(error)
        raise


def _messages():
    """The messages of the Lock service, as far as they are needed."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="contend.proto", package="contend", syntax="proto3")
    for name, fields in (
        ("LockRequest", [("name", 1, field.TYPE_BYTES), ("lease", 2, field.TYPE_INT64)]),
        ("LockResponse", [("key", 2, field.TYPE_BYTES)]),
        ("UnlockRequest", [("key", 1, field.TYPE_BYTES)]),
    ):
        message = file.message_type.add(name=name)
        for field_name, number, kind in fields:
            message.field.add(name=field_name, number=number, type=kind, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = ("LockRequest", "LockResponse", "UnlockRequest")
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName("contend." + name)) for name in names
    ]


LockRequest, LockResponse, UnlockRequest = _messages()
