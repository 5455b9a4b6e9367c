// Registers and finds services with the typed registry; @grpc/proto-loader makes the stubs of
// registry.proto while the program starts.
//
//   node typed.js register --service user --id u1 --addr 10.0.0.7:8080 --ttl 15
//   node typed.js resolve --service user
//   node typed.js watch --service user
'use strict';

const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');
const { parse, join, endOnSignals, pause } = require('./options');
const { Session } = require('./session');

const CALL_TIMEOUT_MS = 5_000; // of one call, an election included
const RETRY_PAUSE_MS = 200;

const definition = protoLoader.loadSync('quorate/registry/v1/registry.proto', {
  includeDirs: [path.join(__dirname, '../../proto')],
  longs: String, // revisions and leases do not fit into a number
  enums: String,
  defaults: true,
  oneofs: true,
});
const { Registry } = grpc.loadPackageDefinition(definition).quorate.registry.v1;

// A client of one member. Which one does not matter: each of them serves everything.
function connect(endpoint) {
  return new Registry(endpoint, grpc.credentials.createInsecure(), {
    'grpc.keepalive_time_ms': 10_000, // a member that vanished without a word is noticed
    'grpc.keepalive_timeout_ms': 3_000,
    'grpc.use_local_subchannel_pool': 1, // a member that was away is not avoided for long
  });
}

// Prints the instances that can be called; the next member is asked when one does not answer.
async function resolve(given) {
  const request = { namespace: given.namespace, service: given.service, linearizable: true };
  for (const endpoint of given.endpoints) {
    const client = connect(endpoint);
    try {
      const answer = await new Promise((done, failed) => {
        const deadline = Date.now() + CALL_TIMEOUT_MS;
        client.resolve(request, { deadline }, (error, value) => (error ? failed(error) : done(value)));
      });
      for (const instance of answer.instances) console.log(instance.id, target(instance));
      return 0;
    } catch (error) {
      complain(error);
    } finally {
      client.close();
    }
  }
  return 1;
}

// Prints what there is, and then each change, until the program is told to end.
async function watch(given) {
  const end = endOnSignals();
  const state = { known: new Map(), revision: '0' };
  for (let turn = 0; !end.aborted; turn++) {
    const client = connect(given.endpoints[turn % given.endpoints.length]);
    try {
      await follow(client, state, given, end);
    } catch (error) {
      if (!end.aborted) complain(error);
    } finally {
      client.close();
    }
    await pause(RETRY_PAUSE_MS, end);
  }
  return 0;
}

// Prints changes, from where it was, until the stream ends.
async function follow(client, state, given, end) {
  const { namespace, service } = given;
  const stream = client.watch({ namespace, service, revision: state.revision });
  const cancel = () => stream.cancel();
  end.addEventListener('abort', cancel);
  let parts = []; // of one revision; what is not complete yet would come again on the next stream
  try {
    for await (const answer of stream) {
      parts.push(answer);
      if (answer.more) continue;
      show(state, parts);
      state.revision = answer.revision; // all up to here was printed
      parts = [];
    }
  } finally {
    end.removeEventListener('abort', cancel);
  }
}

// Prints all that was said of one revision.
function show(state, parts) {
  if (parts[0].kind === 'snapshot') {
    replace(state, parts.flatMap((part) => part.snapshot.instances));
  }
  for (const { kind, before, after, reason } of parts.flatMap((part) => part.changes?.changes ?? [])) {
    if (kind === 'DOWN') {
      state.known.delete(before.id);
      console.log('DOWN', before.id, target(before), reason);
    } else {
      state.known.set(after.id, after);
      console.log(kind, after.id, target(after));
    }
  }
}

// Takes a snapshot for what is known. There may have been one before: when the history from its
// revision on is gone, the server begins anew.
function replace(state, instances) {
  const before = state.known;
  state.known = new Map(instances.map((instance) => [instance.id, instance]));
  for (const instance of instances) {
    const old = before.get(instance.id);
    if (!old) console.log('UP', instance.id, target(instance));
    else if (old.modRevision !== instance.modRevision) console.log('CHANGED', instance.id, target(instance));
  }
  for (const [id, instance] of before) {
    if (!state.known.has(id)) console.log('DOWN', id, target(instance), 'REASON_UNSPECIFIED');
  }
}

// Keeps the instance there until the program is told to end, and then takes it away.
//
// A session outlives its stream by the TTL. When the stream breaks, the session is opened again at the
// next member, and whoever watches the service notices nothing.
async function register(given) {
  const end = endOnSignals();
  const session = new Session(given);
  let giveUp = null; // set once the program is to end
  for (let turn = 0; ; turn++) {
    const client = connect(given.endpoints[turn % given.endpoints.length]);
    try {
      await session.hold(client, end);
      console.log('DEREGISTERED', given.id);
      return 0;
    } catch (error) {
      complain(error);
      if (error.code === grpc.status.INVALID_ARGUMENT) return 1; // no member would take it
    } finally {
      client.close();
    }
    if (end.aborted) {
      giveUp ??= Date.now() + given.ttl * 1000;
      if (Date.now() > giveUp) {
        complain(new Error('no member took the end of the session; it has run out by now'));
        return 1;
      }
    }
    await new Promise((resume) => setTimeout(resume, RETRY_PAUSE_MS));
  }
}

// host:port, or a dash when the instance has no address.
function target(instance) {
  return join(instance.address, instance.port);
}

function complain(error) {
  console.error(`typed.js: ${error.message}`);
}

const given = parse();
({ register, resolve, watch })[given.command](given).then((code) => {
  process.exitCode = code;
});
