"""The measurements, one function for each section of the table."""

import json
import math
import signal
import subprocess

import stores
from table import say

# The defaults of both stores.
HEARTBEAT_MS, ELECTION_MS = 100, 1000
MEMBERS = 3
STOP_SECONDS = 60
SIGNALS = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "pause": signal.SIGSTOP}


def percentile(values, percent):
    """The least value that so many of a hundred do not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]


def carry_out(cluster, strike, told):
    """Does to a process what the load generator asks for."""
    member = cluster.members[told["member"]]
    if told["do"] in SIGNALS:
        member.process.send_signal(SIGNALS[told["do"]])
    elif strike == "pause":
        member.process.send_signal(signal.SIGCONT)
    else:
        try:
            member.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise stores.Failed(f"{cluster.kind} did not stop in {STOP_SECONDS} s") from None
        member.start(",".join(f"{one.name}={one.peer}" for one in cluster.members))


def strikes(cluster, strike, rounds, rate):
    """Has the leader struck so many times; what each round has shown, and the report."""
    command = cluster._command(60, [
        "failover", f"--strike={strike}", f"--rounds={rounds}", f"--rate={rate}",
        "--rest=500ms", "--after=500ms"])
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=stores.environment(), preexec_fn=stores.die_with_parent)
    found, report = [], None
    try:
        for line in process.stdout:
            told = json.loads(line)
            if "do" in told:
                carry_out(cluster, strike, told)
                process.stdin.write("\n")
                process.stdin.flush()
            elif "round" in told:
                found.append(told)
            else:
                report = told
        if process.wait(STOP_SECONDS) != 0 or report is None:
            raise stores.Failed(f"{cluster.kind}: bench failover: {process.stderr.read().strip()}")
    finally:
        process.kill()
        process.communicate()
    return found, report


def measured(bench, strike, rounds):
    """All rounds of both stores, in turns; those of a store that fails are left out."""
    settings = bench.settings
    clusters = {}
    for kind in bench.kinds:
        clusters[kind] = bench.add_cluster(kind, MEMBERS, f"{strike}-{kind}")
        clusters[kind].start()
    for cluster in clusters.values():
        cluster.settle()
    found = {kind: {"rounds": [], "errors": {}, "elsewhere": 0} for kind in clusters}
    for turn in range(settings.turns):
        share = rounds // settings.turns + (1 if turn < rounds % settings.turns else 0)
        for kind in list(found) if turn % 2 == 0 else list(found)[::-1]:
            try:
                shown, report = strikes(clusters[kind], strike, share, settings.rate)
            except stores.Failed as failure:
                bench.table.add_failure(failure)
                del found[kind]
                continue
            one = found[kind]
            one["rounds"] += shown
            one["elsewhere"] += report["put_elsewhere"]
            for message, times in report["errors"].items():
                one["errors"][message] = one["errors"].get(message, 0) + times
            gaps = [told["gap_us"] // 1000 for told in shown]
            say(f"{strike}, {kind}: gaps of {sorted(gaps)} ms; errors {report['errors']}")
    return found


def rows(bench, about, found, goals, in_timeouts):
    """The rows of one kind of strike. Goals are of our own figures: in election timeouts, or in ms."""
    def of(kind, what, percent):
        return percentile([told[what] for told in found[kind]["rounds"]], percent) / 1000

    def shown(kind, what, percents):
        if kind not in found or not found[kind]["rounds"]:
            return "-"
        return " / ".join(f"{of(kind, what, percent):.0f} ms" for percent in percents)

    for percent in (50, 99, 100):
        name = "max" if percent == 100 else f"p{percent}"
        goal = {}
        if "quorate" in found and percent in goals:
            value = of("quorate", "gap_us", percent)
            goal = {"measured": [value / ELECTION_MS if in_timeouts else value],
                    "at_most": goals[percent], "unit": " ET" if in_timeouts else " ms"}
        ratio = None
        if len(found) == 2:
            ratio = of("quorate", "gap_us", percent) / max(of("etcd", "gap_us", percent), 0.001)
        bench.table.add(f"{about}: no acknowledged put for, {name}",
                        shown("quorate", "gap_us", [percent]), shown("etcd", "gap_us", [percent]),
                        ratio, **goal)
    for what, name in (("known_us", "another leader is known after"),
                       ("slowest_us", "the put that took longest")):
        bench.table.add(f"{about}: {name}, p50 / p99", shown("quorate", what, [50, 99]),
                        shown("etcd", what, [50, 99]))

    def failures(kind):
        if kind not in found:
            return "-"
        lost = sum(found[kind]["errors"].values())
        return f"{lost} / {found[kind]['elsewhere']}"

    bench.table.add(f"{about}: puts that failed for good / that another member was asked for",
                    failures("quorate"), failures("etcd"))


def killed(bench):
    """Section a: SIGKILL."""
    rounds = bench.settings.kills
    found = measured(bench, "kill", rounds)
    rows(bench, f"leader killed, {rounds} times", found, {50: 1.5, 99: 2.5}, True)


def terminated(bench):
    """Section b: SIGTERM."""
    rounds = bench.settings.hand_overs
    found = measured(bench, "terminate", rounds)
    rows(bench, f"leader stopped with SIGTERM, {rounds} times", found, {99: 50}, False)


def moved(bench):
    """Section c: MoveLeader."""
    rounds = bench.settings.hand_overs
    found = measured(bench, "move", rounds)
    rows(bench, f"leader moved, {rounds} times", found, {99: 50}, False)


def paused(bench):
    """Section d: SIGSTOP, and SIGCONT once somebody else leads."""
    rounds = bench.settings.pauses
    found = measured(bench, "pause", rounds)
    rows(bench, f"leader paused, {rounds} times", found, {50: 1.5, 99: 2.5}, True)


def undisturbed(bench):
    """Section e: what gaps there are anyway."""
    rounds = bench.settings.nothings
    found = measured(bench, "nothing", rounds)
    rows(bench, f"nothing struck, {rounds} times", found, {}, False)
