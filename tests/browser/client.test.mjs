// The JavaScript client against a hub that a test plays: node --test client.test.mjs

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { listener, message, play, test } from './played.mjs';

test('after a lost connection it goes on where it was, at the next address, without repetitions', async () => {
  const { hub, sockets, next } = play();
  const c = listener();
  const subscription = hub.subscribe('c', c);
  const [a] = sockets;
  a.open();
  const { ref, ...asked } = a.last('subscribe');
  assert.deepEqual([typeof ref, asked], ['number', { type: 'subscribe', channel: 'c' }]);
  a.accept('c', 'e-0-0');
  a.say(message(1));
  a.say(message(2));
  a.say(message(2));
  a.end();
  assert.equal(hub.state, 'waiting');
  const b = await next(2);
  assert.equal(b.url, 'ws://b/ws');
  b.open();
  assert.equal(b.last('subscribe').since, 'e-0-2');
  b.say(message(9)); // before the answer: not of this subscription
  b.accept('c', 'e-0-2', true);
  b.say(message(2));
  b.say(message(3));
  assert.deepEqual(c.heard, ['subscribed false', 1, 2, 'subscribed true', 3]);
  assert.equal(subscription.position, 'e-0-3');
  hub.close();
});

test('what could not be recovered is a gap, also on brokers without positions', async () => {
  const { hub, sockets, next } = play();
  const [c, d, e] = [listener(), listener(), listener('e-0-5')];
  hub.subscribe('c', c);
  hub.subscribe('d', d);
  hub.subscribe('e', e);
  sockets[0].open();
  sockets[0].accept('c', 'e-0-1');
  sockets[0].accept('d', null);
  sockets[0].accept('e', 'e-0-9', false);
  assert.deepEqual(e.heard, ['gap not_recovered', 'subscribed false']);
  sockets[0].say({ type: 'gap', channel: 'c', cause: 'overflow' });
  sockets[0].end(1012);
  const b = await next(2);
  b.open();
  b.accept('c', 'f-0-7', false);
  b.accept('d', null);
  assert.deepEqual(c.heard, ['subscribed false', 'gap overflow', 'gap not_recovered', 'subscribed false']);
  assert.deepEqual(d.heard, ['subscribed false', 'gap not_recovered', 'subscribed false']);
  b.end();
  const a = await next(3);
  a.open();
  assert.equal(a.sent.find(({ channel }) => channel === 'c').since, 'f-0-7', 'it goes on from where the channel stands now');
  hub.close();
});

test('who may not read the past goes on without it, and is told', async () => {
  const { hub, sockets, next } = play();
  const [c, d] = [listener(), listener('e-0-1')];
  hub.subscribe('c', c);
  hub.subscribe('d', d);
  sockets[0].open();
  sockets[0].accept('c', 'e-0-1');
  const forbid = (socket, channel) => {
    const { ref } = socket.sent.filter((one) => one.channel === channel).at(-1);
    socket.say({ type: 'error', ref, code: 'forbidden', message: 'not the past' });
  };
  forbid(sockets[0], 'd'); // the program's own wish is refused as it is
  assert.deepEqual(d.heard, ['error forbidden']);
  sockets[0].end();
  const b = await next(2);
  b.open();
  assert.equal(b.last('subscribe').since, 'e-0-1');
  forbid(b, 'c');
  assert.equal(b.last('subscribe').since, undefined);
  b.accept('c', 'e-0-9');
  assert.deepEqual(c.heard, ['subscribed false', 'gap not_recovered', 'subscribed false']);
  b.end();
  const a = await next(3);
  a.open();
  forbid(a, 'c');
  forbid(a, 'c');
  assert.equal(c.heard.at(-1), 'error forbidden', 'and not even what comes');
});

test('a publish is kept, sent again with the same id and in order, and answered once', async () => {
  const { hub, sockets, next } = play();
  const first = hub.publish('c', 1);
  const second = hub.publish('c', 2, { id: 'mine' });
  sockets[0].open();
  const sent = sockets[0].sent.map(({ data, id }) => [data, id]);
  assert.deepEqual(sent.map(([data]) => data), [1, 2]);
  sockets[0].end();
  const b = await next(2);
  b.open();
  assert.deepEqual(b.sent.map(({ data, id }) => [data, id]), sent);
  const [one, two] = b.sent.map(({ ref }) => ref);
  b.say({ type: 'error', ref: one, code: 'unavailable', message: 'away' });
  await sleep(20);
  assert.deepEqual(b.sent.slice(2).map(({ data }) => data), [1]);
  b.say({ type: 'published', ref: two, position: 'e-0-2' });
  b.say({ type: 'published', ref: one, position: null });
  assert.deepEqual([await first, await second], [{ id: sent[0][1], position: null }, { id: 'mine', position: 'e-0-2' }]);
  hub.close();
});

test('what is too much is refused, and what the hub refuses is said', async () => {
  const { hub, sockets } = play({ queue: 20, publishTimeout: 60, messageBytes: 1_000 });
  await assert.rejects(hub.publish('c', 'x'.repeat(1_000)), { code: 'too_large' });
  const all = Array.from({ length: 20 }, (_, n) => hub.publish('c', n));
  for (const one of all) one.catch(() => {});
  await assert.rejects(hub.publish('c', 20), { code: 'queue_full' });
  const c = listener();
  hub.subscribe('c', c);
  assert.throws(() => hub.subscribe('c'), { code: 'subscribed' });
  sockets[0].open();
  const published = sockets[0].sent.filter(({ type }) => type === 'publish');
  assert.equal(published.length, 15, 'so many at once');
  sockets[0].say({ type: 'error', ref: published[0].ref, code: 'forbidden', message: 'no' });
  await assert.rejects(all[0], { code: 'forbidden' });
  assert.equal(sockets[0].sent.filter(({ type }) => type === 'publish').length, 16);
  await assert.rejects(all[19], { code: 'timeout' });
  sockets[0].say({ type: 'error', ref: sockets[0].last('subscribe').ref, code: 'limit_reached', message: 'no' });
  assert.deepEqual(c.heard, ['error limit_reached']);
  hub.close();
});

test('a subscription that the hub ends is gone, and may be asked for again', () => {
  const { hub, sockets } = play();
  const c = listener();
  hub.subscribe('c', c);
  sockets[0].open();
  sockets[0].accept('c', null);
  sockets[0].say({ type: 'error', code: 'rejected', message: 'c: forbidden' });
  sockets[0].say({ type: 'unsubscribed', channel: 'c' });
  assert.deepEqual(c.heard, ['subscribed false', 'error rejected']);
  const again = listener();
  hub.subscribe('c', again);
  sockets[0].accept('c', null);
  assert.deepEqual(again.heard, ['subscribed false']);
  hub.close();
});

test('a subscription that the broker could not take is asked for again; one given up is not', async () => {
  const { hub, sockets } = play();
  const c = listener();
  hub.subscribe('c', c);
  sockets[0].open();
  sockets[0].say({ type: 'error', ref: sockets[0].last('subscribe').ref, code: 'unavailable', message: 'away' });
  await sleep(20);
  assert.equal(sockets[0].sent.length, 2);
  sockets[0].accept('c', null);
  assert.deepEqual(c.heard, ['subscribed false']);
  const given = listener();
  const subscription = hub.subscribe('d', given);
  subscription.unsubscribe();
  assert.equal(sockets[0].last('unsubscribe').channel, 'd');
  const anew = listener();
  hub.subscribe('d', anew);
  sockets[0].say({ type: 'subscribed', ref: sockets[0].last('unsubscribe').ref - 1, channel: 'd', position: null, recovered: false });
  sockets[0].say(message(1, 'd')); // still of the first
  sockets[0].accept('d', null);
  sockets[0].say(message(2, 'd'));
  assert.deepEqual([given.heard, anew.heard], [[], ['subscribed false', 2]]);
  hub.close();
});

test('a member says who it is on each connection, hears of the others, and asks who is there', async () => {
  const { hub, sockets, next } = play();
  const heard = [];
  const room = hub.subscribe('room', {
    presence: { user: 'ann', info: [1] },
    join: ({ client, info }) => heard.push(`+${client} ${info}`),
    leave: ({ client }) => heard.push(`-${client}`),
    members: ({ count }) => heard.push(`of ${count}`),
  });
  hub.subscribe('other', { presence: { client: 'me' } });
  hub.subscribe('watched', { leave: () => {} });
  hub.subscribe('plain', {});
  const asks = (socket) => Object.fromEntries(socket.sent.filter(({ type }) => type === 'subscribe').map(({ channel, presence }) => [channel, presence]));
  const questions = (socket) => socket.sent.filter(({ type }) => type === 'presence');
  const answer = (ref, count) => ({ type: 'presence', ref, channel: 'room', count, members: [], more: true });
  room.askMembers();
  const [a] = sockets;
  a.open();
  const { room: { client, ...said }, ...others } = asks(a);
  assert.match(client, /^[0-9a-f]{24}$/);
  assert.deepEqual(said, { user: 'ann', info: [1], watch: true });
  assert.deepEqual(others, { other: { client: 'me', watch: false }, watched: { watch: true }, plain: undefined });
  assert.deepEqual(questions(a), [], 'not yet');
  a.say({ type: 'join', channel: 'room', client: 'early', user: null, info: null });
  a.accept('room', null);
  a.accept('plain', null);
  assert.deepEqual(questions(a).map(({ channel }) => channel), ['room']);
  a.say({ type: 'join', channel: 'room', client: 'b', user: null, info: 7 });
  a.say({ type: 'error', ref: questions(a)[0].ref, code: 'unavailable', message: 'later' });
  await sleep(30);
  assert.equal(questions(a).length, 2, 'asked again');
  a.end();
  const b = await next(2);
  b.open();
  assert.deepEqual(asks(b), asks(a), 'the same client: it was never away');
  b.accept('room', null);
  b.say(answer(questions(a)[1].ref, 7));
  b.say(answer(questions(b)[0].ref, 9));
  b.say({ type: 'leave', channel: 'room', client: 'b', user: null, info: 7 });
  room.askMembers();
  b.say(answer(questions(b)[1].ref, 8));
  assert.deepEqual(heard, ['+b 7', 'of 9', '-b', 'of 8']);
  hub.close();
});

test('a silent connection is asked, then given up; one that is never made as well', async () => {
  const { hub, sockets, next } = play({ idle: 30, pong: 30, connectTimeout: 50 });
  sockets[0].open();
  await sleep(45);
  assert.deepEqual(sockets[0].sent, [{ type: 'ping' }]);
  sockets[0].say({ type: 'pong' });
  const b = await next(2);
  assert.ok(sockets[0].closed);
  assert.ok(sockets[0].sent.length >= 2, 'asked again before it was given up');
  await next(3);
  assert.ok(b.closed, 'not made in time');
  hub.close();
});

test('codes from 3500 and from 4500 are the end', async () => {
  for (const [code, ends] of [[1008, false], [3012, false], [3501, true], [4000, false], [4500, true]]) {
    const { hub, sockets } = play();
    const c = listener();
    hub.subscribe('c', c);
    const states = [];
    hub.addEventListener('state', ({ detail }) => states.push([detail.state, detail.code]));
    const waiting = hub.publish('c', 1);
    waiting.catch(() => {});
    sockets[0].open();
    sockets[0].end(code);
    assert.equal(hub.state, ends ? 'closed' : 'waiting', `${code}`);
    assert.deepEqual(states, [['open', undefined], [hub.state, code]]);
    if (ends) {
      await assert.rejects(waiting, { code: 'closed' });
      await assert.rejects(hub.publish('c', 1), { code: 'closed' });
      assert.deepEqual(c.heard, ['error closed']);
    }
    hub.close();
  }
});

test('delays are random and double up to the limit, and begin anew after a good connection', async (t) => {
  t.mock.method(Math, 'random', () => 1);
  const delays = [];
  const real = globalThis.setTimeout;
  t.mock.method(globalThis, 'setTimeout', (then, delay) => {
    if (delay < 10_000) delays.push(delay);
    return real(then, delay < 10_000 ? 0 : delay);
  });
  const { hub, next } = play({ minDelay: 250, maxDelay: 3_000, stable: 30 });
  for (let n = 1; n <= 6; n++) (await next(n)).end();
  const good = await next(7);
  good.open();
  await new Promise((done) => real(done, 40));
  good.end();
  assert.deepEqual(delays.filter((delay) => delay >= 250), [250, 500, 1_000, 2_000, 3_000, 3_000, 250]);
  hub.close();
});
