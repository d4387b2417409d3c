// A hub that a test plays to the JavaScript client, and what the client's tests share.

import assert from 'node:assert/strict';
import { test as run } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Hubplane } from '../../examples/client/hubplane.js';

/** The clients of the test that runs. */
const clients = [];

/** Closes every client at the test's end, also when it fails: their timers would keep the process alive. */
export const test = (name, body) => run(name, async (t) => {
  try {
    await body(t);
  } finally {
    for (const client of clients.splice(0)) client.close();
  }
});

/** Both ends: what the client opens, and what it sent on each. */
export function play(options = {}, urls = ['ws://a/ws', 'ws://b/ws']) {
  const sockets = [];
  const socket = (url) => {
    const one = { url, sent: [], closed: false, send: (text) => one.sent.push(JSON.parse(text)), close: () => { one.closed = true; } };
    one.open = () => one.onopen({});
    one.say = (message) => one.onmessage({ data: JSON.stringify(message) });
    one.end = (code = 1006, reason = '') => one.onclose({ code, reason });
    one.last = (type) => one.sent.filter((message) => message.type === type).at(-1);
    one.accept = (channel, position, recovered = false) => {
      const { ref } = one.sent.filter((message) => message.type === 'subscribe' && message.channel === channel).at(-1);
      one.say({ type: 'subscribed', ref, channel, position, recovered });
    };
    sockets.push(one);
    return one;
  };
  const hub = new Hubplane(urls, { minDelay: 1, socket, ...options });
  clients.push(hub);
  const next = async (count) => {
    for (let i = 0; i < 200 && sockets.length < count; i++) await sleep(5);
    assert.equal(sockets.length, count, 'it connects again');
    return sockets.at(-1);
  };
  return { hub, sockets, next };
}

/** A listener that writes down what it heard. */
export function listener(since) {
  const heard = [];
  return {
    heard, since,
    message: ({ data }) => heard.push(data),
    gap: ({ cause }) => heard.push(`gap ${cause}`),
    subscribed: ({ recovered }) => heard.push(`subscribed ${recovered}`),
    error: ({ code }) => heard.push(`error ${code}`),
  };
}

export const message = (n, channel = 'c') => ({ type: 'message', channel, data: n, position: `e-0-${n}`, id: `i${n}` });
