// What happens: requests under way, and events worth a look.

/** Rows that are shown of what may be many. */
const MOST_LIVE = 12;

class Live {
  #panel = panel("live");
  #table = new Table({
    caption: "Requests under way",
    keyOf: ({ worker, request_id: id }) => `${worker} ${id}`,
    empty: "Nothing is under way at this moment.",
    most: MOST_LIVE,
    columns: [
      { title: "Since", number: true, text: ({ seconds }) => duration(seconds) },
      { title: "Operation", text: ({ operation, stream }) => (stream ? `${operation}, stream` : operation) },
      { title: "Model", head: true, text: ({ model }) => model ?? NONE },
      { title: "Provider", wide: true, text: ({ provider }) => provider ?? NONE },
      {
        title: "Caller",
        wide: true,
        text: ({ user, key }) => [user, key === user ? null : key].filter(Boolean).join(" · ") || NONE,
      },
      {
        title: "Request",
        spare: true,
        text: ({ request_id: id, worker }) => `${id} ${worker}`,
        fill: (cell, { request_id: id }) => cell.replaceChildren(h("code", { title: id }, id)),
      },
    ],
  });

  constructor() {
    this.#panel.body.append(this.#table.element);
  }

  update({ live = [], live_count: number }) {
    this.#table.update(live);
    const shown = Math.min(live.length, MOST_LIVE);
    this.#table.further.hidden = !(number > shown);
    put(this.#table.further, `the latest ${count(shown)} of ${count(number)}`);
    this.#panel.aside(number ? count(number) : "");
  }
}

const SEVERITIES = { error: "bad", critical: "bad", warning: "warn", info: "plain", ok: "good" };

class Events {
  #panel = panel("events");
  #nothing = emptiness("Nothing worth a look has happened.");
  #list = h("ol", { class: "events", tabindex: "0", "aria-label": "Events, the latest first" });
  #keyed = new Keyed(this.#list, () => this.#entry());
  #events = [];

  constructor() {
    this.#panel.body.append(this.#list, this.#nothing);
  }

  update({ events = [] }) {
    this.#events = events;
    this.#show();
  }

  /** Show one before the next state brings it. */
  add(event) {
    const key = eventKey(event);
    if (this.#events.some((other) => eventKey(other) === key)) return;
    this.#events = [event, ...this.#events];
    this.#show();
  }

  #show() {
    this.#list.hidden = this.#events.length === 0;
    this.#nothing.hidden = this.#events.length > 0;
    this.#panel.aside(this.#events.length ? `the last ${count(this.#events.length)}` : "");
    this.#keyed.show(this.#events, eventKey);
  }

  #entry() {
    const sign = h("i", { "aria-hidden": "true" });
    const [when, text] = [h("time"), h("span")];
    const element = h("li", {}, when, sign, text);
    return {
      element,
      update: ({ at, text: said, type, severity }) => {
        setAttribute(sign, "class", `sign ${SEVERITIES[severity] ?? "plain"}`);
        setAttribute(element, "title", `${words(type)}, ${dated(at)}`);
        put(when, time(at));
        put(text, String(said ?? words(type)));
      },
    };
  }
}

/** What happens again changes its text, which counts it, and stays the same event. */
function eventKey({ at, type, provider, model }) {
  return JSON.stringify([at, type, provider, model]);
}
