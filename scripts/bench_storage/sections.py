"""The measurements, one function for each section of the table."""

import os
import shutil
import signal
import statistics

import machine
import run
import stores
from run import side, undisturbed
from table import count, mib, ms, say

KEY_BYTES, VALUE_BYTES, LIST_VALUE_BYTES = 64, 256, 100
PARALLEL_LISTS = 4
# What the peak memory of a stream may differ by and still count as the same.
SAME_MEMORY_MIB = 16
RATIO_MIB = 4
# Three views of the memory that lists take.
NAMES = {
    "most": "peak memory",
    "first": "peak memory over idle after a start",
    "again": "peak memory over idle, once more",
}


class Bench(run.Bench):
    """Clusters that are filled once, and copied or used where they are wanted."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.filled = {}
        self.seed = 0

    def next_seed(self):
        """Random keys of a block are not those of the block before it."""
        self.seed += 1
        return self.seed

    def keys(self, keys, value_bytes=VALUE_BYTES):
        return ["--keys", keys, "--key-size", KEY_BYTES, "--value-size", value_bytes,
                "--seed", self.next_seed()]

    def cluster(self, kind, size, keys, value_bytes=VALUE_BYTES, rounds=0):
        """A cluster that holds so many keys, stopped. It is filled the first time it is wanted:
        once in large transactions, and then so many rounds of single puts."""
        name = f"{kind}-{size}-{keys}-{value_bytes}-{rounds}"
        if name in self.filled:
            return self.filled[name]
        say(f"filling {kind} ({size}) with {count(keys)} keys")
        cluster = self.add_cluster(kind, size, name)
        cluster.start()
        wanted = self.keys(keys, value_bytes)
        load = cluster.bench("load", "--shuffled", *wanted, timeout=3600)
        if load["puts"] != keys:
            raise stores.Failed(f"{kind}: {load['puts']} keys were set of {keys}")
        say(f"  {load['puts'] / load['seconds']:.0f} puts/s in transactions")
        if rounds:
            load = cluster.bench("load", "--txn-size", 1, "--rounds", rounds, "--clients", 100,
                                 *wanted, timeout=3600)
            say(f"  {load['rate']:.0f} single puts/s")
        cluster.settle()
        cluster.stop()
        self.filled[name] = cluster
        return cluster

    def copy(self, cluster, name):
        folder = os.path.join(self.folder, name)
        shutil.rmtree(folder, ignore_errors=True)
        twin = cluster.copy(folder)
        self.clusters.append(twin)
        return twin

    def forget(self, cluster):
        super().forget(cluster)
        self.filled = {name: other for name, other in self.filled.items() if other is not cluster}

    def forget_filled(self):
        """Makes room on the disk: what comes next is filled anew."""
        for cluster in list(self.filled.values()):
            self.forget(cluster)


class Starts:
    """Sections a and b: times and memory of starts, by store and keys."""

    def __init__(self, bench):
        self.bench = bench
        settings = bench.settings
        self.subjects = [
            (kind, keys) for keys in settings.scales for kind in bench.kinds
            if kind == "quorate" or keys <= settings.etcd_keys_max
        ]
        self.graceful, self.killed, self.resident, self.peak = (
            {subject: [] for subject in self.subjects} for _ in range(4)
        )

    def run(self):
        for turn in range(self.bench.settings.starts):
            # Back and forth, so that a machine that becomes slower is unfair to nobody.
            order = self.subjects if turn % 2 == 0 else self.subjects[::-1]
            for kind, keys in list(order):
                try:
                    self.once(kind, keys)
                except stores.Failed as failure:
                    self.bench.table.add_failure(f"{count(keys)} keys: {failure}")
                    self.bench.stop_all()
                    self.subjects.remove((kind, keys))
            say(f"starts: turn {turn + 1} of {self.bench.settings.starts}")

    def once(self, kind, keys):
        subject, cluster = (kind, keys), self.bench.cluster(kind, 1, keys)
        self.graceful[subject].append(cluster.start())
        cluster.settle()
        resident, peak = machine.memory_mib(cluster.pids[0])
        self.resident[subject].append(resident)
        self.peak[subject].append(peak)
        # So that its log holds something to apply again.
        puts = self.bench.settings.puts_before_kill
        cluster.bench("put", "--clients", 100, "--total", puts, *self.bench.keys(keys))
        cluster.stop(signal.SIGKILL)
        self.killed[subject].append(cluster.start())
        cluster.settle()
        cluster.stop()

    def report(self, figure, values, form, at_most):
        """A row for each number of keys, and one for the largest beside the smallest."""
        table, scales = self.bench.table, self.bench.settings.scales
        middle = {subject: statistics.median(values[subject]) for subject in self.subjects}
        for keys in scales:
            ours, theirs = middle.get(("quorate", keys)), middle.get(("etcd", keys))
            table.add(f"{figure}, {count(keys)} keys", "-" if ours is None else form(ours),
                      "-" if theirs is None else form(theirs),
                      None if ours is None or theirs is None else ours / theirs)
        small, large = scales[0], scales[-1]
        if ("quorate", small) not in middle or ("quorate", large) not in middle:
            return
        table.add(f"{figure}, {count(large)} : {count(small)} keys", form(middle["quorate", large]),
                  ratio=middle["quorate", large] / middle["quorate", small], at_most=at_most)


def restart_and_memory(bench, sections):
    starts = Starts(bench)
    starts.run()
    if "a" in sections:
        starts.report("first read after a graceful stop", starts.graceful, ms, 1.5)
        starts.report("first read after kill -9", starts.killed, ms, 1.5)
    if "b" in sections:
        starts.report("resident memory after start", starts.resident, mib, 1.5)
        starts.report("peak memory of a start", starts.peak, mib, 1.5)


def rates(bench):
    """Section c: rates with many keys beside those with few, both clusters standing."""
    settings = bench.settings
    small, large = settings.scales[0], settings.scales[-1]
    clusters = {keys: bench.cluster("quorate", settings.members, keys) for keys in (small, large)}
    for cluster in clusters.values():
        cluster.start()
    for cluster in clusters.values():
        cluster.settle()
    for operation, extra in (("put", []), ("get", ["--skip-preload"])):
        for keys in (small, large):
            block(bench, clusters[keys], keys, operation, extra)  # to warm up
        pairs = []
        for turn in range(settings.pairs):
            order = (small, large) if turn % 2 == 0 else (large, small)
            pairs.append(dict(block(bench, clusters[keys], keys, operation, extra) for keys in order))
            say(f"{operation}: pair {turn + 1} of {settings.pairs}: " + ", ".join(
                f"{count(keys)}: {pair['rate']:.0f}/s" for keys, pair in pairs[-1].items()))
        pairs, shown = undisturbed(pairs)
        of = lambda keys, what: statistics.median(pair[keys][what] for pair in pairs)
        figure = f"{operation}, {settings.members} member(s), 100 clients"
        where = f"{count(large)} : {count(small)} keys"
        bench.table.add(
            f"{figure}, {where}: rate ({shown})",
            f"{of(large, 'rate'):.0f}/s : {of(small, 'rate'):.0f}/s",
            ratio=[pair[large]["rate"] / pair[small]["rate"] for pair in pairs], at_least=0.8)
        bench.table.add(
            f"{figure}, {where}: processor time of the members for one",
            f"{of(large, 'cpu'):.0f} us : {of(small, 'cpu'):.0f} us",
            ratio=[pair[large]["cpu"] / pair[small]["cpu"] for pair in pairs])
    for cluster in clusters.values():
        cluster.stop()
        bench.forget(cluster)


def block(bench, cluster, keys, operation, extra):
    """One block of load: its rate, and the members' processor time for an operation in it."""
    spin = machine.spin_rate()
    before = cluster.cpu()
    report = cluster.bench(
        operation, "--clients", 100, "--duration", f"{bench.settings.block}s",
        *bench.keys(keys), *extra)
    used = cluster.cpu() - before
    return keys, {"rate": report["rate"], "cpu": used * 1e6 / report["operations"], "spin": spin}


def lists(bench):
    """Section d: lists of many keys, their time and what memory they take."""
    few, many = bench.settings.list_keys
    clusters = {kind: bench.cluster(kind, 1, few, LIST_VALUE_BYTES) for kind in bench.kinds}
    for cluster in clusters.values():
        cluster.start()
    for cluster in clusters.values():
        cluster.settle()
    for name, extra in (("in one answer", []), ("streamed", ["--stream"])):
        times = {kind: [] for kind in bench.kinds}
        for turn in range(bench.settings.pairs):
            for kind in bench.kinds if turn % 2 == 0 else bench.kinds[::-1]:
                report = clusters[kind].bench(
                    "list", "--keys", few, "--duration", f"{bench.settings.block}s", *extra)
                times[kind].append(report["p50_ms"] / 1000)
        ratio = [ours / theirs for ours, theirs in zip(times["quorate"], times.get("etcd", []))]
        bench.table.add(f"list of {count(few)} keys {name}: median time", side(times, "quorate", ms),
                        side(times, "etcd", ms), ratio or None, at_most=1.0 if ratio else None)
    for cluster in clusters.values():
        cluster.stop()
    list_memory(bench, clusters, few, many)


def list_memory(bench, clusters, few, many):
    table = bench.table
    parallel = {kind: peak(clusters[kind], few, PARALLEL_LISTS, []) for kind in bench.kinds}
    for what, name in NAMES.items():
        beside(table, f"{PARALLEL_LISTS} lists of {count(few)} keys at once: {name}",
               {kind: found[what] for kind, found in parallel.items()},
               None if what == "again" else 0.5)
    streamed = {}
    for keys in (few, many):
        streamed[keys] = {
            kind: peak(bench.cluster(kind, 1, keys, LIST_VALUE_BYTES), keys, 1, ["--stream"])
            for kind in bench.kinds}
        for what, name in NAMES.items():
            beside(table, f"streamed list of {count(keys)} keys: {name}",
                   {kind: found[what] for kind, found in streamed[keys].items()})
    for what in ("first", "again"):
        least, most = (streamed[keys]["quorate"][what] for keys in (few, many))
        # A few MiB are noise, and would make any ratio of small numbers.
        table.add(
            f"streamed list, {count(many)} : {count(few)} keys: {NAMES[what]}, with "
            f"{SAME_MEMORY_MIB} MiB added to both", f"{mib(most)} : {mib(least)}",
            ratio=(most + SAME_MEMORY_MIB) / (least + SAME_MEMORY_MIB), at_most=1.5)


def beside(table, figure, found, at_most=None):
    """A row of memory in both stores. Beside next to nothing, a ratio would say nothing."""
    ours, theirs = found["quorate"], found.get("etcd")
    if theirs is None or (at_most is None and theirs < RATIO_MIB):
        table.add(figure, mib(ours), "-" if theirs is None else mib(theirs))
    else:
        table.add(figure, mib(ours), mib(theirs), ours / theirs, at_most=at_most)


def peak(cluster, keys, clients, extra):
    """Peak memory, in MiB, of a member newly started while it makes lists: in all, over what it
    had when idle, and over what it has kept of that when it makes the same lists again."""
    cluster.start()
    cluster.settle()
    pid = cluster.pids[0]

    def growth():
        machine.reset_peak(pid)
        idle, _ = machine.memory_mib(pid)
        cluster.bench("list", "--keys", keys, "--clients", clients, "--connections", clients,
                      "--total", clients * 5, *extra)
        _, most = machine.memory_mib(pid)
        return most, max(most - idle, 0.1)

    most, first = growth()
    _, again = growth()
    cluster.stop()
    return {"most": most, "first": first, "again": again}


def compaction(bench):
    """Section e: how long puts take before and while history is compacted."""
    settings = bench.settings
    keys, rounds = settings.history
    ways = {"lazily": ["--lazily"], "physically": []}

    def measure(kind):
        original = bench.cluster(kind, settings.members, keys, rounds=rounds)
        reports = {way: [] for way in ways}
        for turn in range(settings.compactions):
            for way, flags in ways.items():
                cluster = bench.copy(original, f"{kind}-compact")
                cluster.start()
                cluster.settle()
                report = cluster.bench(
                    "compact", "--rate", settings.rate, "--clients", 100, "--warm-up", "3s",
                    "--duration", f"{settings.block}s", *flags, *bench.keys(keys))
                bench.forget(cluster)
                reports[way].append(report)
                say(f"compaction, {kind}, {way}, turn {turn + 1}: p99 {report['before_p99_ms']} ms before, "
                    f"{report['p99_ms']} ms during; answered after {report['compaction_ms']} ms")
        bench.forget(original)
        return reports

    all_found = bench.each_kind(measure)
    for way in ways:
        found = {kind: reports[way] for kind, reports in all_found.items()}
        before_and_after(
            bench, f"put p99 at {count(settings.rate)}/s, {settings.members} member(s), while "
            f"{count(keys * rounds)} revisions are compacted {way} : before",
            found, "p99_ms", "before_p99_ms", 1.3)
        took = {kind: [one["compaction_ms"] / 1000 for one in reports] for kind, reports in found.items()}
        bench.table.add(f"compacting these {way}: answered after", side(took, "quorate", ms),
                        side(took, "etcd", ms))


def pages(bench):
    """Section f: a long list by pages at one revision while others write."""
    settings = bench.settings
    keys, writes = settings.paged

    def measure(kind):
        original, reports = bench.cluster(kind, 1, keys), []
        for turn in range(settings.pagings):
            cluster = bench.copy(original, f"{kind}-page")
            cluster.start()
            cluster.settle()
            report = cluster.bench("page", "--page-size", 500, "--writes", writes, *bench.keys(keys))
            bench.forget(cluster)
            if report["written"] != writes:
                raise stores.Failed(f"{kind}: {report['written']} revisions were written of {writes}")
            reports.append(report)
            say(f"pages, {kind}, turn {turn + 1}: first {report['first_p50_ms']} ms, "
                f"last {report['last_p50_ms']} ms")
        return reports

    before_and_after(
        bench, f"page of 500 of {count(keys)} keys at one revision, {count(writes)} revisions "
        "written meanwhile: last 10 % : first 10 %",
        bench.each_kind(measure), "last_p50_ms", "first_p50_ms", 1.5)


def before_and_after(bench, figure, found, after, before, at_most):
    """A row for each store, which is compared with itself; the goal is ours alone."""
    for kind, reports in found.items():
        shown = " : ".join(
            f"{statistics.median(one[name] for one in reports):.2f} ms" for name in (after, before))
        ratio = [one[after] / one[before] for one in reports]
        if kind == "quorate":
            bench.table.add(figure, shown, ratio=ratio, at_most=at_most)
        else:
            bench.table.add(f"{figure}, etcd's own", etcd=shown, ratio=ratio)
