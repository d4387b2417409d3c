// What the JavaScript client weighs, and that its types say what it does.
//
//   node size.mjs

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { buildSync } from 'esbuild';

// A page that shows a token needs its renewal, which must not be each page's own: that is the last 1.25 KiB.
const MOST = 7.25 * 1024;
const here = (path) => fileURLToPath(new URL(path, import.meta.url));

const built = buildSync({
  entryPoints: [here('../../examples/client/hubplane.js')],
  bundle: true, minify: true, format: 'esm', target: 'es2022', write: false,
});
const minified = built.outputFiles[0].contents;
console.log(`hubplane.js: ${minified.length} bytes minified, ${gzipSync(minified).length} compressed`);
assert.ok(minified.length < MOST, `under ${MOST} bytes`);

const compiled = spawnSync(process.execPath, [
  here('node_modules/typescript/bin/tsc'), '--noEmit', '--strict', '--target', 'es2022', '--module', 'nodenext',
  '--lib', 'es2022,dom', here('types.mts'),
], { encoding: 'utf8' });
assert.equal(compiled.status, 0, compiled.stdout);
console.log('ok  a program compiles against its types');
