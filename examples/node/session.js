// A session of the registry: what one process holds. It is the same over all of its streams.
'use strict';

const { randomUUID } = require('node:crypto');
const { split, pause } = require('./options');

// An answer that says no. The session goes on.
class Declined extends Error {
  constructor({ code, message }) {
    super(message);
    this.code = code;
  }
}

class Session {
  constructor(given) {
    const { host, port } = split(given.addr);
    this.id = randomUUID();
    this.lease = '0'; // none yet
    this.announced = null; // the lease that the program's user was told of
    this.ttl = given.ttl;
    this.instance = {
      namespace: given.namespace,
      service: given.service,
      id: given.id,
      address: host,
      port,
    };
  }

  // Opens the session at a member and renews it; closes it when the program is to end. An exception
  // says that another member is to be tried.
  async hold(client, end) {
    this.stream = new Stream(client);
    try {
      const open = { sessionId: this.id, ttl: this.ttl, leaseId: this.lease };
      await this.ask({ open });
      while (!end.aborted) {
        // To register what stands there already changes nothing, so nobody needs to know whether it
        // does.
        await this.register();
        await this.renew(end);
      }
      await this.ask({ close: {} });
    } finally {
      this.stream.end();
    }
  }

  async register() {
    await this.ask({ register: { instance: this.instance } });
    if (this.announced !== this.lease) {
      this.announced = this.lease;
      console.log('REGISTERED', this.instance.id, this.lease);
    }
  }

  // Keeps the session alive until the program is to end, or until it was lost: then it is a new one
  // with nothing in it.
  async renew(end) {
    const { lease } = this;
    while (this.lease === lease) {
      await pause((this.ttl * 1000) / 3, end);
      if (end.aborted) return;
      await this.ask({ heartbeat: {} });
    }
  }

  async ask(request) {
    // A member that does not answer is left while there is still time to ask another one.
    const { opened } = await this.stream.ask(request, Math.max(1000, this.ttl * 500));
    // The answer to open; and to any other request when the session was lost meanwhile.
    if (opened) {
      this.lease = opened.leaseId;
      this.ttl = Number(opened.ttl);
      if (opened.lost) console.error('typed.js: the session was lost, registering again');
    }
  }
}

// Requests and their answers: each has one, in their order.
class Stream {
  constructor(client) {
    this.call = client.session();
    this.seq = 0;
    this.waiting = null;
    this.call.on('data', (answer) => this.settle(null, answer));
    this.call.on('error', (error) => this.settle(error));
    this.call.on('end', () => this.settle(new Error('the member has ended the stream')));
  }

  // The answer to a request. One that does not come in time ends the stream.
  ask(request, timeout) {
    return new Promise((done, failed) => {
      if (this.failure) return failed(this.failure);
      const timer = setTimeout(() => this.settle(new Error('the member does not answer')), timeout);
      this.waiting = (error, answer) => {
        clearTimeout(timer);
        if (error) failed(error);
        else if (answer.error) failed(new Declined(answer.error));
        else done(answer);
      };
      this.seq += 1;
      this.call.write({ seq: this.seq, ...request });
    });
  }

  settle(error, answer) {
    if (error) this.failure ??= error;
    const waiting = this.waiting;
    this.waiting = null;
    waiting?.(error, answer);
  }

  end() {
    this.call.cancel();
  }
}

module.exports = { Session };
