// The scenario pairs.toml by k6 and its own WebSocket client: who sits in which room on which hub, who publishes and how
// often are those of `hubplane bench`; everything else is k6's. One virtual user holds all sockets, on one event loop.
//
// Times are microseconds of k6's execution clock. A message says when it was sent; it has come when k6's reader had it
// (the event's timestamp), and is handled when the script has its turn. Both are counted.
import exec from "k6/execution";
import { WebSocket } from "k6/websockets";
import { setTimeout } from "k6/timers";

const number = (name) => Number(__ENV[name]);
const hubs = __ENV.HUBS.split(",");
const [connections, rooms, payload] = ["CONNECTIONS", "CHANNELS", "PAYLOAD"].map(number);
const [rate, warmUp, length] = ["RATE", "WARM_UP", "LENGTH"].map(number);
const each = connections / rooms;

export const options = { scenarios: { rooms: { executor: "per-vu-iterations", vus: 1, iterations: 1, maxDuration: "5m" } } };

const now = () => exec.instance.currentTestRunDuration * 1000;

// From an event's timestamp, milliseconds since 1970, to the execution clock: by the smallest of what a whole
// millisecond's beginning is late.
function offset() {
  let least = Infinity;
  for (let n = 0; n < 50; n++) {
    const before = Date.now();
    let at = before;
    while (at === before) at = Date.now();
    least = Math.min(least, now() - at * 1000);
  }
  return least;
}

function percentiles(times) {
  times.sort();
  const at = (share) => Math.round(times[Math.max(Math.ceil(share * times.length) - 1, 0)]);
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

export default function () {
  const most = Math.ceil(rate * length * 1.1) * each;
  const came = new Float64Array(most), handled = new Float64Array(most);
  const answered = new Float64Array(most);
  const count = { sent: 0, acknowledged: 0, refused: 0, delivered: 0, wrong: 0 };
  const sockets = [], numbers = [];
  let subscribed = 0, shift = 0, begin = Infinity, end = Infinity;
  const counts = (due) => due >= begin && due < end;

  function take(heard, event) {
    const at = now();
    const message = JSON.parse(event.data);
    if (message.type === "message") {
      const [rank, sequence, due] = message.data.split(".").map(Number);
      if (heard[rank] !== undefined && sequence !== heard[rank] + 1) count.wrong++;
      heard[rank] = sequence;
      if (!counts(due)) return;
      came[count.delivered] = event.timestamp * 1000 + shift - due;
      handled[count.delivered++] = at - due;
    } else if (message.type === "published") {
      if (counts(message.ref)) answered[count.acknowledged++] = event.timestamp * 1000 + shift - message.ref;
    } else if (message.type === "subscribed") {
      if (++subscribed === connections) setTimeout(start, 1000);
    } else {
      count.refused++;
    }
  }

  for (let n = 0; n < connections; n++) {
    const room = n % rooms, hub = hubs[(room + Math.floor(n / rooms)) % hubs.length];
    const socket = new WebSocket(`${hub.replace("http", "ws")}/ws?channel=independent.${__ENV.RUN}.${room}`);
    const heard = [];
    socket.onmessage = (event) => take(heard, event);
    socket.onerror = (event) => { throw new Error(`socket ${n}: ${event.error}`); };
    sockets.push(socket);
    numbers.push(0);
  }

  // An open loop: the schedule goes on whatever comes back.
  function start() {
    shift = offset();
    const first = now();
    begin = first + warmUp * 1e6;
    end = begin + length * 1e6;
    let published = 0, said = 0;
    (function step() {
      const at = now();
      if (said < 1 && at >= begin) said = 1, console.log("BEGIN");
      if (at >= end) {
        console.log("END");
        return setTimeout(stop, 2000);
      }
      for (; first + (published * 1e6) / rate <= at; published++) {
        const n = (published * 617) % connections;
        const due = Math.round(now());
        if (counts(due)) count.sent++;
        const mark = `${Math.floor(n / rooms)}.${++numbers[n]}.${due}.`;
        const channel = `independent.${__ENV.RUN}.${n % rooms}`;
        sockets[n].send(`{"type":"publish","ref":${due},"channel":"${channel}","data":"${mark.padEnd(payload - 2, "x")}"}`);
      }
      setTimeout(step, 1);
    })();
  }

  function stop() {
    sockets.forEach((socket) => socket.close());
    const [to, run, back] = [[came, count.delivered], [handled, count.delivered], [answered, count.acknowledged]].map(
      ([times, many]) => percentiles(times.subarray(0, many)),
    );
    const lost = count.acknowledged * each - count.delivered;
    console.log("RESULT " + JSON.stringify({ ...count, lost, perSecond: count.delivered / length, client: to, script: run, acknowledgement: back }));
  }
}
