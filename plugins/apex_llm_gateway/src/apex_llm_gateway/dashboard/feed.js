// The way to the gateway: the key, requests, server-sent events, and the feed of states with its reconnects.

const KEY = "apex-llm-key";
/** Seconds between two states, and of silence after which a connection is taken for dead. */
const INTERVAL = 2;
const SILENCE = 15;
const FIRST_WAIT = 1;
const LONGEST_WAIT = 30;
/** Seconds after which a hidden page stops to ask. */
const OUT_OF_SIGHT = 60;

/** An answer that is an error; `message` is what the gateway says of it. */
class Refused extends Error {
  constructor(status, message, code) {
    super(message);
    this.status = status;
    this.code = code;
  }

  get wantsKey() {
    return this.status === 401 || this.code === "role_missing";
  }
}

/** The key of this tab. */
class Session {
  get key() {
    return sessionStorage.getItem(KEY);
  }

  enter(key) {
    sessionStorage.setItem(KEY, key);
  }

  leave() {
    sessionStorage.removeItem(KEY);
  }

  /** Ask the gateway; a body makes it a POST. Throws `Refused` for answers that are errors. */
  async ask(path, { body, signal } = {}) {
    const headers = {};
    if (this.key) headers.Authorization = `Bearer ${this.key}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const answer = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      body: body === undefined ? undefined : JSON.stringify(body),
      headers,
      signal,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
    if (!answer.ok) throw await refusal(answer);
    return answer;
  }

  async document(path, options) {
    return (await this.ask(path, options)).json();
  }
}

async function refusal(answer) {
  try {
    const { error } = await answer.json();
    return new Refused(answer.status, String(error.message), error.code);
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    return new Refused(answer.status, `the gateway answered with the status ${answer.status}`);
  }
}

/** Yield the server-sent events of an answer as `{event, data}`; comments are events without data. */
async function* serverSentEvents(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) yield parsed(block);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(block) {
  let event = "message";
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
    else if (line.startsWith("event:")) event = line.slice(6).trim();
  }
  return { event, data: data.length ? data.join("\n") : null };
}

/**
 * Follows the state of the gateway for as long as the page lives.
 *
 * `on` is told: `state(document)`, `happened(event)`, `refused(error)` when a key is wanted, after which nothing more
 * comes, and `status({state, wait, reason})`, of which `state` is "connecting", "live", "paused" or "lost".
 */
class Feed {
  #session;
  #on;
  #run = null;

  constructor(session, on) {
    this.#session = session;
    this.#on = on;
    let hidden = null;
    document.addEventListener("visibilitychange", () => {
      clearTimeout(hidden);
      if (!document.hidden) {
        if (this.#run?.paused) this.start();
      } else {
        hidden = setTimeout(() => this.#pause(), OUT_OF_SIGHT * 1000);
      }
    });
  }

  /** Connect anew, at once. */
  start() {
    this.stop();
    const run = { control: new AbortController(), paused: false };
    this.#run = run;
    this.#follow(run);
  }

  stop() {
    this.#run?.control.abort();
    this.#run = null;
  }

  /** Fetch a state now, without waiting for the next. */
  async refresh() {
    this.#on.state(await this.#session.document("/admin/state"));
  }

  #pause() {
    if (!this.#run) return;
    this.#run.control.abort();
    this.#run.paused = true;
    this.#on.status({ state: "paused" });
  }

  async #follow(run) {
    const { signal } = run.control;
    let wait = FIRST_WAIT;
    while (!signal.aborted) {
      let reason = "the connection ended";
      try {
        this.#on.status({ state: "connecting" });
        for await (const kind of this.#events(signal)) {
          if (kind === "state") wait = FIRST_WAIT;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Refused && error.wantsKey) {
          this.#on.refused(error);
          return;
        }
        if (error instanceof Refused) reason = error.message;
        else reason = error.name === "TimeoutError" ? `it was silent for ${SILENCE} s` : "it cannot be reached";
      }
      if (signal.aborted) return;
      // All pages lose a gateway at the same moment; they must not come back at the same one.
      const seconds = wait * (0.5 + Math.random() / 2);
      this.#on.status({ state: "lost", wait: seconds, reason });
      await pause(seconds, signal);
      wait = Math.min(wait * 2, LONGEST_WAIT);
    }
  }

  async *#events(outer) {
    const dead = new AbortController();
    const signal = AbortSignal.any([outer, dead.signal]);
    let watchdog;
    const heard = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => dead.abort(new DOMException("silence", "TimeoutError")), SILENCE * 1000);
    };
    try {
      heard();
      this.#on.state(await this.#session.document("/admin/state", { signal }));
      const answer = await this.#session.ask(`/admin/events?interval=${INTERVAL}`, { signal });
      this.#on.status({ state: "live" });
      for await (const { event, data } of serverSentEvents(answer)) {
        heard();
        if (data !== null && event === "state") this.#on.state(JSON.parse(data));
        if (data !== null && event === "happened") this.#on.happened(JSON.parse(data));
        yield event;
      }
    } finally {
      clearTimeout(watchdog);
    }
  }
}

function pause(seconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
