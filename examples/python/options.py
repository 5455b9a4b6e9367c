"""What both examples share: the command line, and how they are told to end."""

import argparse
import signal
import threading


def parse():
    """The command and its options."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("register", "resolve", "watch"))
    parser.add_argument("--endpoints", default="127.0.0.1:2379", help="members, host:port,...")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--service", required=True)
    parser.add_argument("--id", help="of the instance; its address when left out")
    parser.add_argument("--addr", default="", help="host:port where the instance is called")
    parser.add_argument("--ttl", type=int, default=15, help="seconds that it outlives its process")
    options = parser.parse_args()
    options.endpoints = options.endpoints.split(",")
    options.id = options.id or options.addr
    if options.command == "register" and not split(options.addr):
        parser.error("--addr has to be host:port")
    return options


def split(addr):
    """Host and port of host:port, with brackets around an IPv6 address; None of anything else."""
    host, colon, port = addr.rpartition(":")
    if not colon or not host or not port.isdecimal():
        return None
    return host.strip("[]"), int(port)


def join(host, port):
    """host:port, or a dash when there is no host."""
    if not host:
        return "-"
    return "[%s]:%d" % (host, port) if ":" in host else "%s:%d" % (host, port)


def end_on_signals(on_end=None):
    """An event that is set when the program is told to end; `on_end` is called then."""
    end = threading.Event()

    def handle(_signal, _frame):
        end.set()
        if on_end:
            on_end()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return end
