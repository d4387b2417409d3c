// Plain broadcast over WebSocket: uWebSockets' topics, as Bun has them, and one Redis channel between the instances. No
// history, no rights, no answers to publishers: what remains when a hub is left out. `plain.ts PORT REDIS-URL`
import { RedisClient } from "bun";

const [port, url] = process.argv.slice(2);
const [sending, receiving] = [new RedisClient(url), new RedisClient(url)];

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(port),
  async fetch(request, server) {
    if (server.upgrade(request)) return;
    await sending.publish("plain", await request.text());
    return new Response("ok");
  },
  websocket: {
    perMessageDeflate: false,
    message(socket, text) {
      if (text[0] === "+") {
        socket.subscribe(text.slice(1));
        socket.send(text);
      } else {
        sending.publish("plain", text);
      }
    },
  },
});

await receiving.subscribe("plain", (text) => {
  const end = text.indexOf(" ");
  server.publish(text.slice(0, end), text.slice(end + 1));
});
console.log(`listening on ${server.url}`);
