// What both examples share: the command line, and addresses.
'use strict';

const { parseArgs } = require('node:util');

const COMMANDS = ['register', 'resolve', 'watch'];

// The command and its options.
function parse() {
  const text = (value) => ({ type: 'string', default: value });
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      endpoints: text('127.0.0.1:2379'), // members, host:port,...
      namespace: text('default'),
      service: text(''),
      id: text(''), // of the instance; its address when left out
      addr: text(''), // host:port where the instance is called
      ttl: text('15'), // seconds that the instance outlives its process
    },
  });
  const [command] = positionals;
  if (!COMMANDS.includes(command) || positionals.length !== 1) {
    usage(`give one of ${COMMANDS.join(', ')}`);
  }
  if (!values.service) usage('--service is missing');
  if (command === 'register' && !split(values.addr)) usage('--addr has to be host:port');
  const { namespace, service, addr } = values;
  const endpoints = values.endpoints.split(',');
  return { command, endpoints, namespace, service, addr, id: values.id || addr, ttl: Number(values.ttl) };
}

function usage(message) {
  console.error(message);
  process.exit(2);
}

// host:port, with brackets around an IPv6 address, as its parts; null of anything else.
function split(addr) {
  const parts = /^\[?([^\]]+)\]?:(\d+)$/.exec(addr);
  return parts && { host: parts[1], port: Number(parts[2]) };
}

// host:port, or a dash when there is no host.
function join(host, port) {
  if (!host) return '-';
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

// A signal that is aborted when the program is told to end.
function endOnSignals() {
  const end = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT']) process.on(name, () => end.abort());
  return end.signal;
}

// Waits, or until the program is to end.
function pause(milliseconds, end) {
  return new Promise((resolve) => {
    if (end.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      end.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    end.addEventListener('abort', done);
  });
}

module.exports = { parse, split, join, endOnSignals, pause };
