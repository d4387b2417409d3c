/**
 * A client of hubplane for browsers and Node: connects again when the connection ends, resubscribes from where it was,
 * drops repetitions, shows its token and renews it, and says when something may have been missed. README.md has the how-to, hubplane.d.ts the types.
 */

const DEFAULTS = {
  socket: (url) => new WebSocket(url, "hubplane.v1.json"),
  minDelay: 250,
  maxDelay: 30_000,
  stable: 5_000,
  connectTimeout: 10_000,
  idle: 30_000,
  pong: 10_000,
  publishTimeout: 30_000,
  queue: 1_000,
  queueBytes: 4 << 20,
  messageBytes: 64 << 10,
  remember: 1_000,
};

/** Publishes that wait for their answer at once: with the largest messages still less than the hub takes in a burst. */
const WINDOW = 15;

const again = (code) => code < 3500 || (code >= 4000 && code < 4500);
const temporary = (code) => code === "unavailable" || code === "unknown";

/**
 * For ids, which must differ but need not be secret. randomUUID is there in secure contexts only, and Node 18 has no global
 * `crypto` at all.
 */
function randomBytes(count) {
  if (globalThis.crypto) return [...crypto.getRandomValues(new Uint8Array(count))];
  return Array.from({ length: count }, () => Math.floor(Math.random() * 256));
}

export class HubplaneError extends Error {
  constructor(code, message, id) {
    super(message);
    this.name = "HubplaneError";
    this.code = code;
    this.id = id;
  }
}

export class Hubplane extends EventTarget {
  #options;
  #urls;
  #turn = 0;
  #state;
  #socket;
  #attempt = 0;
  #opened = 0;
  #seen = 0;
  #pinged = false;
  #timer; // the next attempt, or the watch over the connection
  #held; // while it is set, the broker is given time before the next publish
  #reference = 0;
  #subscriptions = new Map(); // by channel
  #publishes = new Map(); // by reference, and so in order
  #bytes = 0;
  #ids;
  #over = false;
  #life = 0; // counts connections, so that a token fetched for one is not shown on the next
  #token; // the last one shown
  #proof = 0; // the `auth` that waits for its answer
  #proven = -Infinity; // when a token was accepted last
  #retried = false; // a token was refused, and the next one is the last try
  #renewal; // the timer of the next fetch
  #renewals = 0;
  #warning; // the hub's last error that answers nothing: why it then ends a subscription
  #online = () => this.#state === "waiting" && this.#connect();

  constructor(url, options) {
    super();
    this.#options = { ...DEFAULTS, ...options };
    this.#urls = [url].flat().map((one) => new URL(one, globalThis.location?.href).href.replace(/^http/, "ws"));
    this.#ids = randomBytes(12).map((byte) => (byte + 256).toString(16).slice(1)).join("");
    globalThis.addEventListener?.("online", this.#online);
    this.#connect();
  }

  get state() {
    return this.#state;
  }

  subscribe(channel, on = {}) {
    this.#living();
    if (this.#subscriptions.has(channel)) throw new HubplaneError("subscribed", `already subscribed to ${channel}`);
    const watch = !!(on.join || on.leave);
    const presence = on.presence ? { client: this.#ids, ...on.presence, watch } : watch ? { watch } : undefined;
    const subscription = { channel, on, presence, position: on.since, expects: !!on.since, live: false, recent: new Set(), tries: 0 };
    this.#subscriptions.set(channel, subscription);
    this.#ask(subscription);
    return {
      channel,
      get position() {
        return subscription.position;
      },
      askMembers: () => this.#inquire(subscription),
      unsubscribe: () => {
        if (this.#subscriptions.get(channel) !== subscription) return;
        this.#subscriptions.delete(channel);
        // With a ref, so that an answer without one is the hub's own doing.
        this.#send({ type: "unsubscribe", ref: ++this.#reference, channel });
      },
    };
  }

  async publish(channel, data, { id, timeout } = {}) {
    this.#living();
    const ref = ++this.#reference;
    id ??= `${this.#ids}-${ref.toString(36)}`;
    const frame = JSON.stringify({ type: "publish", ref, channel, data, id });
    const bytes = new TextEncoder().encode(frame).length;
    const { messageBytes, queue, queueBytes, publishTimeout } = this.#options;
    if (bytes > messageBytes) throw new HubplaneError("too_large", `${bytes} bytes, of at most ${messageBytes}`, id);
    if (this.#publishes.size >= queue || this.#bytes + bytes > queueBytes) {
      throw new HubplaneError("queue_full", "too many publishes wait already", id);
    }
    return new Promise((resolve, reject) => {
      const late = () => this.#fail(publish, "timeout", "no acknowledgement in time; it may be published all the same");
      const timer = setTimeout(late, timeout ?? publishTimeout);
      const publish = { ref, id, frame, bytes, timer, resolve, reject, sent: false, tries: 0 };
      this.#publishes.set(ref, publish);
      this.#bytes += bytes;
      this.#flush();
    });
  }

  close() {
    this.#end("closed", "closed by this side");
  }

  #living() {
    if (this.#over) throw new HubplaneError("closed", "this client is closed");
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#pinged = true; // nothing is there to be pinged: the first silence ends it
    this.#seen = -Infinity;
    this.#watch(this.#options.connectTimeout);
    if (this.#options.token == null) return this.#dial();
    this.#become("connecting");
    this.#fetch((token) => this.#dial(token), (error) => this.#lost(1006, `no token: ${error}`));
  }

  #dial(token) {
    try {
      const socket = (this.#socket = this.#options.socket(this.#urls[this.#turn++ % this.#urls.length]));
      socket.onopen = () => (token === undefined ? this.#open() : this.#authenticate(token));
      socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
      socket.onclose = ({ code, reason }) => this.#lost(code, reason);
      if (this.#state !== "connecting") this.#become("connecting");
    } catch (error) {
      this.#lost(1006, `${error}`);
    }
  }

  /** Fetches a token, and forgets it if the connection that it is for ends first. */
  #fetch(then, failed) {
    const life = this.#life;
    const alive = (next) => (value) => life === this.#life && next(value);
    const fetch = async () => {
      const { token } = this.#options;
      const text = await (token.call ? token() : token);
      if (typeof text !== "string") throw new TypeError("a token is a text");
      return text;
    };
    fetch().then(alive(then), alive(failed));
  }

  #authenticate(token) {
    this.#token = token;
    this.#proof = ++this.#reference;
    this.#socket.send(JSON.stringify({ type: "auth", ref: this.#proof, token }));
  }

  #authenticated() {
    if (performance.now() - this.#proven >= this.#options.stable) this.#renewals = 0;
    this.#proven = performance.now();
    this.#proof = 0;
    this.#retried = false;
    if (this.#state === "connecting") this.#open();
  }

  /** Fetches another token meanwhile. The delay grows where that fails or brings the same token, or one that ends at once. */
  #renew(same = () => this.#renew()) {
    clearTimeout(this.#renewal);
    const shows = (token) => (token === this.#token ? same() : this.#authenticate(token));
    this.#renewal = setTimeout(() => this.#fetch(shows, () => this.#renew(same)), this.#delay(this.#renewals++));
  }

  #unproven({ code, message }) {
    this.#proof = 0;
    const refused = temporary(code) ? undefined : () => this.#end(code, message, "refused");
    if (!refused) this.#token = undefined; // so that the same one is shown again
    else if (this.#retried || !this.#options.token.call) return refused();
    else this.#retried = true;
    this.#renew(refused);
  }

  #open() {
    this.#opened = this.#seen = performance.now();
    this.#pinged = false;
    this.#watch(this.#options.idle);
    this.#state = "open";
    for (const subscription of this.#subscriptions.values()) this.#ask(subscription);
    this.#flush();
    this.#become("open");
  }

  /** Looks after a while whether anything came; asks the hub, then gives the connection up. */
  #watch(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const { idle, pong } = this.#options;
      const quiet = performance.now() - this.#seen;
      if (quiet < idle) return this.#watch(idle - quiet);
      if (this.#pinged) return this.#lost(1006, "no answer");
      this.#pinged = true;
      this.#send({ type: "ping" });
      this.#watch(pong);
    }, delay);
  }

  #detach(code) {
    for (const timer of [this.#timer, this.#held, this.#renewal]) clearTimeout(timer);
    this.#held = this.#proof = 0;
    this.#life++;
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    // What a dead connection says later is not waited for.
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code);
  }

  #lost(code, reason) {
    this.#detach();
    if (!again(code)) return this.#end(code, reason);
    for (const publish of this.#publishes.values()) publish.sent = false;
    for (const subscription of this.#subscriptions.values()) subscription.live = false;
    if (this.#opened && performance.now() - this.#opened >= this.#options.stable) this.#attempt = 0;
    this.#opened = 0;
    this.#timer = setTimeout(() => this.#connect(), this.#delay(this.#attempt++));
    this.#become("waiting", { code, reason });
  }

  #end(code, reason, state = "closed") {
    if (this.#over) return;
    this.#over = true;
    this.#detach(1000);
    globalThis.removeEventListener?.("online", this.#online);
    const subscriptions = [...this.#subscriptions.values()];
    this.#subscriptions.clear();
    this.#state = state;
    const failure = state === "refused" ? [code, reason] : ["closed", `${code} ${reason}`];
    for (const publish of [...this.#publishes.values()]) this.#fail(publish, ...failure);
    this.#become(state, { code, reason });
    if (state === "refused") this.#tell(state, { code, reason });
    if (code !== "closed") for (const { on } of subscriptions) on.error?.(new HubplaneError(...failure));
  }

  /** Anything from nothing to the limit: so that those who lost one hub do not all come back at once. */
  #delay(attempt) {
    return Math.random() * Math.min(this.#options.maxDelay, this.#options.minDelay * 2 ** attempt);
  }

  #become(state, more) {
    this.#state = state;
    this.#tell("state", { state, ...more });
  }

  #tell(type, detail) {
    // Node 18 has no CustomEvent.
    this.dispatchEvent(Object.assign(new Event(type), { detail }));
  }

  #send(message) {
    if (this.#state === "open") this.#socket.send(typeof message === "string" ? message : JSON.stringify(message));
  }

  #ask(subscription) {
    const { channel, presence, position: since } = subscription;
    subscription.ref = ++this.#reference;
    this.#send({ type: "subscribe", ref: subscription.ref, channel, since, presence });
  }

  #inquire(subscription) {
    const { channel, live } = subscription;
    subscription.question = ++this.#reference;
    // If not, it follows once that is so.
    if (live) this.#send({ type: "presence", ref: subscription.question, channel });
  }

  #flush() {
    if (this.#state !== "open" || this.#held) return;
    let sent = 0;
    for (const publish of this.#publishes.values()) {
      if (++sent > WINDOW) break;
      if (publish.sent) continue;
      publish.sent = true;
      this.#send(publish.frame);
    }
  }

  #settle(publish) {
    clearTimeout(publish.timer);
    if (this.#publishes.delete(publish.ref)) this.#bytes -= publish.bytes;
    this.#flush();
  }

  #fail(publish, code, message) {
    this.#settle(publish);
    publish.reject(new HubplaneError(code, message, publish.id));
  }

  #take(message) {
    this.#seen = performance.now();
    this.#pinged = false;
    const { type, ref, channel, position } = message;
    const subscription = this.#subscriptions.get(channel);
    const publish = this.#publishes.get(ref);
    if (type === "message") {
      if (subscription?.live) this.#deliver(subscription, message);
    } else if (type === "gap" || type === "join" || type === "leave") {
      if (subscription?.live) subscription.on[type]?.(message);
    } else if (type === "presence") {
      if (subscription?.question === ref) subscription.on.members?.(message);
    } else if (type === "subscribed") {
      if (subscription?.ref === ref) this.#subscribed(subscription, message);
    } else if (type === "unsubscribed" && subscription && ref === undefined) {
      this.#subscriptions.delete(channel);
      const { code, message: reason } = this.#warning ?? { code: "rejected", message: "ended by the hub" };
      subscription.on.error?.(new HubplaneError(code, reason));
    } else if (type === "published" && publish) {
      this.#settle(publish);
      publish.resolve({ id: publish.id, position });
    } else if (type === "authenticated") {
      if (ref === this.#proof) this.#authenticated();
    } else if (type === "expiring") {
      // A fixed token has no successor: it serves to the end, and then the hub says why.
      if (this.#options.token?.call) this.#renew();
    } else if (type === "error") {
      if (ref === undefined) this.#warning = message;
      else if (ref === this.#proof) this.#unproven(message);
      else this.#refused(publish, message);
    }
  }

  #deliver(subscription, message) {
    const { recent, on } = subscription;
    if (message.position) subscription.position = message.position;
    if (recent.has(message.id)) return;
    recent.add(message.id);
    if (recent.size > this.#options.remember) recent.delete(recent.values().next().value);
    on.message?.(message);
  }

  #subscribed(subscription, { channel, position, recovered }) {
    const { on, expects } = subscription;
    subscription.live = subscription.expects = true;
    subscription.tries = 0;
    // Given back with recovered: what was missed comes now, after this one.
    if (position || !recovered) subscription.position = position ?? undefined;
    if (expects && !recovered) on.gap?.({ type: "gap", channel, cause: "not_recovered" });
    on.subscribed?.({ channel, position, recovered });
    if (on.members) this.#inquire(subscription);
  }

  #refused(publish, { ref, code, message }) {
    if (publish) {
      if (!temporary(code)) return this.#fail(publish, code, message);
      publish.sent = false;
      this.#held ||= setTimeout(() => {
        this.#held = 0;
        this.#flush();
      }, this.#delay(publish.tries++));
      return;
    }
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.question === ref && temporary(code)) setTimeout(() => subscription.question === ref && this.#inquire(subscription), this.#delay(3));
      if (subscription.ref !== ref) continue;
      if (temporary(code)) {
        const retry = () => subscription.ref === ref && this.#subscriptions.get(subscription.channel) === subscription && this.#ask(subscription);
        setTimeout(retry, this.#delay(subscription.tries++));
      } else if (code === "forbidden" && subscription.position && subscription.position !== subscription.on.since) {
        // Who may not read the past may still hear what comes, and is told of the gap.
        subscription.position = undefined;
        this.#ask(subscription);
      } else {
        this.#subscriptions.delete(subscription.channel);
        subscription.on.error?.(new HubplaneError(code, message));
      }
    }
  }
}
