// How the JavaScript client shows a token and renews it, to a hub that a test plays: node --test token.test.mjs

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { listener, message, play, test } from './played.mjs';

const asked = (socket, type) => socket.sent.filter((one) => one.type === type);
const tokens = (socket) => asked(socket, 'auth').map(({ token }) => token);
const accept = (socket) => socket.say({ type: 'authenticated', ref: socket.last('auth').ref, user: 'ann', expires_in: 60 });
const refuse = (socket, code = 'unauthorized') => socket.say({ type: 'error', ref: socket.last('auth').ref, code, message: 'it has expired' });

async function until(holds, what) {
  for (let i = 0; i < 400 && !holds(); i++) await sleep(5);
  assert.ok(holds(), what);
}

/** A function that fetches tokens t1, t2, …, or what it is told to. */
function source(...answers) {
  const fetch = async () => {
    const answer = answers[fetch.calls++] ?? `t${fetch.calls}`;
    if (answer instanceof Error) throw answer;
    return answer;
  };
  fetch.calls = 0;
  return fetch;
}

test('it shows its token before all else, on each connection a new one', async () => {
  const { hub, sockets, next } = play({ token: source() });
  const c = listener();
  hub.subscribe('c', c);
  hub.publish('c', 1).catch(() => {});
  const a = await next(1);
  a.open();
  hub.subscribe('d');
  assert.deepEqual([hub.state, a.sent.map(({ type }) => type), tokens(a)], ['connecting', ['auth'], ['t1']]);
  a.say({ type: 'authenticated', ref: 999 }); // of something else
  assert.equal(a.sent.length, 1);
  accept(a);
  assert.deepEqual(a.sent.map(({ type }) => type), ['auth', 'subscribe', 'subscribe', 'publish']);
  assert.equal(hub.state, 'open');
  a.accept('c', 'e-0-1');
  for (const code of [1012, 3013]) {
    sockets.at(-1).end(code);
    const one = await next(sockets.length + 1);
    one.open();
    assert.deepEqual(tokens(one), [`t${sockets.length}`]);
    accept(one);
    assert.equal(one.last('subscribe').channel, 'd');
  }
});

test('a fixed token is the same on each connection, and no connection waits for it', async () => {
  const { hub, next } = play({ token: 'fixed' });
  const a = await next(1);
  a.open();
  accept(a);
  a.say({ type: 'expiring', expires_in: 25 });
  a.end(3013);
  const b = await next(2);
  b.open();
  assert.deepEqual([tokens(a), tokens(b)], [['fixed'], ['fixed']]);
  refuse(b);
  assert.deepEqual([hub.state, b.closed], ['refused', true], 'the same again is of no use');
});

test('before its token ends it shows a new one, and the subscriptions go on', async () => {
  const token = source('t1', new Error('away'), 't1', 't2');
  const { hub, sockets, next } = play({ token });
  const c = listener();
  hub.subscribe('c', c);
  const a = await next(1);
  a.open();
  accept(a);
  a.accept('c', 'e-0-0');
  a.say({ type: 'expiring', expires_in: 25 });
  await until(() => tokens(a).length === 2, 'it shows the next token');
  assert.deepEqual(tokens(a), ['t1', 't2'], 'not after an error, and not the same again');
  a.say(message(1));
  accept(a);
  a.say(message(2));
  assert.deepEqual(c.heard, ['subscribed false', 1, 2]);
  assert.deepEqual([asked(a, 'subscribe').length, sockets.length, hub.state, token.calls], [1, 1, 'open', 4]);
});

test('a refused token is fetched once more; then that is the end, and is told', async () => {
  const { hub, sockets, next } = play({ token: source('t1', new Error('away')) });
  const c = listener();
  hub.subscribe('c', c);
  const told = [];
  hub.addEventListener('state', ({ detail }) => told.push(detail));
  hub.addEventListener('refused', ({ detail }) => told.push(detail));
  const waiting = hub.publish('c', 1);
  waiting.catch(() => {});
  const a = await next(1);
  a.open();
  refuse(a);
  await until(() => tokens(a).length === 2, 'it shows another one');
  accept(a);
  a.accept('c', 'e-0-0');
  a.say({ type: 'expiring', expires_in: 25 });
  await until(() => tokens(a).length === 3, 'the next');
  refuse(a);
  await until(() => tokens(a).length === 4, 'once more');
  refuse(a);
  const detail = { code: 'unauthorized', reason: 'it has expired' };
  assert.deepEqual(told.slice(-2), [{ state: 'refused', ...detail }, detail]);
  assert.deepEqual([hub.state, a.closed, c.heard.at(-1)], ['refused', true, 'error unauthorized']);
  await assert.rejects(waiting, { code: 'unauthorized' });
  await assert.rejects(hub.publish('c', 1), { code: 'closed' });
  hub.close();
  await sleep(20);
  assert.deepEqual([hub.state, sockets.length], ['refused', 1]);
});

test('the same token again after a refusal is not shown', async () => {
  const { hub, next } = play({ token: () => 'same' });
  const a = await next(1);
  a.open();
  refuse(a, 'unavailable');
  await until(() => tokens(a).length === 2, 'whoever checks tokens was away: the same may do later');
  refuse(a);
  await until(() => hub.state === 'refused', 'refused');
  assert.deepEqual(tokens(a), ['same', 'same']);
});

test('a function that fails or hangs is called again, and no connection is made without a token', async () => {
  const reasons = [];
  let calls = 0;
  const token = () => {
    calls += 1;
    if (calls === 1) throw new Error('away');
    if (calls === 2) return new Promise(() => {});
    return calls === 3 ? undefined : 'good';
  };
  const { hub, sockets, next } = play({ token, connectTimeout: 30 });
  hub.addEventListener('state', ({ detail }) => detail.reason && reasons.push(detail.reason));
  const a = await next(1);
  assert.deepEqual(reasons, ['no token: Error: away', 'no answer', 'no token: TypeError: a token is a text']);
  a.open();
  assert.deepEqual([tokens(a), sockets.length], [['good'], 1]);
  await next(2); // the hub does not answer to it in time
});

test('a client that is closed while it fetches does not connect', async () => {
  let give;
  const { hub, sockets } = play({ token: () => new Promise((done) => { give = done; }) });
  hub.close();
  give('late');
  await sleep(20);
  assert.deepEqual([hub.state, sockets.length], ['closed', 0]);
});

test('somebody who operates the hub ends it for good; a subscription that a new token does not allow ends alone', async () => {
  const { hub, next } = play({ token: source() });
  const [c, d] = [listener(), listener()];
  hub.subscribe('c', c);
  hub.subscribe('d', d);
  const a = await next(1);
  a.open();
  accept(a);
  a.accept('c', null);
  a.accept('d', null);
  a.say({ type: 'error', code: 'forbidden', message: 'not with this token' });
  a.say({ type: 'unsubscribed', channel: 'c' });
  a.say(message(1, 'd'));
  assert.deepEqual([c.heard.at(-1), d.heard.at(-1)], ['error forbidden', 1]);
  const told = [];
  hub.addEventListener('state', ({ detail }) => told.push(detail));
  a.end(3500, 'logged out');
  assert.deepEqual(told, [{ state: 'closed', code: 3500, reason: 'logged out' }]);
});
