// How long hubs took, by the kernel's clock: from the packet that published a message to each packet that delivered it.
// node wire.mjs FILE, as `tcpdump -i lo --time-stamp-precision=nano -w FILE` wrote it. Prints deliveries, p50 and p99 in µs.
import { readFileSync } from "node:fs";

const WARM_UP = 1e9; // as long as both tools' own
const bytes = readFileSync(process.argv[2]);
if (bytes.readUInt32LE(0) !== 0xa1b23c4d) throw new Error("no capture with nanoseconds");

const published = new Map(), times = [];
let first;
for (let at = 24, size; at + 16 <= bytes.length; at += 16 + size) {
  size = bytes.readUInt32LE(at + 8);
  const time = (bytes.readUInt32LE(at) - bytes.readUInt32LE(24)) * 1e9 + bytes.readUInt32LE(at + 4);
  const ip = at + 16 + 14; // behind Ethernet's head, which the loopback device has too
  const tcp = ip + (bytes[ip] & 15) * 4;
  const payload = bytes.subarray(tcp + (bytes[tcp + 12] >> 4) * 4, at + 16 + size);
  if (payload[0] === 0x81 && payload[1] === 0xfe) {
    // A client's frame: masked, with a length of two bytes.
    const text = Buffer.from(payload.subarray(8).map((byte, n) => byte ^ payload[4 + (n & 3)])).toString("latin1");
    const mark = /"data":"(\d+\.\d+\.\d+)\./.exec(text);
    first ??= time;
    if (mark) published.set(mark[1], time);
  } else {
    for (const [, mark] of payload.toString("latin1").matchAll(/"type":"message".*?"data":"(\d+\.\d+\.\d+)\./gs)) {
      if (published.get(mark) > first + WARM_UP) times.push((time - published.get(mark)) / 1e3);
    }
  }
}
times.sort((a, b) => a - b);
const at = (share) => times[Math.max(Math.ceil(share * times.length) - 1, 0)];
console.log(times.length, at(0.5).toFixed(0), at(0.99).toFixed(0));
