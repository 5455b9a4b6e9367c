"""The measurement: puts before and while a member is sent the whole state."""

import os
import shutil
import signal
import statistics
import subprocess
import threading
import time

import machine
import stores
from run import side
from table import say

VALUE_BYTES = 4096
# After the large transactions, so that a store which keeps a number of entries has dropped enough.
SMALL_PUTS = 30_000
CLIENTS = 100
# A member's folder has grown by this much once the transfer runs.
BEGUN_BYTES = 4 * machine.MIB
CATCH_UP_SECONDS = 600
# How much of the time of a transfer the puts beside it may take at most, going by the first one.
COVERED = 0.8


def of_some(cluster, members):
    """The same cluster, as seen by who talks to some of its members only."""
    twin = object.__new__(stores.Cluster)
    twin.__dict__.update(cluster.__dict__, members=members)
    return twin


def initial(cluster):
    return ",".join(f"{member.name}={member.peer}" for member in cluster.members)


def start(cluster, members):
    """Starts some members, and waits until they serve."""
    probe = of_some(cluster, members)
    for member in members:
        member.start(initial(cluster))
    probe.bench("ready", timeout=stores.START_SECONDS)
    return probe


def folder_bytes(folder):
    found = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                found += os.stat(os.path.join(path, name)).st_size
            except FileNotFoundError:
                pass  # it went while we looked
    return found


class Return:
    """A member that comes back, and when it has all that the others have."""

    def __init__(self, cluster, member):
        self.cluster, self.member, self.seconds, self.failure = cluster, member, None, None
        self.folder = os.path.join(cluster.folder, member.name)
        self.before = folder_bytes(self.folder)
        self.begin = time.monotonic()
        member.start(initial(cluster))
        self.waiting = threading.Thread(target=self._wait, daemon=True)
        self.waiting.start()

    def _wait(self):
        try:
            of_some(self.cluster, [self.member]).bench("ready", timeout=CATCH_UP_SECONDS)
            self.seconds = time.monotonic() - self.begin
        except (stores.Failed, OSError) as failure:
            self.failure = failure

    def begun(self):
        """Waits until the transfer runs; returns the seconds until then."""
        while folder_bytes(self.folder) < self.before + BEGUN_BYTES:
            if not self.waiting.is_alive():
                break
            time.sleep(0.02)
        return time.monotonic() - self.begin

    def done(self):
        self.waiting.join(CATCH_UP_SECONDS)
        if self.failure is not None or self.seconds is None:
            raise stores.Failed(f"{self.cluster.kind}: the member did not catch up: {self.failure}")
        return self.seconds


def filled(bench, kind):
    """A cluster, stopped, one member of which lacks all that was written."""
    settings = bench.settings
    keys = settings.mib * machine.MIB // VALUE_BYTES
    say(f"filling {kind} with {settings.mib} MiB while a member is away")
    cluster = bench.add_cluster(kind, 3, f"{kind}-behind")
    if kind == "quorate" and settings.send_rate is not None:
        for member in cluster.members:
            member.flags.append(f"--snapshot-send-rate={settings.send_rate}")
    cluster.start()
    away, present = cluster.members[2], cluster.members[:2]
    away.stop(signal.SIGTERM)
    probe = of_some(cluster, present)
    probe.bench("ready", timeout=stores.START_SECONDS)
    probe.bench("load", "--shuffled", "--keys", keys, "--key-size", 32, "--value-size", VALUE_BYTES,
                "--txn-size", 64, timeout=3600)
    probe.bench("put", "--clients", CLIENTS, "--total", SMALL_PUTS, "--value-size", 64,
                "--keys", keys, "--key-prefix", "small/")
    probe.settle()
    for member in present:
        member.stop(signal.SIGTERM)
    return cluster


def puts(bench, probe, seconds, seed):
    return probe.bench(
        "put", "--rate", bench.settings.rate, "--clients", CLIENTS, "--duration", f"{seconds}s",
        "--value-size", 256, "--key-prefix", "during/", "--seed", seed)


def turn(bench, original, number, seconds):
    """One return of the member: without puts the first time, to learn how long it takes."""
    kind = original.kind
    folder = os.path.join(bench.folder, f"{kind}-turn")
    shutil.rmtree(folder, ignore_errors=True)
    cluster = original.copy(folder)
    bench.clusters.append(cluster)
    try:
        probe = start(cluster, cluster.members[:2])
        probe.settle()
        found = {}
        if seconds:
            puts(bench, probe, 3, 2 * number)  # to warm up
            before = puts(bench, probe, bench.settings.block, 2 * number + 1)
            found.update(before_p50=before["p50_ms"], before_p99=before["p99_ms"])
        back = Return(cluster, cluster.members[2])
        found["quiet"] = back.begun()
        if seconds:
            during = puts(bench, probe, seconds, 2 * number + 1)
            found["puts_end"] = time.monotonic() - back.begin
            found.update(p50=during["p50_ms"], p99=during["p99_ms"])
        found["seconds"] = back.done()
        return found
    finally:
        bench.forget(cluster)


def transfer(bench):
    settings = bench.settings

    def measure(kind):
        original = filled(bench, kind)
        alone = turn(bench, original, 0, 0)
        lasted = alone["seconds"] - alone["quiet"]
        seconds = max(1, min(settings.block, int(lasted * COVERED)))
        say(f"{kind}: caught up after {alone['seconds']:.1f} s, the first {alone['quiet']:.1f} s of "
            f"them without a transfer; puts of {seconds} s")
        found = []
        for number in range(1, settings.turns + 1):
            one = turn(bench, original, number, seconds)
            # What went on after the end is no put beside a transfer.
            one["covered"] = min(1.0, (one["seconds"] - one["quiet"]) / (one["puts_end"] - one["quiet"]))
            say(f"{kind}, turn {number}: p99 {one['before_p99']} ms before, {one['p99']} ms during; "
                f"caught up after {one['seconds']:.1f} s; {one['covered']:.0%} of the puts beside it")
            found.append(one)
        bench.forget(original)
        return {"alone": alone, "turns": found}

    found = bench.each_kind(measure)
    where = f"at {settings.rate}/s, while a member is sent {settings.mib} MiB : before"
    for quantile, goal in (("p50", None), ("p99", 1.5)):
        for kind, one in found.items():
            middle = lambda name: statistics.median(turn[name] for turn in one["turns"])
            shown = f"{middle(quantile):.2f} ms : {middle(f'before_{quantile}'):.2f} ms"
            ratio = [turn[quantile] / turn[f"before_{quantile}"] for turn in one["turns"]]
            if kind == "quorate":
                bench.table.add(f"put {quantile} {where}", shown, ratio=ratio, at_most=goal)
            else:
                bench.table.add(f"put {quantile} {where}, etcd's own", etcd=shown, ratio=ratio)
    shown = lambda seconds: f"{seconds:.1f} s"
    under_load = {kind: [turn["seconds"] for turn in one["turns"]] for kind, one in found.items()}
    alone = {kind: [one["alone"]["seconds"]] for kind, one in found.items()}
    for name, values in (("alone", alone), ("beside the puts", under_load)):
        bench.table.add(f"from the member's start to its first linearizable read, {name}",
                        side(values, "quorate", shown), side(values, "etcd", shown))
    covered = {kind: [turn["covered"] for turn in one["turns"]] for kind, one in found.items()}
    percent = lambda part: f"{part:.0%}"
    bench.table.add("part of the puts that was beside the transfer",
                    side(covered, "quorate", percent), side(covered, "etcd", percent))
