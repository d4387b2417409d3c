/** What a message's `data` may be. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A message of a channel. */
export interface Message<T = Json> {
  type: "message";
  channel: string;
  data: T;
  /** Opaque, only to be given back as `since`; `null` on brokers without positions. */
  position: string | null;
  id: string;
}

/** Messages of the channel may have been missed: fetch the state again from where it lives. */
export interface Gap {
  type: "gap";
  channel: string;
  /** As the hub says it; `not_recovered`: after a new connection the hub could not say what was missed. */
  cause: string;
}

/** The hub's answer to a subscribe; there is one after each new connection. */
export interface Subscribed {
  channel: string;
  position: string | null;
  /** Everything after the position given was kept, and is delivered after this. */
  recovered: boolean;
}

/** Who somebody is on a channel. Nobody has checked `user` and `info` unless `verified` is true: they are what the client says. */
export interface Member {
  /** One member, however many connections call themselves so. */
  client: string;
  user: string | null;
  info: Json;
  /** There, and true, if `user` and `info` are those of a token or of the operator's backend. */
  verified?: true;
}

/** A member has come to the channel, or left it: once, and only after the hub's grace time. */
export interface Change extends Member {
  type: "join" | "leave";
  channel: string;
}

/** Who is on a channel. */
export interface Roster {
  channel: string;
  /** All of them. */
  count: number;
  /** As many as the hub names in one answer, in no order. */
  members: Member[];
  /** There are others. */
  more: boolean;
}

/** How a subscription is a member of its channel, until it ends. */
export interface Presence {
  /** Printable ASCII, at most 64 bytes. Default: a random one of this `Hubplane`. */
  client?: string;
  /** At most 255 bytes. */
  user?: string;
  /** At most 1,024 bytes of JSON. */
  info?: Json;
}

/** What a subscription wants to hear. All are called one after the other, in the order of what the hub sent. */
export interface Listener<T = Json> {
  message?(message: Message<T>): void;
  gap?(gap: Gap): void;
  subscribed?(subscribed: Subscribed): void;
  /** The subscription is refused for good, and gone. */
  error?(error: HubplaneError): void;
  /** To be a member of the channel; `{}` will do. */
  presence?: Presence;
  /** Somebody has come; one's own coming is told, too. */
  join?(change: Change): void;
  leave?(change: Change): void;
  /**
   * Who is on the channel: asked for after each `subscribed`, and by `askMembers()`. What `join` and `leave` have told
   * before is in it, and what comes after it they tell.
   */
  members?(roster: Roster): void;
  /** The position of the last message that is known already, of a life before this one. */
  since?: string;
}

export interface Subscription {
  readonly channel: string;
  /** Of the last message delivered: to be kept, and given as `since` by the next life. */
  readonly position: string | undefined;
  unsubscribe(): void;
  /** Asks who is on the channel; the answer goes to `members`. */
  askMembers(): void;
}

export interface Published {
  id: string;
  position: string | null;
}

/**
 * `waiting`: for the next attempt. `closed` is the end, and so is `refused`: the hub does not accept the token, nor the one
 * that was fetched after it.
 */
export type State = "connecting" | "open" | "waiting" | "closed" | "refused";

export interface StateChange {
  state: State;
  /** The close code, when a connection ended; `"closed"` after `close()`; the hub's error code when `refused`. */
  code?: number | string;
  reason?: string;
}

/** Why the hub does not accept the token. */
export interface Refusal {
  /** The hub's error code, mostly `unauthorized`. */
  code: string;
  reason: string;
}

/** All times in milliseconds. */
export interface Options {
  /** Makes the socket, where the global `WebSocket` with the subprotocol does not do. */
  socket?(url: string): WebSocket;
  /**
   * What shows who this is: a token or a key, or a function that fetches one. The function is called before each connection,
   * before the token ends, and once more when the hub did not accept one; if it fails, it is called again, with the delays
   * of new attempts. Everything else waits until the hub has accepted the token.
   */
  token?: string | (() => string | Promise<string>);
  /** Before the first new attempt at most; doubled with each. The actual delay is random, from 0. Default 250. */
  minDelay?: number;
  /** Before any new attempt at most. Default 30,000. */
  maxDelay?: number;
  /** A connection that lasted this long counts as good: the delays begin anew. Default 5,000. */
  stable?: number;
  /** For a connection to be made. Default 10,000. */
  connectTimeout?: number;
  /** After this long without any message the hub is pinged. Default 30,000. */
  idle?: number;
  /** For its answer. Default 10,000. */
  pong?: number;
  /** For the acknowledgement of a publish, new connections and repetitions included. Default 30,000. */
  publishTimeout?: number;
  /** Publishes that wait at most; more are refused with `queue_full`. Default 1,000. */
  queue?: number;
  /** Their bytes at most. Default 4 MiB. */
  queueBytes?: number;
  /** Of one publish, all fields together, as the hub takes it. Default 64 KiB. */
  messageBytes?: number;
  /** Ids of each channel that are remembered to drop repetitions. Default 1,000. */
  remember?: number;
}

/**
 * The hub's error codes, and of this client: `queue_full`, `too_large`, `subscribed` (a channel has one subscription),
 * `timeout` (of a publish; it may be published all the same), `closed`.
 */
export class HubplaneError extends Error {
  readonly code: string;
  /** Of the publish: to try again with, so that the hub removes a repetition. */
  readonly id?: string;
}

export class Hubplane extends EventTarget {
  /** Connects, to the next of several addresses at each attempt: `/ws`, `wss://hub.example/ws` or `https:`. */
  constructor(url: string | string[], options?: Options);
  readonly state: State;
  /** Throws where the channel has a subscription already. */
  subscribe<T = Json>(channel: string, listener?: Listener<T>): Subscription;
  /** Resolves when the broker has acknowledged. */
  publish(channel: string, data: unknown, options?: { id?: string; timeout?: number }): Promise<Published>;
  /** Ends it: nothing is delivered any more, and what waits is refused with `closed`. */
  close(): void;
  addEventListener(
    type: "state",
    listener: (event: Event & { readonly detail: StateChange }) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: "refused",
    listener: (event: Event & { readonly detail: Refusal }) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener(
    type: "state",
    listener: (event: Event & { readonly detail: StateChange }) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: "refused",
    listener: (event: Event & { readonly detail: Refusal }) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
}
