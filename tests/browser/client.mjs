// The JavaScript client in a headless Chromium, while the hub that it is connected to is killed.
//
//   node client.mjs URL-A PID-A URL-B
//
// Two hubs on one broker that keeps a log. The page is connected to A; numbered messages are published through B, and in
// the midst of them A gets SIGKILL. Ends with 0 when the page got every message once, in order, and no gap.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium } from 'playwright-core';

const [a, pid, b] = process.argv.slice(2);
if (!a || !Number(pid) || !b) {
  console.error('usage: node client.mjs URL-A PID-A URL-B');
  process.exit(2);
}
const MESSAGES = 200;
const KILL_AT = 70;
const TIMEOUT = 30_000;
const ARGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

/** Serves the page and the client's file as it is. */
async function serve() {
  const script = await readFile(new URL('../../examples/client/hubplane.js', import.meta.url));
  const server = createServer(({ url }, response) => {
    const [type, body] = url === '/hubplane.js' ? ['text/javascript', script] : ['text/html', '<!doctype html><title>client</title>'];
    response.setHeader('content-type', type);
    response.end(body);
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  return server;
}

/** In the page: connects, and writes down everything. */
async function listen(urls) {
  const { Hubplane } = await import('/hubplane.js');
  const seen = { numbers: [], gaps: [], recovered: [], states: [], published: [] };
  const hub = new Hubplane(urls);
  hub.addEventListener('state', ({ detail }) => seen.states.push(detail.state));
  hub.subscribe('numbers', {
    message: ({ data }) => seen.numbers.push(data),
    gap: ({ cause }) => seen.gaps.push(cause),
    subscribed: ({ recovered }) => seen.recovered.push(recovered),
  });
  Object.assign(globalThis, { hub, seen });
}

async function publish(n) {
  const response = await fetch(`${b}/v1/publish`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ channel: 'numbers', data: n }),
  });
  assert.equal(response.status, 200, await response.text());
}

async function run(page) {
  await page.evaluate(listen, [a, b].map((url) => `${url}/ws`));
  await page.waitForFunction(() => globalThis.seen.recovered.length === 1, null, { timeout: TIMEOUT });
  console.log('ok  the page is subscribed, at the first hub');
  for (let n = 0; n < MESSAGES; n++) {
    if (n === KILL_AT) process.kill(Number(pid), 'SIGKILL');
    await publish(n);
    await sleep(5);
  }
  // Through the page's own socket, and kept until there is one.
  await page.evaluate((n) => globalThis.hub.publish('numbers', n), MESSAGES);
  try {
    await page.waitForFunction((n) => globalThis.seen.numbers.includes(n), MESSAGES, { timeout: TIMEOUT });
  } finally {
    const seen = await page.evaluate(() => globalThis.seen);
    console.log(`    ${seen.numbers.length} messages, recovered ${seen.recovered}, states ${seen.states}, gaps [${seen.gaps}]`);
    globalThis.seen = seen;
  }
  const { numbers, gaps, recovered, states } = globalThis.seen;
  assert.ok(states.includes('waiting'), 'the connection was lost');
  assert.deepEqual(recovered, [false, true], 'the second hub gave what was missed');
  assert.deepEqual(gaps, []);
  assert.deepEqual(numbers, Array.from({ length: MESSAGES + 1 }, (_, n) => n), 'every message once, in order');
  console.log(`ok  ${numbers.length} messages across the death of a hub, each once, in order, without a gap`);
}

const server = await serve();
const home = await mkdtemp(join(tmpdir(), 'hubplane-browser-'));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ARGS, timeout: 60_000,
  env: { ...process.env, HOME: home },
});
const errors = [];
try {
  const page = await browser.newPage();
  page.on('pageerror', (error) => errors.push(`script: ${error.message}`));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await run(page);
  assert.deepEqual(errors, []);
} catch (error) {
  console.error(`FAILED: ${error.message}`, ...errors);
  process.exitCode = 1;
} finally {
  await browser.close();
  server.close();
  await rm(home, { recursive: true, force: true });
}
