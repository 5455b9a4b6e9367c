"""The lease figures: arguments, and the order of the sections."""

import argparse
import sys

import machine
import run
import sections
import stores
from table import say

SECTIONS = {
    "a": "renewals through the leader and through a follower",
    "b": "grants",
    "c": "many leases that run out at once, and puts beside them",
    "d": "many leases held alive: losses, memory, processor time",
    "e": "how late the key of a lease goes",
}
STEPS = {
    "a": sections.renewals, "b": sections.grants, "c": sections.expiry,
    "d": sections.held, "e": sections.lag,
}


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/bench-lease.sh", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures what leases cost, beside etcd in the same run.",
        epilog=run.list_of(SECTIONS))
    add = parser.add_argument
    add("--quick", action="store_true", help="small and short, to see that all of it works")
    add("--sections", type=run.letters_of([*SECTIONS, ","]), default="".join(SECTIONS),
        help="which [abcde]")
    add("--members", type=int, choices=range(1, 6), default=3, help="members of a store [3]")
    add("--pairs", type=int, help="pairs of blocks in a and b [2; quick: 1]")
    add("--turns", type=int, default=1, help="turns in c and e [1]")
    add("--block", type=int, help="seconds of a block in a and b [5; quick: 1]")
    add("--window", type=int, default=32, help="renewals on their way on each stream in a [32]")
    add("--hold", type=int, help="seconds that the leases of d are held [300; quick: 5]")
    add("--held", type=int, help="leases of d [1000000; quick: 20000]")
    add("--etcd-hold", type=int, help="the same seconds for etcd, 0 for not at all [30; quick: 5]")
    add("--etcd-held", type=int, help="the same leases for etcd [100000; quick: 20000]")
    add("--without-etcd", action="store_true", help="measure this store alone")
    add("--into", metavar="FILE", help="also put the table between the marks in this document")
    given = parser.parse_args()
    quick = given.quick
    given.sections = given.sections.replace(",", "")
    given.pairs = given.pairs or (1 if quick else 2)
    given.block = given.block or (1 if quick else 5)
    given.hold = given.hold or (5 if quick else 300)
    given.held = given.held or (20_000 if quick else 1_000_000)
    given.etcd_held = given.etcd_held or (20_000 if quick else 100_000)
    if given.etcd_hold is None:
        given.etcd_hold = 5 if quick else 30
    given.settle_seconds = 1 if quick else 60
    # Seconds that the leases of d live, and after which they are renewed.
    given.held_ttl, given.held_every = (6, 2) if quick else (60, 20)
    # Leases that are renewed, those that run out at once, and those that run out one by one.
    given.renewed = 1_000 if quick else 10_000
    given.crowd = 2_000 if quick else 50_000
    given.single = 500 if quick else 10_000
    # Seconds that these live, and the seconds before the first deadline that are held against it.
    given.crowd_ttl, given.before = (5, 2) if quick else (30, 10)
    given.single_ttl, given.over = (3, 2) if quick else (10, 20)
    return given


def measure(bench):
    for letter in bench.settings.sections:
        bench.table.section = letter
        say(f"section {letter}: {SECTIONS[letter]}")
        try:
            STEPS[letter](bench)
        except (stores.Failed, OSError, KeyError, ZeroDivisionError) as failure:
            bench.table.add_failure(f"{type(failure).__name__}: {failure}")
        finally:
            bench.forget_all()


def main():
    settings = parse()
    about = (
        f"{settings.members} member(s) unless it says otherwise; medians of {settings.pairs} pairs of "
        f"{settings.block} s in a and b, of {settings.turns} turn(s) in c and e; in parentheses the "
        "least and the largest")
    wanted = (1 if settings.quick else 8) * 1024 * machine.MIB
    return run.perform("lease", settings, wanted, run.Bench, measure, about)


if __name__ == "__main__":
    sys.exit(main())
