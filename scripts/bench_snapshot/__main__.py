"""The snapshot figures: arguments, the run, and the table at its end."""

import argparse
import sys

import machine
import run
import sections
import stores
from table import say


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/bench-snapshot.sh",
        description="Measures what it costs the others when a member is sent the whole state.")
    add = parser.add_argument
    add("--quick", action="store_true", help="small and short, to see that all of it works")
    add("--mib", type=int, help="MiB that the member is sent [1024; quick: 100]")
    add("--rate", type=int, help="puts a second meanwhile [1000; quick: 200]")
    add("--turns", type=int, help="turns [3; quick: 1]")
    add("--block", type=int, default=10, help="seconds of puts before, and at most meanwhile [10]")
    add("--send-rate", type=int, help="bytes a second that a member sends [the store's default]")
    add("--without-etcd", action="store_true", help="measure this store alone")
    add("--into", metavar="FILE", help="also put the table between the marks in this document")
    given = parser.parse_args()
    given.mib = given.mib or (100 if given.quick else 1024)
    given.rate = given.rate or (200 if given.quick else 1000)
    given.turns = given.turns or (1 if given.quick else 3)
    given.settle_seconds = 5 if given.quick else 60
    return given


def measure(bench):
    bench.table.section = "a"
    say("section a: puts while a member is sent the whole state")
    try:
        sections.transfer(bench)
    except (stores.Failed, OSError, KeyError, ZeroDivisionError) as failure:
        bench.table.add_failure(f"{type(failure).__name__}: {failure}")
    finally:
        bench.forget_all()


def main():
    settings = parse()
    about = (
        f"Three members; one is away while {settings.mib} MiB are written in values of "
        f"{sections.VALUE_BYTES} bytes, and then {sections.SMALL_PUTS} small puts; it returns while "
        f"{settings.rate} puts a second go to the other two; medians of {settings.turns} turn(s); in "
        "parentheses the least and the largest")
    # Three copies of each, the logs, and as much again for the copy of a turn.
    wanted = (settings.mib * 3 * 3 + 4096) * machine.MIB
    return run.perform("snapshot", settings, wanted, run.Bench, measure, about)


if __name__ == "__main__":
    sys.exit(main())
