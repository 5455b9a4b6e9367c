"""The figures of failing over: arguments, and the order of the sections."""

import argparse
import sys

import machine
import run
import sections
import stores
from table import say

SECTIONS = {
    "a": "the leader is killed",
    "b": "the leader is stopped",
    "c": "the leader is asked to hand over",
    "d": "the leader is paused",
    "e": "nothing happens",
}
STEPS = {
    "a": sections.killed, "b": sections.terminated, "c": sections.moved,
    "d": sections.paused, "e": sections.undisturbed,
}


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/bench-failover.sh", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures how long nothing is acknowledged when the leader goes, beside etcd.",
        epilog=run.list_of(SECTIONS))
    add = parser.add_argument
    add("--quick", action="store_true", help="few rounds, to see that all of it works")
    add("--sections", type=run.letters_of([*SECTIONS, ","]), default="".join(SECTIONS),
        help="which [abcde]")
    add("--kills", type=int, help="rounds of a [40; quick: 4]")
    add("--hand-overs", type=int, help="rounds of b and of c [60; quick: 4]")
    add("--pauses", type=int, help="rounds of d [10; quick: 2]")
    add("--turns", type=int, help="turns in which the rounds are done [2; quick: 1]")
    add("--rate", type=int, default=500, help="puts a second [500]")
    add("--without-etcd", action="store_true", help="measure this store alone")
    add("--into", metavar="FILE", help="also put the table between the marks in this document")
    given = parser.parse_args()
    quick = given.quick
    given.sections = given.sections.replace(",", "")
    given.kills = given.kills or (4 if quick else 40)
    given.hand_overs = given.hand_overs or (4 if quick else 60)
    given.pauses = given.pauses or (2 if quick else 10)
    given.turns = given.turns or (1 if quick else 2)
    given.nothings = 4 if quick else 20
    given.settle_seconds = 1 if quick else 20
    return given


def measure(bench):
    for letter in bench.settings.sections:
        bench.table.section = letter
        say(f"section {letter}: {SECTIONS[letter]}")
        try:
            STEPS[letter](bench)
        except (stores.Failed, OSError, KeyError, ValueError) as failure:
            bench.table.add_failure(f"{type(failure).__name__}: {failure}")
        finally:
            bench.forget_all()


def main():
    settings = parse()
    about = (
        f"Three members, heartbeats every {sections.HEARTBEAT_MS} ms, election timeout (ET) "
        f"{sections.ELECTION_MS} ms in both stores; {settings.rate} puts a second over all members; "
        f"rounds in {settings.turns} turn(s); of fewer than a hundred rounds, p99 is the largest")
    wanted = 2 * 1024 * machine.MIB
    return run.perform("failover", settings, wanted, run.Bench, measure, about)


if __name__ == "__main__":
    sys.exit(main())
