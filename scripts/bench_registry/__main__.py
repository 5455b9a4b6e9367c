"""The registry figures: arguments, and the order of the sections."""

import argparse
import sys

import machine
import run
import sections
import stores
from table import say

SECTIONS = {
    "a": "resolves beside a bare echo of the same size",
    "b": "how soon watchers hear that an instance is gone",
    "c": "many instances held alive",
}
STEPS = {"a": sections.resolves, "b": sections.down, "c": sections.held}


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/bench-registry.sh", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures what the service registry takes.", epilog=run.list_of(SECTIONS))
    add = parser.add_argument
    add("--quick", action="store_true", help="small and short, to see that all of it works")
    add("--sections", type=run.letters_of([*SECTIONS, ","]), default="".join(SECTIONS),
        help="which [abc]")
    add("--members", type=int, choices=range(1, 6), default=3, help="members in b and c [3]")
    add("--pairs", type=int, help="pairs of blocks in a [3; quick: 1]")
    add("--block", type=int, help="seconds of a block in a [5; quick: 1]")
    add("--instances", type=int, default=100, help="instances of the service in a [100]")
    add("--watchers", type=int, help="watchers of b [1000; quick: 100]")
    add("--hold", type=int, help="seconds that the instances of c are held [600; quick: 5]")
    add("--held", type=int, help="instances of c [100000; quick: 5000]")
    add("--into", metavar="FILE", help="also put the table between the marks in this document")
    given = parser.parse_args()
    quick = given.quick
    given.sections = given.sections.replace(",", "")
    given.pairs = given.pairs or (1 if quick else 3)
    given.block = given.block or (1 if quick else 5)
    given.watchers = given.watchers or (100 if quick else 1000)
    given.hold = given.hold or (5 if quick else 600)
    given.held = given.held or (5_000 if quick else 100_000)
    given.settle_seconds = 1 if quick else 60
    # Seconds that the instances of c live, and after which they are renewed.
    given.held_ttl, given.held_every = (6, 2) if quick else (30, 10)
    given.services = given.held // 100
    given.without_etcd = True  # it has no registry
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
        f"One member and one echo in a, in {settings.pairs} pairs of {settings.block} s; "
        f"{settings.members} members in b and c; in parentheses the least and the largest")
    return run.perform("registry", settings, 2048 * machine.MIB, run.Bench, measure, about)


if __name__ == "__main__":
    sys.exit(main())
