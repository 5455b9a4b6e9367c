"""The measurements, one function for each section of the table."""

import os
import statistics
import time

import machine
import stores
from run import side, undisturbed
from table import count, ms, say

VALUE_BYTES = 256
WATCHERS = 1_000
# Both shapes of the same fan-out.
STREAMS = (100, 1_000)
WRITERS = 64
# The fixed rate is this share of what etcd, or else this store, delivers at most.
FIXED_SHARE = 0.6
# What clients that never read may cost a server, in MiB.
STALLED_MIB_MAX = 1024
HEALTHY = ["--watchers", 100, "--streams", 10, "--value-size", VALUE_BYTES]
HELD_ON = {"prefixes": "of 100 prefixes", "own-keys": "each of a key of its own"}


def started(bench, kind, name):
    """A new cluster that serves and is at rest."""
    size = 1 if kind == "bare" else bench.settings.members
    cluster = bench.add_cluster(kind, size, f"{name}-{kind}")
    cluster.start()
    cluster.settle()
    return cluster


def back_and_forth(turns, kinds):
    """For each turn the kinds in the order in which they are measured."""
    return [kinds if turn % 2 == 0 else kinds[::-1] for turn in range(turns)]


def fan_out(bench):
    """Section a: one key, many watchers, on few streams and on many."""
    kinds = [*bench.kinds, "bare"]
    clusters = {kind: started(bench, kind, "fan-out") for kind in kinds}
    for streams in STREAMS:
        fan = FanOut(bench, clusters, streams)
        fan.saturation()
        fan.fixed_rate()


class FanOut:
    """The figures of one shape."""

    def __init__(self, bench, clusters, streams):
        self.bench, self.clusters, self.streams = bench, clusters, streams
        self.settings = bench.settings
        self.kinds = list(clusters)
        self.figure = f"fan-out to {count(WATCHERS)} watchers on {count(streams)} streams"
        self.fixed = 0

    def block(self, kind, seconds, *extra):
        """One block: deliveries a second, and processor time for one in the servers and in the
        client, in microseconds."""
        cluster = self.clusters[kind]
        spin = machine.spin_rate()
        found = cluster.bench(
            "watch", "--watchers", WATCHERS, "--streams", self.streams, "--clients", WRITERS,
            "--value-size", VALUE_BYTES, "--warm-up", "1s", "--duration", f"{seconds}s",
            "--server-pids", ",".join(map(str, cluster.pids)), *extra, timeout=60 + 4 * seconds)
        # Both over all of the run, the warm-up with it.
        elapsed = found["seconds"] + 1
        return {
            "rate": found["rate"], "p99": found["p99_ms"], "spin": spin,
            "server": found["server_cpu_ms"] * 1000 / found["deliveries"],
            "server share": found["server_cpu_ms"] / 1000 / elapsed,
            "client share": found["own_cpu"],
            "client": found["own_cpu"] * elapsed * 1e6 / found["deliveries"],
        }

    def search(self, kind):
        """How many puts are to be under way to the watchers for this server to deliver most."""
        if len(self.settings.outstanding) == 1:
            return self.settings.outstanding[0]
        rates = {}
        for outstanding in self.settings.outstanding:
            found = self.block(kind, self.settings.search_seconds, "--outstanding", outstanding)
            rates[outstanding] = found["rate"]
        best = max(rates, key=rates.get)
        say(f"{kind}, {self.streams} streams: {rates[best]:.0f} deliveries/s with {best} puts under way")
        return best

    def pairs(self, what, extra):
        found = []
        for order in back_and_forth(self.settings.pairs, self.kinds):
            found.append({kind: self.block(kind, self.settings.block, *extra(kind)) for kind in order})
            say(f"{what}: " + ", ".join(
                f"{kind}: {one['rate']:.0f}/s, {one['server']:.2f} us, p99 {one['p99']} ms"
                for kind, one in found[-1].items()))
        return undisturbed(found)

    def rows(self, name, pairs, what, form, etcd=None, bare=None):
        """A row beside etcd and one beside the bare broadcast, with their goals."""
        of = {kind: form(statistics.median(pair[kind][what] for pair in pairs)) for kind in self.kinds}
        def ratios(other):
            return [pair["quorate"][what] / max(pair[other][what], 1e-9) for pair in pairs]
        beside_etcd = {"ratio": ratios("etcd"), **(etcd or {})} if "etcd" in of else {}
        self.bench.table.add(f"{self.figure}: {name}", of["quorate"], of.get("etcd", "-"), **beside_etcd)
        self.bench.table.add(f"{self.figure}: {name}, quorate : bare broadcast",
                             f"{of['quorate']} : {of['bare']}", ratio=ratios("bare"), **(bare or {}))

    def saturation(self):
        best = {kind: self.search(kind) for kind in self.kinds}
        pairs, shown = self.pairs("saturation", lambda kind: ["--outstanding", best[kind]])
        self.rows(f"deliveries/s at saturation ({shown})", pairs, "rate", lambda rate: f"{rate / 1000:.0f} k",
                  {"at_least": 2}, {"at_least": 0.6})
        self.rows("processor time of the servers for a delivery at saturation", pairs, "server",
                  lambda used: f"{used:.2f} us", {"at_most": round(1 / 6, 3)})
        for kind in self.kinds:
            middle = {what: statistics.median(pair[kind][what] for pair in pairs)
                      for what in ("server share", "client share", "client")}
            text = (f"{middle['server share']:.2f} + {middle['client share']:.2f} of {os.cpu_count()}"
                    f" ({middle['client']:.2f} us for a delivery in the client)")
            self.bench.table.add(
                f"{self.figure}: processors in use by servers + client at saturation, "
                f"{best[kind]} puts under way" + (", bare broadcast" if kind == "bare" else ""),
                **{"etcd" if kind == "etcd" else "quorate": text})
        slower = "etcd" if "etcd" in self.kinds else "quorate"
        rate = statistics.median(pair[slower]["rate"] for pair in pairs)
        self.fixed = max(int(rate * FIXED_SHARE / WATCHERS), 1)

    def fixed_rate(self):
        pairs, shown = self.pairs("fixed rate", lambda _: ["--rate", self.fixed])
        self.rows(f"p99 of a delivery at {self.fixed} puts/s ({shown})", pairs, "p99",
                  lambda p99: f"{p99:.2f} ms", {"at_most": round(1 / 3, 3)})
        self.rows(f"processor time of the servers for a delivery at {self.fixed} puts/s", pairs, "server",
                  lambda used: f"{used:.2f} us")


def other_keys(bench):
    """Section b: puts while others watch keys that nobody sets."""
    for kind in bench.kinds:
        cluster = started(bench, kind, "other-keys")
        pairs = []
        put_block(bench, cluster)  # to warm up
        for order in back_and_forth(bench.settings.pairs, ("without", "with")):
            pairs.append({name: beside_watchers(bench, cluster, name == "with") for name in order})
            say(f"puts, {kind}: " + ", ".join(
                f"{name}: {one['rate']:.0f}/s, {one['cpu']:.1f} us" for name, one in pairs[-1].items()))
        bench.forget(cluster)
        pairs, shown = undisturbed(pairs)
        figure = f"put, 100 clients, with {count(WATCHERS)} watchers on other keys : without"
        for what, name, form, goal in (
                ("rate", f"rate ({shown})", lambda rate: f"{rate:.0f}/s", {"at_least": 0.95}),
                ("cpu", "processor time of the servers for one", lambda used: f"{used:.1f} us", {})):
            text = " : ".join(form(statistics.median(pair[side][what] for pair in pairs))
                              for side in ("with", "without"))
            ratio = [pair["with"][what] / pair["without"][what] for pair in pairs]
            if kind == "quorate":
                bench.table.add(f"{figure}: {name}", text, ratio=ratio, **goal)
            else:
                bench.table.add(f"{figure}: {name}, etcd's own", etcd=text, ratio=ratio)


def beside_watchers(bench, cluster, watched):
    if not watched:
        return put_block(bench, cluster)
    with cluster.hold("--connections", 10, "--streams-per-connection", 10,
                      "--watchers-per-stream", WATCHERS // 100) as holder:
        for step in ("connections", "streams", "watchers"):
            holder.step(step)
        return put_block(bench, cluster)


def put_block(bench, cluster):
    spin, before = machine.spin_rate(), cluster.cpu()
    found = cluster.bench("put", "--clients", 100, "--value-size", VALUE_BYTES,
                          "--duration", f"{bench.settings.block}s")
    used = cluster.cpu() - before
    return {"rate": found["rate"], "cpu": used * 1e6 / found["operations"], "spin": spin}


def memory(bench):
    """Section c: what the server's memory grows by with idle streams, and with more watchers."""
    connections, per_connection, per_stream = bench.settings.held
    streams = connections * per_connection
    further = streams * (per_stream - 1)
    for on, name in HELD_ON.items():
        found = {kind: [] for kind in bench.kinds}
        for order in back_and_forth(bench.settings.turns, bench.kinds):
            for kind in order:
                found[kind].append(held(bench, kind, on))
                say(f"memory, {kind}, {on}: " + ", ".join(
                    f"{step}: {mib:.0f} MiB" for step, mib in found[kind][-1].items()))
        def sizes(kind, after, before, number):
            return [max(one[after] - one[before], 0) * machine.MIB / number for one in found[kind]]
        for what, after, before, number, at_most, about in (
                ("stream with one watcher", "streams", "connections", streams, 5 * 1024,
                 f"{count(streams)} idle streams on {connections} connections"),
                ("further watcher", "watchers", "streams", further, 150,
                 f"{count(further + streams)} watchers on these streams")):
            ours = sizes("quorate", after, before, number)
            texts = {kind: f"{statistics.median(sizes(kind, after, before, number)):.0f} B"
                     for kind in bench.kinds}
            ratio = statistics.median(ours) / max(
                statistics.median(sizes("etcd", after, before, number)), 1) if "etcd" in found else None
            bench.table.add(f"memory of a {what}, {name}: {about}", texts["quorate"],
                            texts.get("etcd", "-"), ratio, at_most=at_most, measured=ours, unit=" B")


def held(bench, kind, on):
    """Resident memory of a new server, in MiB, after each step."""
    cluster = started(bench, kind, f"memory-{on}")
    connections, per_connection, per_stream = bench.settings.held
    resident = {}
    with cluster.hold("--connections", connections, "--streams-per-connection", per_connection,
                      "--watchers-per-stream", per_stream, "--on", on) as holder:
        for step in ("connections", "streams", "watchers"):
            holder.step(step)
            cluster.settle()
            resident[step] = sum(machine.memory_mib(pid)[0] for pid in cluster.pids)
        ended = holder.step("ended")
    bench.forget(cluster)
    if ended:
        raise stores.Failed(f"{kind}: {ended} streams were ended by the server")
    return resident


def catch_up(bench):
    """Section d: watchers from an old revision on."""
    keys, rounds = bench.settings.past
    clusters, found = {}, {kind: [] for kind in bench.kinds}
    for kind in bench.kinds:
        clusters[kind] = cluster = started(bench, kind, "catch-up")
        cluster.bench("load", "--txn-size", 1, "--rounds", rounds, "--clients", 100, "--keys", keys,
                      "--value-size", VALUE_BYTES)
        cluster.settle()
    for order in back_and_forth(bench.settings.turns, bench.kinds):
        for kind in order:
            if kind not in clusters:
                continue
            try:
                found[kind].append(caught_up(clusters[kind], kind, keys * rounds))
            except stores.Failed as failure:
                bench.table.add_failure(failure)
                bench.forget(clusters.pop(kind))
    # The time etcd takes in one turn, over ours in the same turn.
    ratio = [theirs / max(ours, 0.001) for ours, theirs in zip(found["quorate"], found.get("etcd", []))]
    bench.table.add(
        f"catch-up of {count(keys)} watchers on 50 streams, each with {rounds} of the last "
        f"{count(keys * rounds)} revisions (ratio: times faster)",
        side(found, "quorate", ms), side(found, "etcd", ms), ratio or None,
        at_least=10 if ratio else None)


def caught_up(cluster, kind, events):
    """The seconds that one catch-up takes."""
    report = cluster.bench("catch-up", "--streams", 50, "--connections", 5)
    if report["operations"] != events:
        raise stores.Failed(f"{kind}: {report['operations']} events, not {events}")
    say(f"catch-up, {kind}: {report['seconds']} s, {report['own_cpu']} processors of the client")
    return report["seconds"]


def stalled(bench):
    """Section e: clients that never read, and what that does to the server and to others."""
    connections, per_connection, per_stream = bench.settings.stalled
    number = connections * per_connection * per_stream
    for kind in bench.kinds:
        seconds = bench.settings.stall if kind == "quorate" else bench.settings.etcd_stall
        if seconds == 0:
            continue
        try:
            found = stall(bench, kind, seconds)
        except stores.Failed as failure:
            bench.table.add_failure(failure)
            bench.forget_all()
            continue
        about = (f"{count(number)} watchers that never read for {seconds} s at "
                 f"{bench.settings.stall_rate} puts/s to their key")
        grown = f"{found['peak']:.0f} MiB, {found['ended']} streams ended by the server"
        delay = " : ".join(f"{statistics.median(found[name]):.2f} ms" for name in ("with", "without"))
        ratio = statistics.median(found["with"]) / statistics.median(found["without"])
        if kind == "quorate":
            bench.table.add(f"{about}: peak of the server's memory over idle", grown,
                            measured=[found["peak"]], at_most=STALLED_MIB_MAX, unit=" MiB")
            bench.table.add(f"{about}: p99 of deliveries to 100 healthy watchers, with : without", delay,
                            ratio=ratio, at_most=1.2)
        else:
            bench.table.add(f"{about}: peak of the server's memory over idle, etcd's own", etcd=grown)
            bench.table.add(f"{about}: p99 of deliveries to 100 healthy watchers, with : without, "
                            "etcd's own", etcd=delay, ratio=ratio)


def stall(bench, kind, seconds):
    """Healthy watchers alone, then beside those that do not read, then alone again."""
    settings = bench.settings
    cluster = started(bench, kind, "stalled")
    connections, per_connection, per_stream = settings.stalled
    block = max(min(20, seconds // 2), 1)
    alone = max(min(seconds // block // 4, 4), 1)

    def healthy():
        report = cluster.bench("watch", *HEALTHY, "--clients", WRITERS, "--rate", settings.stall_rate,
                               "--warm-up", "1s", "--duration", f"{block}s", timeout=120 + block)
        return report["p99_ms"]

    healthy()  # to warm up
    found = {"without": [healthy() for _ in range(alone)], "with": []}
    for pid in cluster.pids:
        machine.reset_peak(pid)
    idle = sum(machine.memory_mib(pid)[0] for pid in cluster.pids)
    with cluster.hold("--connections", connections, "--streams-per-connection", per_connection,
                      "--watchers-per-stream", per_stream, "--on", "watched-key", "--stalled") as holder:
        for step in ("connections", "streams", "watchers"):
            holder.step(step)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found["with"].append(healthy())
            say(f"stalled, {kind}: p99 {found['with'][-1]} ms")
        found["peak"] = sum(machine.memory_mib(pid)[1] for pid in cluster.pids) - idle
        found["ended"] = holder.step("ended")
    cluster.settle()
    found["without"] += [healthy() for _ in range(alone)]
    say(f"stalled, {kind}: peak {found['peak']:.0f} MiB over idle, p99 alone {found['without']} ms")
    bench.forget(cluster)
    return found
