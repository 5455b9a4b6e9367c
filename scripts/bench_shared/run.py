"""What every run has in common: its programs and clusters, its heading, and where its table goes."""

import argparse
import datetime
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

import machine
import stores
import table as tables
from table import say

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# A pair of blocks is left out when the machine was so much slower in one of them.
DISTURBED = 0.15


def text_of(*command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def find_programs(settings, target):
    quorate = os.path.join(target, "release", "quorate")
    if not os.access(quorate, os.X_OK):
        raise SystemExit("bench: build it first: make release")
    etcd = "" if settings.without_etcd else text_of("tests/clients/build.sh", "etcd-peer")
    if not etcd and not settings.without_etcd:
        say("etcd is left out: it could not be built here")
    return stores.Programs(quorate, etcd, settings.settle_seconds)


def etcd_version(programs):
    module = os.path.join(ROOT, "benches", "peers", "go.mod")
    version = machine.first_word_after(module, "go.etcd.io/etcd/server/v3")
    return f"etcd {version.lstrip('v')}" if programs.etcd else "without etcd"


def letters_of(sections):
    """The type of an argument that names sections by their letters."""
    def wanted(text):
        if not text or set(text) - set(sections):
            raise argparse.ArgumentTypeError(f"{text!r} is not made of {''.join(sections)}")
        return "".join(sorted(set(text)))
    return wanted


def list_of(sections):
    return "sections:\n" + "\n".join(f"  {letter}  {what}" for letter, what in sections.items())


class Document:
    """A document that holds the figures of a run between two marks."""

    def __init__(self, path, name):
        self.path = path
        self.begin, self.end = (f"<!-- {name} figures: {mark} -->" for mark in ("begin", "end"))

    def check(self):
        """Before the run, not after it."""
        try:
            with open(self.path, encoding="utf-8") as file:
                found = file.read()
        except OSError as error:
            raise SystemExit(f"bench: {error}") from None
        if not 0 <= found.find(self.begin) < found.find(self.end):
            raise SystemExit(
                f"bench: {self.path} has no place between {self.begin!r} and {self.end!r}")

    def replace(self, text):
        """Puts the figures of this run in place of those that stand there."""
        with open(self.path, encoding="utf-8") as file:
            before, rest = file.read().split(self.begin, 1)
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(f"{before}{self.begin}\n{text}\n{self.end}{rest.split(self.end, 1)[1]}")


class Bench:
    """What all sections share: the settings of the run, and the clusters that there are."""

    def __init__(self, settings, programs, folder, table):
        self.settings, self.programs, self.folder, self.table = settings, programs, folder, table
        self.clusters = []

    @property
    def kinds(self):
        return ["quorate", "etcd"] if self.programs.etcd else ["quorate"]

    def add_cluster(self, kind, size, name):
        """A new cluster, not started."""
        folder = os.path.join(self.folder, name)
        shutil.rmtree(folder, ignore_errors=True)  # what a failure may have left half filled
        cluster = stores.Cluster(self.programs, kind, size, folder)
        self.clusters.append(cluster)
        return cluster

    def forget(self, cluster):
        cluster.remove()
        self.clusters.remove(cluster)

    def forget_all(self):
        for cluster in list(self.clusters):
            self.forget(cluster)

    def stop_all(self):
        for cluster in self.clusters:
            cluster.stop(signal.SIGKILL)

    def each_kind(self, measure):
        """What comes of a measurement, by store; one that fails is a row, and does not spoil the
        other."""
        found = {}
        for kind in self.kinds:
            try:
                found[kind] = measure(kind)
            except stores.Failed as failure:
                self.table.add_failure(failure)
                self.stop_all()
        return found


def undisturbed(pairs):
    """The pairs in which the machine was as fast in one block as in the other, if there are any,
    and how many they are."""
    quiet = []
    for pair in pairs:
        spins = [found["spin"] for found in pair.values()]
        if max(spins) - min(spins) <= DISTURBED * max(spins):
            quiet.append(pair)
    if not quiet:
        return pairs, f"{len(pairs)} pairs, all of them disturbed"
    return quiet, f"{len(quiet)} of {len(pairs)} pairs undisturbed"


def side(values, kind, form):
    return form(statistics.median(values[kind])) if values.get(kind) else "-"


def heading(script, folder, version, about):
    commit = text_of("git", "rev-parse", "--short", "HEAD") or "unknown"
    changed = "" if not text_of("git", "status", "--porcelain") else ", with local changes"
    command = shlex.join([script, *sys.argv[1:]])
    return "\n".join([
        f"- Machine: {machine.description(folder)}; a sync of 4 KiB takes "
        f"{machine.sync_millis(folder):.2f} ms; load before the run {os.getloadavg()[0]:.2f}",
        f"- Versions: quorate {commit}{changed}; {version}",
        f"- Command: `{command}`, {datetime.date.today().isoformat()}",
        f"- {about}",
    ])


def perform(name, settings, disk_wanted, make_bench, measure, about):
    """A whole run, in a folder of its own that goes with it; returns the exit code."""
    document = Document(settings.into, name) if settings.into else None
    if document:
        document.check()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    target = text_of("scripts/cargo.sh", "where") or os.path.join(ROOT, "target")
    found = find_programs(settings, target)
    machine.require_free(target, disk_wanted)
    folder = tempfile.mkdtemp(prefix=f"bench-{name}-", dir=target)
    table = tables.Table()
    bench = make_bench(settings, found, folder, table)
    version = etcd_version(found)
    try:
        head = heading(f"scripts/bench-{name}.sh", folder, version, about)
        measure(bench)
    finally:
        bench.stop_all()
        shutil.rmtree(folder, ignore_errors=True)
    text = f"{head}\n\n{table.text(version)}"
    print(text)
    if document:
        document.replace(text)
    return 1 if table.failed else 0
