"""The storage figures: arguments, the run, and the table at its end."""

import argparse
import sys

import machine
import run
import sections
import stores
from table import say

SECTIONS = {
    "a": "restart: the time to the first linearizable read",
    "b": "memory after start",
    "c": "rates with many keys beside those with few",
    "d": "lists: time and memory, in one answer and streamed",
    "e": "puts while history is compacted",
    "f": "pages of a long list at one revision, while others write",
}


def number(text):
    """100000, 100k or 5m."""
    factors = {"k": 1_000, "m": 1_000_000}
    digits, factor = (text[:-1], factors[text[-1].lower()]) if text[-1:].lower() in factors else (text, 1)
    value = int(digits) * factor
    if not 100 <= value <= 100_000_000:
        raise argparse.ArgumentTypeError(f"{text} is not between 100 and 100m")
    return value


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/bench-storage.sh", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures what a store that has grown old costs, beside etcd in the same run.",
        epilog=run.list_of(SECTIONS))
    add = parser.add_argument
    add("scales", nargs="*", type=number, metavar="SCALE",
        help="numbers of keys of sections a to c, the first and the last compared [100k 1m 5m]")
    add("--quick", action="store_true", help="small and short, to see that all of it works")
    add("--sections", type=run.letters_of(SECTIONS), default="".join(SECTIONS), help="which [abcdef]")
    add("--members", type=int, choices=range(1, 6), help="members in sections c and e [3; quick: 1]")
    add("--starts", type=int, help="starts of each kind in a and b [5; quick: 2]")
    add("--pairs", type=int, help="pairs of blocks in c and d [5; quick: 2]")
    add("--turns", type=int, help="turns in e and f [3; quick: 1]")
    add("--block", type=int, help="seconds of a block [8; quick: 1]")
    add("--rate", type=int, default=2000, help="puts a second in section e [2000]")
    add("--etcd-keys-max", type=number, default=1_000_000, help="most keys for etcd in a and b [1m]")
    add("--without-etcd", action="store_true", help="measure this store alone")
    add("--into", metavar="FILE", help="also put the table between the marks in this document")
    given = parser.parse_args()
    quick = given.quick
    given.scales = sorted(set(given.scales)) or (
        [10_000, 50_000, 100_000] if quick else [100_000, 1_000_000, 5_000_000])
    given.members = given.members or (1 if quick else 3)
    given.starts = given.starts or (2 if quick else 5)
    given.pairs = given.pairs or (2 if quick else 5)
    given.compactions = given.pagings = given.turns or (1 if quick else 3)
    given.block = given.block or (1 if quick else 8)
    given.puts_before_kill = 2_000 if quick else 20_000
    given.settle_seconds = 1 if quick else 60
    given.list_keys = (10_000, 50_000) if quick else (100_000, 1_000_000)
    given.history = (2_000, 10) if quick else (100_000, 10)
    given.paged = (50_000, 5_000) if quick else (1_000_000, 100_000)
    return given


def disk_wanted(settings):
    """What the run may take at most: stores keep more than their keys, and logs beside them."""
    pair = 3 * (sections.KEY_BYTES + sections.VALUE_BYTES)
    single = pair * sum(settings.scales)
    several = pair * settings.members * (settings.scales[0] + settings.scales[-1])
    kept = max(single, several if "c" in settings.sections else 0)
    return kept + (1 if settings.quick else 6) * 1024 * machine.MIB


def measure(bench):
    wanted = bench.settings.sections
    # Pages reuse a cluster of the starts; all else is filled for one section, and gone after it.
    steps = [("ab", lambda letters: sections.restart_and_memory(bench, letters)),
             ("f", lambda _: sections.pages(bench)), ("d", lambda _: sections.lists(bench)),
             ("e", lambda _: sections.compaction(bench)), ("c", lambda _: sections.rates(bench))]
    for letters, step in steps:
        letters = "".join(letter for letter in letters if letter in wanted)
        if not letters:
            continue
        bench.table.section = letters
        say(f"section {letters}: " + "; ".join(SECTIONS[letter] for letter in letters))
        try:
            step(letters)
        except (stores.Failed, OSError, KeyError, ZeroDivisionError) as failure:
            bench.table.add_failure(f"{type(failure).__name__}: {failure}")
        finally:
            bench.stop_all()
        if letters not in ("a", "b", "ab") or "f" not in wanted:
            bench.forget_filled()


def main():
    settings = parse()
    about = (
        f"Keys of {sections.KEY_BYTES} bytes, values of {sections.VALUE_BYTES}, in lists of "
        f"{sections.LIST_VALUE_BYTES}; one member unless it says otherwise; medians of "
        f"{settings.starts} starts, {settings.pairs} pairs of {settings.block} s, "
        f"{settings.compactions} turns; in parentheses the least and the largest")
    return run.perform("storage", settings, disk_wanted(settings), sections.Bench, measure, about)


if __name__ == "__main__":
    sys.exit(main())
