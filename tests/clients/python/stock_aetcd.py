"""Drives a cluster through `aetcd`, unmodified: what an asyncio program would do.

    stock_aetcd.py HOST:PORT,...

Prints "ok <check>" for each check that holds, and ends with 1 and a sentence on standard error at the
first that does not. The client knows one endpoint: the first. It works below a prefix of its own, which
it deletes at the end, and compacts the history.
"""

import asyncio
import sys
import time

import aetcd

DEADLINE_SECONDS = 60


async def eventually(what, look):
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end:
        found = await look()
        if found:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError("%s did not happen in time" % what)


def want(what, got, wanted):
    assert got == wanted, "%s: got %r, wanted %r" % (what, got, wanted)


async def keys(client, prefix):
    await client.put(prefix + b"a", b"one")
    want("a value", (await client.get(prefix + b"a")).value, b"one")
    want("no value", await client.get(prefix + b"missing"), None)
    before = await client.put(prefix + b"a", b"uno", prev_kv=True)
    want("the pair before", before.prev_kv.value, b"one")
    await client.put(prefix + b"b", b"two")
    await client.put(prefix + b"c", bytes([0, 255]))
    want("replaced", await client.replace(prefix + b"b", b"two", b"zwei"), True)
    want("not replaced", await client.replace(prefix + b"b", b"two", b"drei"), False)


async def ranges(client, prefix):
    found = await client.get_prefix(prefix)
    want("all", [kv.key for kv in found], [prefix + name for name in (b"a", b"b", b"c")])
    found = await client.get_range(prefix + b"b", prefix + b"d", sort_order="descend")
    want("some", [kv.value for kv in found], [bytes([0, 255]), b"zwei"])
    want("deleted", (await client.delete(prefix + b"c", prev_kv=True)).prev_kv.value, bytes([0, 255]))
    want("nothing to delete", await client.delete(prefix + b"c"), None)


async def transactions(client, prefix):
    make = client.transactions
    key = prefix + b"t"

    async def create(value):
        return await client.transaction(
            compare=[make.version(key) == 0],
            success=[make.put(key, value), make.get(key)],
            failure=[make.get(key), make.delete(key)],
        )

    won, answers = await create(b"first")
    want("the first", won, True)
    want("what it put", answers[1][0][0], b"first")
    won, answers = await create(b"second")
    want("the second", won, False)
    want("what it found", answers[0][0][0], b"first")
    want("what it deleted", await client.get(key), None)


async def leases(client, prefix):
    lease = await client.lease(2)
    await client.put(prefix + b"leased", b"here", lease=lease)
    told = await client.get_lease_info(lease.id)
    want("its life", told.grantedTTL, 2)
    want("its keys", list(told.keys), [prefix + b"leased"])
    for _ in range(3):
        await asyncio.sleep(1)
        want("a renewal", (await lease.refresh()).TTL, 2)
    assert await client.get(prefix + b"leased") is not None

    async def is_gone():
        return await client.get(prefix + b"leased") is None

    await eventually("its end", is_gone)
    lease = await client.lease(60)
    await client.put(prefix + b"revoked", b"here", lease=lease)
    await lease.revoke()
    want("revoked", await client.get(prefix + b"revoked"), None)


async def watches(client, prefix):
    watch = await client.watch_prefix(prefix + b"w/")
    await client.put(prefix + b"w/1", b"one")
    await client.put(prefix + b"w/2", b"two")
    await client.delete(prefix + b"w/1")
    seen = []
    async for event in watch:
        seen.append((event.kind, event.kv.key[len(prefix):], event.kv.value))
        if len(seen) == 3:
            await watch.cancel()
            break
    put, delete = aetcd.EventKind.PUT, aetcd.EventKind.DELETE
    want("events", seen, [(put, b"w/1", b"one"), (put, b"w/2", b"two"), (delete, b"w/1", b"")])

    second = (await client.get(prefix + b"w/2")).mod_revision
    watch = await client.watch_prefix(prefix + b"w/", start_revision=second)
    past = []
    async for event in watch:
        past.append(event.kv.key[len(prefix):])
        if len(past) == 2:
            await watch.cancel()
            break
    want("the past", past, [b"w/2", b"w/1"])


async def locks(client, prefix):
    lock, other = client.lock(prefix + b"job", ttl=10), client.lock(prefix + b"job", ttl=10)
    want("the lock", await lock.acquire(), True)
    want("not twice", await other.acquire(timeout=0), False)
    want("given back", await lock.release(), True)
    want("the other's turn", await other.acquire(timeout=5), True)
    want("given back", await other.release(), True)


async def operators(client, prefix):
    status = await client.status()
    assert status.version.startswith("3.") and status.db_size > 0 and status.leader is not None
    want("members", len([member async for member in client.members()]), 3)
    want("alarms", [alarm async for alarm in client.list_alarms()], [])
    revision = (await client.put(prefix + b"z", b"last")).header.revision
    await client.compact(revision)
    await client.defragment()
    assert await client.hash() > 0


async def main(endpoints):
    host, _, port = endpoints.split(",")[0].rpartition(":")
    prefix = b"stock-aetcd/%d/" % time.time_ns()
    async with aetcd.Client(host=host, port=int(port), timeout=10) as client:
        for check in (keys, ranges, transactions, leases, watches, locks, operators):
            await asyncio.wait_for(check(client, prefix), DEADLINE_SECONDS)
            print("ok", check.__name__, flush=True)
        await client.delete_prefix(prefix)
        want("nothing left", len(list(await client.get_prefix(prefix))), 0)


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:2379"))
