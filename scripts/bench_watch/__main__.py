"""The watch figures: arguments, and the order of the sections."""

import argparse
import resource
import sys

import machine
import run
import sections
import stores
from table import say

SECTIONS = {
    "a": "fan-out: rate, processor time and p99 of deliveries",
    "b": "puts beside watchers on other keys",
    "c": "memory of idle streams and watchers",
    "d": "catch-up from an old revision",
    "e": "clients that never read",
}
STEPS = {
    "a": sections.fan_out, "b": sections.other_keys, "c": sections.memory,
    "d": sections.catch_up, "e": sections.stalled,
}
# Connections, data and logs of all processes of a run.
FILES_WANTED = 16_384


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/bench-watch.sh", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures what watches cost, beside etcd and a bare broadcast in the same run.",
        epilog=run.list_of(SECTIONS))
    add = parser.add_argument
    add("--quick", action="store_true", help="small and short, to see that all of it works")
    add("--sections", type=run.letters_of(SECTIONS), default="".join(SECTIONS), help="which [abcde]")
    add("--members", type=int, choices=range(1, 6), default=1, help="members of a store [1]")
    add("--pairs", type=int, help="pairs of blocks in a and b [5; quick: 1]")
    add("--turns", type=int, help="turns in c and d [3; quick: 1]")
    add("--block", type=int, help="seconds of a block in a and b [8; quick: 1]")
    add("--stall", type=int, help="seconds that the clients of e do not read [600; quick: 5]")
    add("--etcd-stall", type=int, help="the same for etcd, 0 for not at all [60; quick: 5]")
    add("--stall-rate", type=int, default=500, help="puts a second in e [500]")
    add("--without-etcd", action="store_true", help="measure this store alone")
    add("--into", metavar="FILE", help="also put the table between the marks in this document")
    given = parser.parse_args()
    quick = given.quick
    given.pairs = given.pairs or (1 if quick else 5)
    given.turns = given.turns or (1 if quick else 3)
    given.block = given.block or (1 if quick else 8)
    given.stall = given.stall or (5 if quick else 600)
    if given.etcd_stall is None:
        given.etcd_stall = 5 if quick else 60
    given.settle_seconds = 1 if quick else 60
    # Puts under way to the watchers, of which the best is taken for each server, and for how long
    # each is tried.
    given.outstanding = (256,) if quick else (8, 32, 128, 512, 2048)
    given.search_seconds = 1 if quick else 3
    # Connections, streams on each, watchers on each of these.
    given.held = (10, 50, 20) if quick else (100, 100, 100)
    given.stalled = (10, 50, 1) if quick else (100, 100, 1)
    # Keys, and how often each is set.
    given.past = (500, 20) if quick else (5_000, 20)
    return given


def raise_file_limit():
    """As far as it may be raised; the processes of the run inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else max(soft, FILES_WANTED)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(FILES_WANTED, most)), hard))
    if most < FILES_WANTED:
        say(f"only {most} files may be open at once, {FILES_WANTED} are wanted")


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
    raise_file_limit()
    about = (
        f"Values of {sections.VALUE_BYTES} bytes; {settings.members} member(s); medians of "
        f"{settings.pairs} pairs of {settings.block} s in a and b, of {settings.turns} turns in c and d; "
        "in parentheses the least and the largest")
    wanted = (1 if settings.quick else 8) * 1024 * machine.MIB
    return run.perform("watch", settings, wanted, run.Bench, measure, about)


if __name__ == "__main__":
    sys.exit(main())
