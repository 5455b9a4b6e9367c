// Registers and finds services with a stock etcd client: an instance is a key on a lease, and finding is
// a range and a watch from the revision after it.
//
//   node stock.js register --service user --id u1 --addr 10.0.0.7:8080 --ttl 15
//   node stock.js resolve --service user
//   node stock.js watch --service user
'use strict';

const { circuitBreaker, ConsecutiveBreaker, handleWhen } = require('cockatiel');
const { Etcd3, isRecoverableError } = require('etcd3');
const { parse, split, endOnSignals, pause } = require('./options');

const RETRY_PAUSE_MS = 200;
// The client leaves a member alone that has failed three times, for 5 seconds unless told otherwise;
// after a change of the leader that is longer than a short lease lives.
const REST_MS = 500;

const given = parse();
const prefix = `/services/${given.namespace}/${given.service}/`;
// A member that does not answer is left while there is still time to ask another one.
const patience = Math.max(1000, given.ttl * 500);
// One client for all members: it goes to whichever can be reached.
const client = new Etcd3({
  hosts: given.endpoints,
  defaultCallOptions: ({ isStream }) => (isStream ? {} : { deadline: Date.now() + patience }),
  grpcOptions: {
    'grpc.keepalive_time_ms': 10_000, // a member that vanished without a word is noticed
    'grpc.keepalive_timeout_ms': 3_000,
  },
  faultHandling: {
    host: () =>
      circuitBreaker(handleWhen(isRecoverableError), {
        halfOpenAfter: REST_MS,
        breaker: new ConsecutiveBreaker(3),
      }),
  },
});

// Keeps the instance there until the program is told to end, and then takes it away.
async function register() {
  const end = endOnSignals();
  let lease = null;
  while (!end.aborted) {
    lease = client.lease(given.ttl); // the client keeps it alive
    const lost = new Promise((resolve) => lease.on('lost', resolve));
    try {
      await lease.put(prefix + given.id).value(value());
      console.log('REGISTERED', given.id, await lease.grant());
      await Promise.race([lost.then(complain), ended(end)]);
    } catch (error) {
      complain(error);
      await pause(RETRY_PAUSE_MS, end);
    }
  }
  // The lease takes its key along. Were this to fail, it would run out by itself.
  await lease?.revoke();
  console.log('DEREGISTERED', given.id);
}

// What stands under the key. Op, Addr and Metadata are what etcd's resolver for gRPC reads.
function value() {
  const { namespace, service, addr, id } = given;
  const { host: address, port } = split(addr);
  return JSON.stringify({ Op: 0, Addr: addr, Metadata: {}, id, namespace, service, address, port });
}

// Prints the instances as they are now.
async function resolve() {
  for (const [id, text] of (await list()).found) {
    if (address(text) !== '-') console.log(id, address(text));
  }
}

// Values by id, and the revision that this shows.
async function list() {
  const answer = await client.getAll().prefix(prefix).exec();
  const found = answer.kvs.map((pair) => [idOf(pair), pair.value.toString()]);
  return { found: new Map(found), revision: BigInt(answer.header.revision) };
}

// Prints what there is, and then each change, until the program is told to end.
async function watch() {
  const end = endOnSignals();
  const state = { known: new Map(), next: 0n }; // next: the first revision not seen; 0: nothing is known
  while (!end.aborted) {
    try {
      if (state.next === 0n) await replace(state);
      await follow(state, end);
    } catch (error) {
      complain(error);
    }
    await pause(RETRY_PAUSE_MS, end);
  }
}

// Makes known what is there now, and prints the difference.
async function replace(state) {
  const { found, revision } = await list();
  for (const id of [...state.known.keys()]) {
    if (!found.has(id)) remove(state, id);
  }
  for (const [id, text] of found) put(state, id, text);
  state.next = revision + 1n;
}

// Prints changes until the connection breaks.
//
// The client would take the watch to another member by itself, but from the revision that the last
// answer was sent at on, and that may be ahead of the changes in it. So the next watch begins where the
// changes of this one ended.
async function follow(state, end) {
  // Listeners come before the connection: create() would return after it.
  const watcher = client.watch().prefix(prefix).startRevision(String(state.next)).watcher();
  watcher.on('data', ({ events }) => {
    for (const { type, kv } of events) {
      if (type === 'Delete') remove(state, idOf(kv));
      else put(state, idOf(kv), kv.value.toString());
      state.next = BigInt(kv.mod_revision) + 1n; // one answer has all of a revision
    }
  });
  const over = new Promise((resolve) => {
    watcher.on('disconnected', resolve);
    watcher.on('error', (error) => {
      state.next = 0n; // the history is gone, so the difference is found with a new list
      resolve(error);
    });
  });
  const error = await Promise.race([over, ended(end)]);
  if (error) complain(error);
  if (state.next !== 0n) await watcher.cancel();
}

function put(state, id, text) {
  const before = state.known.get(id);
  state.known.set(id, text);
  if (before === undefined) console.log('UP', id, address(text));
  else if (before !== text) console.log('CHANGED', id, address(text));
}

function remove(state, id) {
  if (state.known.delete(id)) console.log('DOWN', id, '- -'); // a plain event has no reason
}

function idOf(pair) {
  return pair.key.toString().slice(prefix.length);
}

// host:port, or a dash when the value has no address that this program understands.
function address(text) {
  try {
    return JSON.parse(text).Addr ?? '-';
  } catch {
    return '-';
  }
}

function ended(end) {
  return new Promise((resolve) => {
    if (end.aborted) resolve();
    else end.addEventListener('abort', () => resolve(), { once: true });
  });
}

function complain(error) {
  console.error(`stock.js: ${error.message ?? error}`);
}

({ register, resolve, watch })[given.command]()
  .catch((error) => {
    complain(error);
    process.exitCode = 1;
  })
  .finally(() => client.close());
