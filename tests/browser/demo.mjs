// Drives the demo page as a person would, in a headless Chromium, and looks at what it shows.
//
//   node demo.mjs URL DIRECTORY
//
// URL is where `hubplane demo` listens; screenshots go to DIRECTORY. Ends with 0 when everything held.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const [url, directory] = process.argv.slice(2);
if (!url || !directory) {
  console.error('usage: node demo.mjs URL DIRECTORY');
  process.exit(2);
}
const TIMEOUT = 20_000;
const ARGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

const errors = [];
const jobs = (page) => page.locator('#jobs > li');
const holder = (page) => page.locator('.place.holds');
const instance = (page, name) => page.locator(`.place[data-instance="${name}"]`);

/** Waits for a condition in the page; says what was waited for when it does not come. */
async function until(page, what, condition, argument) {
  try {
    await page.waitForFunction(condition, argument, { timeout: TIMEOUT });
  } catch (error) {
    throw new Error(`did not happen: ${what} (${error.message.split('\n')[0]})`);
  }
  console.log(`ok  ${what}`);
}

function ended(page, what, count, state = 'done') {
  const all = ([count, state]) => document.querySelectorAll(`#jobs > li[data-state="${state}"]`).length >= count;
  return until(page, what, all, [count, state]);
}

const connected = (page, what, not = '') => until(page, what, (not) => {
  const holds = document.querySelector('.place.holds');
  return document.querySelector('#link').dataset.state === 'open' && holds && holds.dataset.instance !== not;
}, not);

async function open(context) {
  const page = await context.newPage();
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) errors.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => errors.push(`script: ${error.message}`));
  page.on('request', (request) => {
    const foreign = !request.url().startsWith(url) && !request.url().startsWith('data:');
    if (foreign) errors.push(`fetched from elsewhere: ${request.url()}`);
  });
  page.on('response', (response) => {
    if (response.status() >= 400) errors.push(`${response.status()} ${response.url()}`);
  });
  await page.goto(url);
  return page;
}

async function shoot(page, name) {
  await page.waitForTimeout(name.endsWith('working') ? 0 : 800); // until bars and lamps are at rest
  await page.screenshot({ path: join(directory, `${name}.png`), fullPage: true });
}

/** Five jobs, all of them seen to their end, whoever works. */
async function fiveJobs(page) {
  await connected(page, 'the page has a socket');
  await page.click('#five');
  await until(page, 'five jobs are at work', () => {
    const working = [...document.querySelectorAll('#jobs > li[data-state="working"]')];
    return working.length === 5 && working.every((job) => job.querySelectorAll('.came').length > 2);
  });
  await shoot(page, 'desktop-light-working');
  await ended(page, 'five jobs are done', 5);
  const seen = await page.$$eval('#jobs .steps li', (cells) => cells.map(({ dataset }) => [dataset.worker, dataset.delivered]));
  assert.equal(seen.length, 50);
  assert.ok(seen.every(([worker, by]) => worker && by), 'every message came');
  const across = seen.filter(([worker, by]) => worker !== by).length;
  const workers = new Set(seen.map(([worker]) => worker));
  assert.ok(across >= 2, `working and delivering instance differ at least twice: ${across}`);
  assert.ok(workers.size >= 3, `every instance worked: ${[...workers]}`);
  console.log(`ok  ${across} of 50 messages were delivered by another instance than the one that worked`);
  await shoot(page, 'desktop-light');
}

/** The instance that holds the socket is stopped while jobs run on the others. */
async function stopTheHolder(page) {
  const before = await jobs(page).count();
  const left = await holder(page).getAttribute('data-instance');
  await page.click('#five');
  await until(page, 'five more jobs are at work', (count) => {
    const all = [...document.querySelectorAll('#jobs > li')].slice(0, count);
    return all.length === count && all.every((job) => job.querySelectorAll('.came').length > 1);
  }, 5);
  await instance(page, left).getByRole('button', { name: `Stop ${left}` }).click();
  await connected(page, `the socket moved away from ${left}`, left);
  await until(page, 'every job has ended', (count) => {
    const all = [...document.querySelectorAll('#jobs > li')];
    return all.length === count && all.every((job) => ['done', 'stopped'].includes(job.dataset.state));
  }, before + 5);
  const states = await page.$$eval('#jobs > li', (all) => all.slice(0, 5).map(({ dataset }) => [dataset.worker, dataset.state]));
  for (const [worker, state] of states) {
    assert.equal(state, worker === left ? 'stopped' : 'done', `a job on ${worker} is ${state}`);
  }
  const by = await page.$$eval('#jobs > li[data-state="done"]', (all) =>
    all.map((job) => new Set([...job.querySelectorAll('.came')].map(({ dataset }) => dataset.delivered)).size));
  assert.ok(by.some((count) => count > 1), 'one job was delivered first by one instance, then by another');
  assert.equal(await instance(page, left).getAttribute('data-state'), 'stopped');
  await shoot(page, 'desktop-light-stopped');
  return left;
}

/** Without a mouse: the buttons are reached by Tab, and Enter and Space press them. */
async function byKeyboard(page, stopped) {
  const focused = () => page.evaluate(() => document.activeElement.getAttribute('aria-label') || document.activeElement.textContent);
  const reach = async (name) => {
    for (let i = 0; i < 20; i++) {
      if ((await focused()) === name) return;
      await page.keyboard.press('Tab');
    }
    assert.fail(`Tab does not reach ${name}`);
  };
  await page.evaluate(() => document.activeElement.blur());
  const before = await jobs(page).count();
  const done = await page.locator('#jobs > li[data-state="done"]').count();
  await reach('Start a job');
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.notEqual(outline, 'none', 'the focus is visible');
  await page.keyboard.press('Enter');
  await until(page, 'Enter started a job', (count) => document.querySelectorAll('#jobs > li').length === count, before + 1);
  await ended(page, 'and it is done', done + 1);
  await reach(`Start ${stopped}`);
  await page.keyboard.press('Space');
  await until(page, `${stopped} runs again`, (name) =>
    document.querySelector(`.place[data-instance="${name}"]`).dataset.state === 'running', stopped);
  assert.equal(await focused(), `Stop ${stopped}`, 'the focus stays on the button');
}

/** Nobody is left: the page says so, waits without errors, and goes on once one is back. */
async function stopAll(page) {
  const names = await page.$$eval('.place', (all) => all.map(({ dataset }) => dataset.instance));
  for (const name of names) await page.getByRole('button', { name: `Stop ${name}` }).click();
  await until(page, 'all instances are stopped and the page waits', () =>
    /^no instance is running; connecting again in [1-4] s$/.test(document.querySelector('#link').textContent));
  for (const name of names) await page.getByRole('button', { name: `Start ${name}` }).click();
  await connected(page, 'the page is back once they are');
  await until(page, 'all run', (count) => document.querySelectorAll('.place[data-state="running"]').length === count, names.length);
}

async function onAPhone(browser) {
  for (const colorScheme of ['light', 'dark']) {
    const context = await browser.newContext({
      viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, colorScheme, isMobile: true, hasTouch: true,
    });
    const page = await open(context);
    await connected(page, `a phone (${colorScheme}) has a socket`);
    await page.tap('#five');
    await ended(page, 'five jobs are done on it', 5);
    const [content, view] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(content <= view && view === 360, `no horizontal scrolling: ${content} px in ${view}`);
    const small = await page.$$eval('button', (all) => all.filter((button) => button.offsetHeight < 36).length);
    assert.equal(small, 0, 'buttons are large enough for a finger');
    await shoot(page, `phone-${colorScheme}`);
    await context.close();
  }
}

async function inTheDark(browser) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 900 }, colorScheme: 'dark' });
  const page = await open(context);
  await connected(page, 'a dark page has a socket');
  await page.click('#five');
  await ended(page, 'five jobs are done on it', 5);
  await page.click('summary');
  await shoot(page, 'desktop-dark');
  await context.close();
}

async function run(browser) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 900 }, colorScheme: 'light' });
  const page = await open(context);
  await fiveJobs(page);
  const stopped = await stopTheHolder(page);
  await byKeyboard(page, stopped);
  await stopAll(page);
  await context.close();
  await inTheDark(browser);
  await onAPhone(browser);
  assert.deepEqual(errors, [], 'no error in the console, no failed request, nothing from elsewhere');
  console.log('ok  no error in the console, nothing fetched from elsewhere');
}

await mkdir(directory, { recursive: true });
// Its own home, too: Chromium keeps more than the profile there.
const home = await mkdtemp(join(tmpdir(), 'hubplane-browser-'));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ARGS, timeout: 60_000,
  env: { ...process.env, HOME: home },
});
try {
  await run(browser);
} catch (error) {
  console.error(`FAILED: ${error.message}`);
  for (const line of errors) console.error(`  ${line}`);
  process.exitCode = 1;
} finally {
  await browser.close();
  await rm(home, { recursive: true, force: true });
}
