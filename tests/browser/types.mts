// Compiled, never run: what a program may write with the client's types, and what it must not.

import { Hubplane, HubplaneError, type Change, type Gap, type Message, type Published, type Roster } from '../../examples/client/hubplane.js';

interface Progress {
  progress: number;
}

const hub = new Hubplane(['wss://a.example/ws', '/ws'], { idle: 10_000, socket: (url) => new WebSocket(url) });
hub.addEventListener('state', ({ detail }) => detail.state === 'waiting' && console.log(detail.code, detail.reason));

const known = new Hubplane('/ws', { token: async () => (await fetch('/token')).text() });
known.addEventListener('refused', ({ detail }) => console.log(detail.code, detail.reason, known.state === 'refused'));
new Hubplane('/ws', { token: 'fixed' }).close();

const subscription = hub.subscribe<Progress>('jobs.42', {
  since: localStorage.getItem('position') ?? undefined,
  message: ({ data, position, id }: Message<Progress>) => console.log(data.progress.toFixed(), position, id),
  gap: (gap: Gap) => console.log(gap.cause),
  subscribed: ({ recovered }) => console.log(recovered),
  error: (error) => console.log(error.code),
});
localStorage.setItem('position', subscription.position ?? '');
subscription.unsubscribe();

hub.publish('jobs.42', { cancel: true }, { id: 'req-7', timeout: 1_000 })
  .then(({ position }: Published) => console.log(position))
  .catch((error) => {
    if (error instanceof HubplaneError) void hub.publish('jobs.42', { cancel: true }, { id: error.id });
  });

const members = new Map<string, string | null>();
const room = hub.subscribe('room', {
  presence: { user: 'ann', info: { at: [1, 2] } },
  join: ({ client, user }: Change) => members.set(client, user),
  leave: ({ client }) => members.delete(client),
  members: ({ count, members, more }: Roster) => console.log(count, members[0]?.client, more),
});
room.askMembers();

// @ts-expect-error a client is a text
hub.subscribe('room', { presence: { client: 1 } });
// @ts-expect-error the state is the client's own
hub.state = 'open';
// @ts-expect-error a token is a text
new Hubplane('/ws', { token: () => 1 });
// @ts-expect-error no such option
new Hubplane('/ws', { retries: 3 });
// @ts-expect-error a channel is a text
hub.subscribe(42);
hub.close();
