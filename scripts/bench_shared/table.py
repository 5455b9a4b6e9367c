"""The table that comes out: rows of Markdown, each with its goal and whether it holds."""

import statistics
import sys
import time

started = time.monotonic()


def say(text):
    """Progress, for whoever waits."""
    print(f"bench: {time.monotonic() - started:6.0f} s  {text}", file=sys.stderr, flush=True)


def count(number):
    """1000000 as 1 M."""
    for size, letter in ((1_000_000, " M"), (1_000, " k")):
        if number >= size and number % (size // 10) == 0:
            return f"{number / size:g}{letter}"
    return str(number)


def spread(values, digits=2):
    """The median, with the least and the largest."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def ms(seconds):
    return f"{seconds * 1000:.0f} ms"


def mib(value):
    return f"{value:.0f} MiB"


class Table:
    """The rows so far."""

    def __init__(self):
        self.rows = []
        self.failed = False
        # Rows stand in the order of their sections, in whatever order those are measured.
        self.section = ""

    def add(self, figure, quorate="-", etcd="-", ratio=None, at_most=None, at_least=None,
            measured=None, unit=""):
        """A row. The ratio, a number or a list of them, is what the goal is about, unless our own
        figures are given as measured."""
        ratios = [] if ratio is None else ratio if isinstance(ratio, list) else [ratio]
        goal, verdict = "-", "-"
        if at_most is not None or at_least is not None:
            goal = f"<= {at_most}{unit}" if at_most is not None else f">= {at_least}{unit}"
            middle = statistics.median(measured or ratios)
            holds = middle <= at_most if at_most is not None else middle >= at_least
            verdict = "yes" if holds else "**no**"
        self._row(figure, quorate, etcd, spread(ratios) if ratios else "-", goal, verdict)

    def add_failure(self, failure):
        """A section that could not be measured is a row as well."""
        self.failed = True
        text = " ".join(str(failure).split()).replace("|", "/")[:300]
        self._row(f"section {self.section}", f"failed: {text}", "-", "-", "-", "**no**")

    def _row(self, *cells):
        row = "| " + " | ".join(cells) + " |"
        self.rows.append((self.section, row))
        say(row)

    def text(self, etcd_version):
        rows = [row for _, row in sorted(self.rows, key=lambda found: found[0])]
        head = f"| figure | quorate | {etcd_version} | ratio | goal | holds |"
        return "\n".join([head, "|---|---|---|---|---|---|", *rows])
