"""Clusters of either store on this machine: their processes, folders and ports. Beside the stores
there is a server of watches that keeps nothing, as the kind "bare".

A process that is started here dies with this script, however the script ends.
"""

import ctypes
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time

import machine

# Below the ports that the system hands out to connections of clients, which would take them.
PORTS = range(20000, 30000)
START_SECONDS = 300
STOP_SECONDS = 120
QUOTA_BYTES = 32 * 1024 * machine.MIB
# The names of signals and of prctl's request to be sent one when the parent ends.
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """Something that was to be measured did not work."""


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def environment():
    """Ours, without the settings of any store."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("QUORATE_", "ETCD_", "ETCDCTL_"))
    }


taken = set()


def free_port():
    for _ in range(1000):
        port = random.choice(PORTS)
        if port in taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        taken.add(port)
        return port
    raise Failed("there is no free port")


class Programs:
    """Where the programs are, what they can, and how long they may take to come to rest."""

    def __init__(self, quorate, etcd, settle_seconds):
        self.quorate, self.etcd, self.settle_seconds = quorate, etcd, settle_seconds
        shown = subprocess.run([quorate, "serve", "--help"], capture_output=True, text=True, check=True)
        self.has_quota = "--quota-backend-bytes" in shown.stdout

    def of(self, kind):
        return self.etcd if kind == "etcd" else self.quorate


class Member:
    """One process with its data."""

    def __init__(self, programs, kind, name, folder):
        self.programs, self.kind, self.name, self.folder = programs, kind, name, folder
        self.client = f"http://127.0.0.1:{free_port()}"
        self.peer = f"http://127.0.0.1:{free_port()}"
        self.process = None
        self.flags = []  # more of them, for our own store

    def arguments(self, initial_cluster):
        program, data = self.programs.of(self.kind), os.path.join(self.folder, self.name)
        if self.kind == "etcd":
            return [program, "--name", self.name, "--data-dir", data, "--client-url", self.client,
                    "--peer-url", self.peer, "--initial-cluster", initial_cluster,
                    "--quota-backend-bytes", str(QUOTA_BYTES), "--log-level", "error"]
        if self.kind == "bare":
            return [program, "bench", "broadcast", f"--listen={self.client.split('//')[1]}"]
        given = {
            "name": self.name, "data-dir": data, "listen-client-urls": self.client,
            "advertise-client-urls": self.client, "listen-peer-urls": self.peer,
            "initial-advertise-peer-urls": self.peer, "initial-cluster": initial_cluster,
            "log-level": "warn",
        }
        if self.programs.has_quota:
            given["quota-backend-bytes"] = str(QUOTA_BYTES)
        return [program, "serve", *(f"--{name}={value}" for name, value in given.items()), *self.flags]

    def start(self, initial_cluster):
        os.makedirs(self.folder, exist_ok=True)
        with open(os.path.join(self.folder, f"{self.name}.log"), "ab") as log:
            self.process = subprocess.Popen(
                self.arguments(initial_cluster), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment(), preexec_fn=die_with_parent,
            )

    def stop(self, how):
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failed(f"{self.kind} did not stop within {STOP_SECONDS} s") from None
        finally:
            self.process = None


class Cluster:
    """Some members of one store, and the load generator pointed at them."""

    def __init__(self, programs, kind, size, folder):
        self.programs, self.kind, self.folder = programs, kind, folder
        self.members = [Member(programs, kind, f"m{n + 1}", folder) for n in range(size)]

    @property
    def pids(self):
        return [member.process.pid for member in self.members]

    def _command(self, seconds, arguments):
        endpoints = ",".join(member.client for member in self.members)
        return [self.programs.quorate, "--endpoints", endpoints,
                f"--command-timeout={seconds}s", "bench", *arguments, "--json"]

    def bench(self, *arguments, timeout=1800):
        """Runs `quorate bench` and returns its report; errors of single calls are a failure."""
        command = self._command(min(timeout, 300), [str(argument) for argument in arguments])
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout,
                                  env=environment(), preexec_fn=die_with_parent, check=False)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.kind}: bench {arguments[0]} took more than {timeout} s") from None
        if done.returncode != 0:
            # What the calls failed with stands in the report, if it came to one.
            errors = json.loads(done.stdout)["errors"] if done.stdout else ""
            raise Failed(f"{self.kind}: bench {arguments[0]}: {done.stderr.strip()} {errors}")
        report = json.loads(done.stdout)
        if report["errors"]:
            raise Failed(f"{self.kind}: bench {arguments[0]}: {report['errors']}")
        return report

    def hold(self, *arguments, timeout=600):
        """Opens watchers that a process of their own holds."""
        return Holder(self._command(timeout, ["hold", *map(str, arguments)])[:-1], self.kind)

    def start(self):
        """Starts all members; returns the seconds from there to the first linearizable read."""
        initial = ",".join(f"{member.name}={member.peer}" for member in self.members)
        # It tries from before the start on, so that its own start does not count.
        prober = subprocess.Popen(
            self._command(START_SECONDS, ["ready"]), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env=environment(), preexec_fn=die_with_parent,
        )
        try:
            time.sleep(0.2)
            begin = time.monotonic()
            for member in self.members:
                member.start(initial)
            line = prober.stdout.readline()
            elapsed = time.monotonic() - begin
            if not line:
                raise Failed(f"{self.kind} does not serve: {prober.stderr.read().strip()} {self.log_end()}")
            return elapsed
        finally:
            prober.kill()
            prober.communicate()

    def stop(self, how=signal.SIGTERM):
        """Stops all members, at once where it is not to be graceful."""
        failure = None
        for member in self.members:
            try:
                member.stop(how)
            except Failed as failed:
                failure = failed
        if failure is not None:
            raise failure

    def settle(self):
        """Waits until the members are at rest after loading or starting, within bounds."""
        end = time.monotonic() + self.programs.settle_seconds
        if self.programs.settle_seconds > 1:
            # What the load has left to write back would disturb whoever syncs next.
            os.sync()
        before = self.cpu()
        while time.monotonic() < end:
            time.sleep(1)
            now = self.cpu()
            if now - before < 0.04 * len(self.members):
                return
            before = now

    def cpu(self):
        return sum(machine.cpu_seconds(pid) for pid in self.pids)

    def log_end(self):
        texts = []
        for member in self.members:
            with open(os.path.join(self.folder, f"{member.name}.log"), errors="replace") as log:
                texts.append(log.read()[-500:])
        return " ".join(texts).strip()

    def copy(self, folder):
        """The same cluster as it is on disk, stopped, in another folder; only one of both may run."""
        shutil.copytree(self.folder, folder)
        twin = object.__new__(Cluster)
        twin.__dict__.update(self.__dict__, folder=folder, members=[])
        for member in self.members:
            other = object.__new__(Member)
            other.__dict__.update(member.__dict__, folder=folder, process=None)
            twin.members.append(other)
        return twin

    def remove(self):
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


class Holder:
    """Watchers that are opened step by step, and held until they are let go."""

    def __init__(self, command, kind):
        self.kind = kind
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=environment(), preexec_fn=die_with_parent)
        self.started = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def step(self, wanted):
        """Lets the next step happen; returns its count once it is done."""
        try:
            if self.started:
                self.process.stdin.write("\n")
                self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, and says why
        self.started = True
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"{self.kind}: bench hold: {self.process.stderr.read().strip()}")
        done = json.loads(line)
        if done["step"] != wanted:
            raise Failed(f"{self.kind}: bench hold did {done['step']} when {wanted} was its turn")
        return done["count"]
