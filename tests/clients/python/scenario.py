"""Drives a cluster through a stock Python client, unmodified.

    scenario.py register --key K --value V --ttl 5   registers until it is killed
    scenario.py watch --prefix P                     prints what happens below a prefix
    scenario.py kv                                   checks what clients rely on, and exits
    scenario.py contend --lock L --register K        writes under a lock again and again until killed

Every command takes --endpoints host:port,... . What they print is for a test to read, and is the same
as what the Go program of this name prints; errors go to standard error, and the exit status is then 1.
"""

import argparse
import sys
import time

import grpc
import pyetcd
from pyetcd import events, exceptions

import checks
import contend

# How long one call may take; a change of the leader fits in.
CALL_TIMEOUT_SECONDS = 5.0
# How soon an endpoint that failed is tried again.
ENDPOINT_RETRY_SECONDS = 0.5
# How long the cluster may be out of reach before the program gives up.
OUTAGE_MAX_SECONDS = 30.0
# The pause between two tries. The client leaves trying again to its user.
RETRY_PAUSE_SECONDS = 0.1

# What says that a member cannot be reached or does not answer, rather than that it refuses.
OUTAGES = (
    exceptions.ConnectionFailedError,
    exceptions.ConnectionTimeoutError,
    exceptions.NoServerAvailableError,
    exceptions.WatchTimedOut,
)


class Failure(Exception):
    """Something that ends the program with a message."""


def main():
    args = parse_args()
    client = pyetcd.MultiEndpointEtcd3Client(
        [endpoint(address) for address in args.endpoints.split(",")],
        timeout=CALL_TIMEOUT_SECONDS,
        failover=True,
    )
    args.run(client, args)


def endpoint(address):
    host, _, port = address.rpartition(":")
    return pyetcd.Endpoint(host, int(port), secure=False, time_retry=ENDPOINT_RETRY_SECONDS)


def parse_args():
    parser = argparse.ArgumentParser(description="drives a cluster through a stock Python client")
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("register", help="register a key until killed")
    command.add_argument("--key", required=True)
    command.add_argument("--value", default="")
    command.add_argument("--ttl", type=int, default=5, help="in seconds")
    command.set_defaults(run=register)

    command = commands.add_parser("watch", help="print what happens below a prefix")
    command.add_argument("--prefix", required=True)
    command.set_defaults(run=watch)

    command = commands.add_parser("kv", help="check what clients rely on")
    command.add_argument("--prefix", default="scenario/%d/" % time.time_ns())
    command.set_defaults(run=kv)

    command = commands.add_parser("contend", help="write under a lock again and again")
    command.add_argument("--lock", required=True)
    command.add_argument("--register", required=True)
    command.add_argument("--worker", default="python")
    command.add_argument("--through", choices=("own", "service"), default="own")
    command.add_argument("--ttl", type=int, default=3, help="in seconds")
    command.add_argument("--hold", type=float, default=0.02, help="seconds before each write")
    command.add_argument("--writes", type=int, default=2, help="writes under each lock")
    command.add_argument("--unguarded", action="store_true", help="write whether it is held or not")
    command.set_defaults(run=contend.contend)

    for command in commands.choices.values():
        command.add_argument("--endpoints", default="127.0.0.1:2379")
    return parser.parse_args()


def persist(call):
    """Calls until a member answers; every try may go to another one."""
    give_up = time.monotonic() + OUTAGE_MAX_SECONDS
    while True:
        try:
            return call()
        except OUTAGES as outage:
            if time.monotonic() > give_up:
                raise Failure("no member answers: %s" % (outage or type(outage).__name__)) from outage
            time.sleep(RETRY_PAUSE_SECONDS)


def register(client, args):
    """Hangs a key on a lease and keeps the lease alive, as a service does that announces itself.

    Prints "registered <lease id>", the id in decimal, and stays until it is killed; it never takes the
    key back itself.
    """
    lease = persist(lambda: client.lease(args.ttl))
    persist(lambda: client.put(args.key, args.value, lease=lease))
    print("registered", lease.id, flush=True)

    while True:
        time.sleep(args.ttl / 3)
        answers = persist(lease.refresh)
        if not answers or answers[-1].TTL <= 0:
            raise Failure("lease %d is lost" % lease.id)


def watch(client, args):
    """Watches a prefix until it is killed, also when the member that it watches at goes away.

    Prints "watching <prefix>" once the server has confirmed the watcher, and then a line for each
    event: "PUT <key> <value> <mod revision>" or "DELETE <key> <mod revision>".
    """
    # The revision comes first, so that nothing falls between two streams, or before the first one.
    resume = persist(lambda: client.get_prefix_response(args.prefix)).header.revision + 1
    confirmed = False
    while True:
        responses, _ = persist(
            lambda: client.watch_prefix_response(args.prefix, start_revision=resume)
        )
        if not confirmed:
            print("watching", args.prefix, flush=True)
            confirmed = True
        try:
            for response in responses:
                for event in response.events:
                    print(describe(event), flush=True)
                    resume = event.mod_revision + 1
        except OUTAGES:
            pass
        time.sleep(RETRY_PAUSE_SECONDS)


def describe(event):
    key = event.key.decode()
    if isinstance(event, events.DeleteEvent):
        return "DELETE %s %d" % (key, event.mod_revision)
    return "PUT %s %s %d" % (key, event.value.decode(), event.mod_revision)


def kv(client, args):
    """Runs every check below a prefix of its own, and prints "ok <check>" for each that holds."""
    for name, check in checks.ALL:
        prefix = "%s%s/" % (args.prefix, name)
        try:
            check(client, prefix)
        except checks.Mismatch as mismatch:
            raise Failure("%s: %s" % (name, mismatch)) from mismatch
        print("ok", name, flush=True)
    client.delete_prefix(args.prefix)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except Failure as failure:
        sys.exit("scenario.py: %s" % failure)
    except grpc.RpcError as error:
        sys.exit("scenario.py: %s: %s" % (error.code().name, error.details()))
    except exceptions.Etcd3Exception as error:
        sys.exit("scenario.py: %s %s" % (type(error).__name__, error))
