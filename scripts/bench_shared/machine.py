"""The machine that is measured on: what it is, how fast it is right now, and what a process uses."""

import os
import platform
import shutil
import statistics
import subprocess
import time

MIB = 1024 * 1024
# The clock of /proc counts in these, whatever the kernel's own tick.
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def first_line_with(path, start):
    """What stands behind the colon of the first line that starts so, or None."""
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith(start):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return None


def first_word_after(path, word):
    """The word that follows this one somewhere in a file, or a question mark."""
    with open(path, encoding="utf-8") as file:
        words = file.read().split()
    return next((after for before, after in zip(words, words[1:]) if before == word), "?")


def description(folder):
    """The machine in one line."""
    processor = first_line_with("/proc/cpuinfo", "model name") or platform.machine()
    memory_kib = int((first_line_with("/proc/meminfo", "MemTotal") or "0 kB").split()[0])
    found = subprocess.run(
        ["df", "--output=fstype", folder], capture_output=True, text=True, check=False
    )
    filesystem = (found.stdout.split() or ["?"])[-1]
    return (
        f"{os.cpu_count()} processors ({processor}), {memory_kib / MIB:.0f} GiB of memory, "
        f"Linux {platform.release()}, {filesystem}"
    )


def sync_millis(folder, writes=200):
    """Median time to append 4 KiB to a file and sync it."""
    path = os.path.join(folder, "sync-probe")
    block = os.urandom(4096)
    times = []
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for _ in range(writes):
            start = time.monotonic()
            os.write(file, block)
            os.fdatasync(file)
            times.append(time.monotonic() - start)
    finally:
        os.close(file)
        os.unlink(path)
    return statistics.median(times) * 1000


def spin_rate(seconds=0.2):
    """How fast one processor counts right now: less when somebody else uses it."""
    count, start = 0, time.monotonic()
    while time.monotonic() - start < seconds:
        for _ in range(1000):
            count += 1
    return count / (time.monotonic() - start)


def require_free(folder, wanted):
    """Ends the run before it fills the disk."""
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise SystemExit(
            f"bench: {folder} has {free / MIB / 1024:.1f} GiB free, "
            f"and this run may need {wanted / MIB / 1024:.1f} GiB"
        )


def memory_mib(pid):
    """Resident memory of a process now, and the most it has had since it was last reset."""
    path = f"/proc/{pid}/status"
    return tuple(
        int(first_line_with(path, field).split()[0]) / 1024 for field in ("VmRSS", "VmHWM")
    )


def reset_peak(pid):
    """Lets the peak of resident memory start anew from what is resident now."""
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def cpu_seconds(pid):
    """Processor time that a process has used, all threads together."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
