"""The measurements, one function for each section of the table."""

import statistics

import machine
import stores
from run import side, undisturbed
from table import count, ms, say

# Leases of what is measured while they live; none of them runs out before the run is over.
LONG_TTL = 3600
CLIENTS = 100
PUT_RATE = 1_000


def started(bench, kind, name, size=None):
    """A new cluster that serves and is at rest."""
    cluster = bench.add_cluster(kind, size or bench.settings.members, f"{name}-{kind}")
    cluster.start()
    cluster.settle()
    return cluster


def back_and_forth(turns, kinds):
    """For each turn the kinds in the order in which they are measured."""
    return [kinds if turn % 2 == 0 else kinds[::-1] for turn in range(turns)]


def pairs(bench, clusters, what, block):
    """Blocks of all stores in turn; the pairs in which the machine was undisturbed, and a note."""
    found = []
    for order in back_and_forth(bench.settings.pairs, list(clusters)):
        pair = {}
        for kind in order:
            spin = machine.spin_rate()
            pair[kind] = {"spin": spin, **block(clusters[kind])}
        found.append(pair)
        say(f"{what}: " + ", ".join(
            f"{kind}: {one['rate']:.0f}/s, p99 {one['p99_ms']} ms, own {one['own_cpu']} processors"
            for kind, one in pair.items()))
    return undisturbed(found)


def row(bench, figure, found, what, form, **goal):
    """A row beside etcd; the ratio is ours to etcd's."""
    def of(kind):
        return form(statistics.median(pair[kind][what] for pair in found)) if kind in found[0] else "-"
    if "etcd" in found[0]:
        goal["ratio"] = [pair["quorate"][what] / max(pair["etcd"][what], 1e-9) for pair in found]
    else:
        goal = {}
    bench.table.add(figure, of("quorate"), of("etcd"), **goal)


def a_second(rate):
    return f"{rate:.0f}/s"


def renewals(bench):
    """Section a: many renewals on their way on each stream, and then one."""
    settings = bench.settings
    clusters = {kind: started(bench, kind, "renewals") for kind in bench.kinds}

    def block(cluster, through, window):
        found = cluster.bench(
            "lease", "renew", "--clients", CLIENTS, "--leases", settings.renewed, "--ttl", LONG_TTL,
            "--window", window, "--through", through, "--warm-up", "1s",
            "--duration", f"{settings.block}s", "--server-pids", ",".join(map(str, cluster.pids)))
        return {**found, "cpu": found["server_cpu_ms"] * 1000 / found["answers"]}

    ways = ["leader", "follower"] if settings.members > 1 else ["leader"]
    for window in (settings.window, 1):
        for through in ways:
            about = (f"renewals through {'the' if through == 'leader' else 'a'} {through}, "
                     f"{CLIENTS} streams with {window} on their way each")
            found, shown = pairs(bench, clusters, about,
                                 lambda cluster: block(cluster, through, window))
            goal = {"at_least": 4 if through == "leader" else 8} if window > 1 else {}
            row(bench, f"{about}: rate ({shown})", found, "rate", a_second, **goal)
            row(bench, f"{about}: p99", found, "p99_ms", lambda p99: f"{p99:.2f} ms")
            row(bench, f"{about}: processor time of the members for one", found, "cpu",
                lambda used: f"{used:.2f} us")
            shares = {kind: f"{statistics.median(pair[kind]['own_cpu'] for pair in found):.2f}"
                      for kind in found[0]}
            bench.table.add(f"{about}: processors in use by the client", shares["quorate"],
                            shares.get("etcd", "-"))


def grants(bench):
    """Section b: leases granted to clients that ask for one at a time."""
    for size in sorted({1, bench.settings.members}, reverse=True):
        clusters = {kind: started(bench, kind, f"grants-{size}", size) for kind in bench.kinds}

        def block(cluster):
            before = cluster.cpu()
            found = cluster.bench("lease", "grant", "--clients", CLIENTS, "--ttl", LONG_TTL,
                                  "--duration", f"{bench.settings.block}s")
            return {**found, "cpu": (cluster.cpu() - before) * 1e6 / found["operations"]}

        for cluster in clusters.values():
            block(cluster)  # to warm up
        about = f"grants, {size} member(s), {CLIENTS} clients"
        found, shown = pairs(bench, clusters, about, block)
        row(bench, f"{about}: rate ({shown})", found, "rate", a_second, at_least=3)
        row(bench, f"{about}: p99", found, "p99_ms", lambda p99: f"{p99:.2f} ms")
        row(bench, f"{about}: processor time of the members for one", found, "cpu",
            lambda used: f"{used:.1f} us")
        bench.forget_all()


def in_turns(bench, measure):
    """What each turn of each store brings; a store that fails is a row, and left out from then on."""
    found = {kind: [] for kind in bench.kinds}
    failed = set()
    for order in back_and_forth(bench.settings.turns, bench.kinds):
        for kind in order:
            if kind in failed:
                continue
            try:
                found[kind].append(measure(kind))
            except stores.Failed as failure:
                failed.add(kind)
                bench.table.add_failure(failure)
            finally:
                bench.forget_all()
    return found


def ratios(found, what):
    """Etcd's figure over ours, turn by turn."""
    both = zip(found["quorate"], found.get("etcd", []))
    return [theirs[what] / max(ours[what], 0.001) for ours, theirs in both]


def expiry(bench):
    """Section c: a crowd of leases is renewed once and left, with puts beside it."""
    settings = bench.settings

    def measure(kind):
        one = started(bench, kind, "expiry").bench(
            "lease", "expire", "--leases", settings.crowd, "--ttl", settings.crowd_ttl,
            "--before", f"{settings.before}s", "--rate", PUT_RATE)
        say(f"expiry, {kind}: renewed in {one['renewed_in_ms']} ms, gone after {one['all_gone_ms']} ms, "
            f"puts {one['before_p99_ms']} and {one['during_p99_ms']} ms")
        return one

    found = in_turns(bench, measure)
    about = f"{count(settings.crowd)} leases with a key each that run out at once"
    def shown(what, form):
        return {kind: side({kind: [one[what] for one in ones]}, kind, form) for kind, ones in found.items()}
    gone = shown("all_gone_ms", lambda taken: ms(taken / 1000))
    ratio = ratios(found, "all_gone_ms")
    bench.table.add(f"{about}: from the last deadline until all keys are gone (ratio: times sooner)",
                    gone["quorate"], gone.get("etcd", "-"), ratio or None, at_least=20 if ratio else None)
    renewed = shown("renewed_in_ms", lambda taken: ms(taken / 1000))
    bench.table.add(f"{about}: time in which all had been renewed", renewed["quorate"], renewed.get("etcd", "-"))
    changes = shown("leader_changes", lambda number: f"{number:g}")
    ours = [one["leader_changes"] for one in found["quorate"]]
    bench.table.add(f"{about}: leader changes meanwhile", changes["quorate"], changes.get("etcd", "-"),
                    measured=ours, at_most=0 if ours else None)
    for kind, ones in found.items():
        if not ones:
            continue
        p99 = " : ".join(f"{statistics.median(one[what] for one in ones):.2f} ms"
                         for what in ("during_p99_ms", "before_p99_ms"))
        ratio = [one["during_p99_ms"] / max(one["before_p99_ms"], 0.001) for one in ones]
        puts = " : ".join(count(ones[0][what]) for what in ("during_puts", "before_puts"))
        row_name = f"{about}: p99 of puts at {count(PUT_RATE)}/s meanwhile : before (of {puts})"
        if kind == "quorate":
            bench.table.add(row_name, p99, ratio=ratio, at_most=3)
        else:
            bench.table.add(f"{row_name}, etcd's own", etcd=p99, ratio=ratio)


def held(bench):
    """Section d: leases that are renewed now and then, for minutes."""
    settings = bench.settings
    for kind in bench.kinds:
        leases, seconds = ((settings.held, settings.hold) if kind == "quorate"
                           else (settings.etcd_held, settings.etcd_hold))
        if seconds == 0:
            continue
        try:
            cluster = started(bench, kind, "held")
            found = cluster.bench(
                "lease", "hold", "--leases", leases, "--ttl", settings.held_ttl,
                "--every", f"{settings.held_every}s",
                "--duration", f"{seconds}s", "--server-pids", ",".join(map(str, cluster.pids)))
        except stores.Failed as failure:
            bench.table.add_failure(failure)
            continue
        finally:
            bench.forget_all()
        held_rows(bench, kind, found, leases, seconds)


def held_rows(bench, kind, found, leases, seconds):
    settings = bench.settings
    about = (f"{count(leases)} leases of {settings.held_ttl} s, each renewed every "
             f"{settings.held_every} s for {seconds} s")
    ours = kind == "quorate"
    def add(name, text, **goal):
        bench.table.add(f"{about}: {name}", **{kind: text}, **(goal if ours else {}))
    lost = leases - found["listed"]
    add("leases lost", str(lost), measured=[lost], at_most=0)
    add("leader changes", str(found["leader_changes"]))
    granted = found["granted_in_ms"] / 1000
    add("granted beforehand", f"in {granted:.0f} s, {leases / granted:.0f}/s")
    add("renewals", f"{found['rate']:.0f}/s, p99 {found['p99_ms']:.1f} ms, sent {found['latest_ms']:.0f} ms "
                    f"late at most")
    for part in ("leader", "follower"):
        if f"{part}_idle_bytes" not in found:
            continue
        grown = {when: (found[f"{part}_{when}_bytes"] - found[f"{part}_idle_bytes"]) / leases
                 for when in ("granted", "held")}
        add(f"resident memory of the {part} over idle for a lease, at the end", f"{grown['held']:.0f} B "
            f"({grown['granted']:.0f} B once granted)", measured=[grown["held"]], at_most=200, unit=" B")
        add(f"processors in use by the {part}", f"{found[f'{part}_cpu_ms'] / 1000 / found['seconds']:.2f}")


def lag(bench):
    """Section e: leases that run out one by one."""
    settings = bench.settings

    def measure(kind):
        one = started(bench, kind, "lag").bench(
            "lease", "lag", "--leases", settings.single, "--ttl", settings.single_ttl,
            "--over", f"{settings.over}s")
        say(f"lag, {kind}: p50 {one['p50_ms']} ms, p99 {one['p99_ms']} ms, most {one['max_ms']} ms")
        return one

    found = in_turns(bench, measure)
    about = (f"{count(settings.single)} leases with a key each that run out within {settings.over} s: "
             "DELETE after the end of the lease")
    for name, what in (("p50", "p50_ms"), ("p99", "p99_ms"), ("latest", "max_ms")):
        text = {kind: side({kind: [one[what] for one in ones]}, kind, lambda late: f"{late:.0f} ms")
                for kind, ones in found.items()}
        ours = [one[what] for one in found["quorate"]]
        goal = {"measured": ours, "at_most": 300, "unit": " ms"} if what == "p99_ms" and ours else {}
        ratio = [1 / times for times in ratios(found, what)] or None
        bench.table.add(f"{about}, {name}", text["quorate"], text.get("etcd", "-"), ratio, **goal)
    early = {kind: f"{sum(one['early'] for one in ones):g}" if ones else "-" for kind, ones in found.items()}
    ours = [one["early"] for one in found["quorate"]]
    bench.table.add(f"{about}: leases that ended early", early["quorate"], early.get("etcd", "-"),
                    measured=ours, at_most=0 if ours else None)
