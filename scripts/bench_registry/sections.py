"""The measurements, one function for each section of the table."""

import statistics

import machine
from run import undisturbed
from table import count, say

CLIENTS = 100


def started(bench, kind, name, size):
    """A new cluster that serves and is at rest."""
    cluster = bench.add_cluster(kind, size, f"{name}-{kind}")
    cluster.start()
    if kind != "bare":
        cluster.settle()
    return cluster


def resolves(bench):
    """Section a: a service resolved over and over, and as many bytes echoed by tonic alone."""
    settings = bench.settings
    member, echo = started(bench, "quorate", "resolve", 1), started(bench, "bare", "echo", 1)
    load = ("--clients", CLIENTS, "--warm-up", "1s", "--duration", f"{settings.block}s")

    def resolve(*flags):
        return member.bench("registry", "resolve", *load, "--instances", settings.instances, *flags)

    size = resolve()["answer_bytes"]
    # The echo's answer has a head of about so many bytes beside what it sends back.
    blocks = {
        "here": resolve,
        "linearizable": lambda: resolve("--linearizable"),
        "echo": lambda: echo.bench("registry", "echo", *load, "--bytes", max(1, size - 64)),
    }
    found = []
    for turn in range(settings.pairs):
        pair = {}
        for name in list(blocks) if turn % 2 == 0 else list(blocks)[::-1]:
            spin = machine.spin_rate()
            pair[name] = {"spin": spin, **blocks[name]()}
        found.append(pair)
        say("resolve: " + ", ".join(
            f"{name}: {one['rate']:.0f}/s, p99 {one['p99_ms']} ms, {one['answer_bytes']} bytes"
            for name, one in pair.items()))
    found, shown = undisturbed(found)
    median = lambda name, what: statistics.median(pair[name][what] for pair in found)
    for name, goal in (("here", 0.5), ("linearizable", None)):
        about = "resolve" if name == "here" else "resolve, linearizable"
        ratio = [pair[name]["rate"] / pair["echo"]["rate"] for pair in found]
        bench.table.add(
            f"{about}, {settings.instances} instances in {size} bytes, {CLIENTS} clients : echo of as "
            f"many bytes: rate ({shown})",
            f"{median(name, 'rate'):.0f}/s : {median('echo', 'rate'):.0f}/s", ratio=ratio, at_least=goal)
        bench.table.add(f"{about}: p99 : that of the echo",
                        f"{median(name, 'p99_ms'):.2f} ms : {median('echo', 'p99_ms'):.2f} ms")


def down(bench):
    """Section b: instances run out one by one under the eyes of many."""
    settings = bench.settings
    cluster = started(bench, "quorate", "down", settings.members)
    report = cluster.bench("registry", "down", "--watchers", settings.watchers, timeout=300)
    say(f"down: p50 {report['p50_ms']} ms, p99 {report['p99_ms']} ms, max {report['max_ms']} ms")
    about = f"DOWN at {count(settings.watchers)} watchers of a service, after the key was seen to go"
    bench.table.add(f"{about}: p50", f"{report['p50_ms']:.2f} ms")
    bench.table.add(f"{about}: p99", f"{report['p99_ms']:.2f} ms", measured=[report["p99_ms"]],
                    at_most=50, unit=" ms")
    bench.table.add(f"{about}: latest", f"{report['max_ms']:.2f} ms")


def held(bench):
    """Section c: many instances, each renewed now and then."""
    settings = bench.settings
    cluster = started(bench, "quorate", "held", settings.members)
    report = cluster.bench(
        "lease", "hold", "--leases", settings.held, "--services", settings.services,
        "--ttl", settings.held_ttl, "--every", f"{settings.held_every}s",
        "--duration", f"{settings.hold}s", "--server-pids", ",".join(map(str, cluster.pids)),
        timeout=settings.hold + 600)
    about = (f"{count(settings.held)} instances of {count(settings.services)} services, "
             f"{settings.held_ttl} s, renewed every {settings.held_every} s for {settings.hold} s")
    lost = settings.held - report["registered"]
    bench.table.add(f"{about}: lost", str(lost), measured=[lost], at_most=0)
    bench.table.add(f"{about}: registered beforehand", f"in {report['granted_in_ms'] / 1000:.0f} s")
    bench.table.add(f"{about}: leader changes", str(report["leader_changes"]))
    bench.table.add(f"{about}: renewals", f"{report['rate']:.0f}/s, p99 {report['p99_ms']} ms")
