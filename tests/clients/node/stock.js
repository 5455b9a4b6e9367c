// Drives a cluster through `etcd3` of npm, unmodified: what a service in JavaScript would do.
//
//     stock.js HOST:PORT,...
//
// Prints "ok <check>" for each check that holds, and ends with 1 and a sentence on standard error at the
// first that does not. It works below a prefix of its own, which it deletes at the end, and compacts the
// history.

'use strict';

const assert = require('node:assert/strict');
const { Etcd3, EtcdLockFailedError } = require('etcd3');

const DEADLINE_MS = 60_000;

async function within(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took too long`)), DEADLINE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function eventually(what, look) {
  const end = Date.now() + DEADLINE_MS;
  while (Date.now() < end) {
    const found = await look();
    if (found) return found;
    await new Promise((next) => setTimeout(next, 50));
  }
  throw new Error(`${what} did not happen in time`);
}

async function keys(store) {
  await store.put('a').value('one');
  await store.put('b').value('two');
  await store.put('c').value(Buffer.from([0, 255]));
  assert.equal(await store.get('a').string(), 'one');
  assert.deepEqual(await store.get('c').buffer(), Buffer.from([0, 255]));
  assert.equal(await store.get('missing').string(), null);
  const before = await store.put('a').value('uno').getPrevious();
  assert.equal(before.value.toString(), 'one');
}

async function ranges(store) {
  assert.deepEqual(await store.getAll().prefix('').keys(), ['a', 'b', 'c']);
  assert.deepEqual(await store.getAll().sort('Key', 'Descend').limit(2).keys(), ['c', 'b']);
  assert.equal(await store.getAll().count(), 3);
  const some = store.getAll().inRange({ start: 'a', end: 'c' });
  assert.deepEqual(await some.strings(), { a: 'uno', b: 'two' });
}

async function transactions(store) {
  const swap = (old, next) =>
    store.if('a', 'Value', '==', old).then(store.put('a').value(next)).else(store.get('a')).commit();
  assert.equal((await swap('uno', 'eins')).succeeded, true);
  const lost = await swap('uno', 'zwei');
  assert.equal(lost.succeeded, false);
  assert.equal(lost.responses[0].response_range.kvs[0].value.toString(), 'eins');
  await store.stm().transact(async (tx) => {
    const value = await tx.get('a').string();
    await tx.put('a').value(`${value}!`);
  });
  assert.equal(await store.get('a').string(), 'eins!');
}

async function leases(store, client) {
  const lease = store.lease(5);
  await lease.put('leased').value('here');
  const id = await lease.grant();
  const told = await client.leaseClient.leaseTimeToLive({ ID: id, keys: true });
  assert.equal(Number(told.grantedTTL), 5);
  assert.equal(told.keys.length, 1);
  await lease.keepaliveOnce();
  await lease.revoke();
  assert.equal(await store.get('leased').string(), null);

  const kept = store.lease(2);
  let renewals = 0;
  kept.on('keepaliveSucceeded', () => renewals++);
  await kept.put('kept').value('here');
  await eventually('two renewals', () => renewals >= 2);
  assert.equal(await store.get('kept').string(), 'here');
  kept.release(); // nobody renews it any more
  await eventually('its end', async () => (await store.get('kept').string()) === null);
}

async function watches(store) {
  const seen = [];
  const watcher = await within('a watch', store.watch().prefix('w/').create());
  watcher.on('put', (kv) => seen.push(`put ${kv.key} ${kv.value}`));
  watcher.on('delete', (kv) => seen.push(`delete ${kv.key}`));
  await store.put('w/1').value('one');
  await store.put('w/2').value('two');
  await store.delete().key('w/1');
  await eventually('three events', () => seen.length >= 3);
  assert.deepEqual(seen, ['put w/1 one', 'put w/2 two', 'delete w/1']);
  const revision = (await store.get('w/2').exec()).kvs[0].create_revision;
  await within('a cancel', watcher.cancel());

  const past = [];
  const again = await store.watch().prefix('w/').startRevision(revision).create();
  again.on('put', (kv) => past.push(`put ${kv.key}`));
  again.on('delete', (kv) => past.push(`delete ${kv.key}`));
  await eventually('the past', () => past.length >= 2);
  assert.deepEqual(past, ['put w/2', 'delete w/1']);
  await within('a cancel', again.cancel());
}

async function locks(store) {
  const lock = store.lock('job').ttl(10);
  await within('a lock', lock.acquire());
  await assert.rejects(store.lock('job').ttl(10).acquire(), EtcdLockFailedError);
  await lock.release();
  assert.equal(await within('a lock', store.lock('job').ttl(10).do(async () => 'done')), 'done');
}

async function elections(store) {
  const election = store.election('leader', 10);
  const campaign = election.campaign('me');
  await within('an election', new Promise((won) => campaign.on('elected', won)));
  assert.equal(await election.leader(), 'me');
  await campaign.resign();
  await eventually('nobody', async () => (await election.leader()) === undefined);
}

async function operators(store, client) {
  const status = await client.maintenance.status();
  assert.match(status.version, /^3\./);
  assert.ok(Number(status.dbSize) > 0 && status.leader !== '0');
  assert.equal((await client.cluster.memberList({})).members.length, 3);
  assert.deepEqual((await client.maintenance.alarm({ action: 'Get', memberID: 0, alarm: 'None' })).alarms, []);
  const now = (await store.put('z').value('last')).header.revision;
  await client.kv.compact({ revision: now, physical: false });
  await assert.rejects(client.kv.compact({ revision: now, physical: false }), /has been compacted/);
  await assert.rejects(store.getAll().revision('1').keys(), /has been compacted/);
}

async function main(endpoints) {
  const client = new Etcd3({ hosts: endpoints.split(',').map((address) => `http://${address}`) });
  const store = client.namespace(`stock-node/${process.pid}-${Date.now()}/`);
  for (const check of [keys, ranges, transactions, leases, watches, locks, elections, operators]) {
    await within(check.name, check(store, client));
    console.log(`ok ${check.name}`);
  }
  await store.delete().all();
  assert.equal(await store.getAll().count(), 0);
  client.close();
}

main(process.argv[2] ?? '127.0.0.1:2379').then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
