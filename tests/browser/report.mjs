// Opens a report from disk, wide and narrow, in light and dark, and looks for what must not be there.
//
//   node report.mjs FILE DIRECTORY
//
// FILE is what `hubplane bench report --out` wrote; screenshots go to DIRECTORY. Ends with 0 when everything held.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const [file, directory] = process.argv.slice(2);
if (!file || !directory) {
  console.error('usage: node report.mjs FILE DIRECTORY');
  process.exit(2);
}
const url = pathToFileURL(resolve(file)).href;
const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

async function look(browser, width, colorScheme) {
  const name = `${width}-${colorScheme}`;
  // axe is brought in from outside, past the page's own policy.
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, bypassCSP: true });
  const page = await context.newPage();
  const errors = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) errors.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => errors.push(`script: ${error.message}`));
  page.on('request', (request) => {
    if (request.url() !== url && !request.url().startsWith('data:')) errors.push(`asks for ${request.url()}`);
  });
  await page.goto(url);
  await page.screenshot({ path: `${directory}/${name}.png`, fullPage: true });
  assert.equal(await page.locator('script').count(), 0, 'no script');

  const shown = await page.locator('svg[role="img"]:visible').count();
  assert.ok(shown > 4, `${name}: ${shown} charts are shown`);
  // No word of a chart is cut off at its side.
  const cut = await page.locator('svg[role="img"]:visible').evaluateAll((all) => all.flatMap((svg) => {
    const box = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('text')].filter((text) => {
      const { left, right, top, bottom } = text.getBoundingClientRect();
      return left < box.left - 2 || right > box.right + 2 || top < box.top - 2 || bottom > box.bottom + 2;
    }).map((text) => `${svg.getAttribute('aria-label').slice(0, 40)}: ${text.textContent.trim()}`);
  }));
  assert.deepEqual(cut, [], `${name}: words that are cut off`);
  // No two words of a scorecard touch.
  const touching = await page.locator('svg[aria-label*="the scorecard"]:visible').evaluateAll((all) => all.flatMap((svg) => {
    const words = [...svg.querySelectorAll('text')].map((text) => [text.textContent.trim(), text.getBoundingClientRect()]);
    return words.flatMap(([one, a], at) => words.slice(at + 1)
      .filter(([, b]) => a.left < b.right && b.left < a.right && a.top + 2 < b.bottom - 2 && b.top + 2 < a.bottom - 2)
      .map(([other]) => `${one} | ${other}`));
  }));
  assert.deepEqual(touching, [], `${name}: words that touch`);

  await page.evaluate(() => document.querySelectorAll('details').forEach((details) => { details.open = true; }));
  const { wide, view } = await page.evaluate(() => ({
    wide: document.documentElement.scrollWidth, view: document.documentElement.clientWidth,
  }));
  assert.ok(wide <= view, `${name}: ${wide} wide in a window of ${view}`);
  const small = await page.locator('svg[role="img"]:visible text').evaluateAll((all) => Math.min(...all.map((text) =>
    parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a)));
  assert.ok(small >= 9.5, `${name}: the smallest word of a chart has ${small} pixels`);

  await page.addScriptTag({ path: axe });
  const { violations } = await page.evaluate(() => globalThis.axe.run(document));
  const said = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(' | ')}`);
  assert.deepEqual(said, [], `${name}: axe`);
  const bypassed = errors.filter((error) => !error.includes(axe));
  assert.deepEqual(bypassed, [], name);
  await context.close();
  console.log(`ok  ${name}: ${shown} charts`);
}

/** With its own policy in force, the page still says nothing. */
async function strict(browser) {
  const page = await browser.newPage();
  const errors = [];
  page.on('console', (message) => errors.push(message.text()));
  page.on('pageerror', (error) => errors.push(error.message));
  await page.goto(url);
  assert.deepEqual(errors, [], 'with its own policy');
  console.log('ok  nothing is said under its own policy');
}

// Its own home, too: Chromium keeps more than the profile there.
const home = await mkdtemp(join(tmpdir(), 'hubplane-browser-'));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium', timeout: 60_000, env: { ...process.env, HOME: home },
  args: [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync',
  ],
});
try {
  await strict(browser);
  for (const width of [1280, 768, 360]) {
    for (const scheme of ['light', 'dark']) await look(browser, width, scheme);
  }
} finally {
  await browser.close();
  await rm(home, { recursive: true, force: true });
}
