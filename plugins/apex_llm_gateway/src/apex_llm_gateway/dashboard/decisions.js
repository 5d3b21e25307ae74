// Where the last requests went, and why.

/** Rows that are shown unasked. */
const MOST_DECISIONS = 12;

/** Verdicts: their tone and their word. */
const VERDICTS = {
  taken: ["good", "taken"],
  failed: ["bad", "failed"],
  passed_over: ["warn", "passed over"],
  unable: ["plain", "unable"],
  not_reached: ["plain", "not reached"],
};
/** Facts that may have decided, with the value that says nothing. */
const FACTS = [
  ["priority", (value) => `priority ${value}`, null],
  ["weight", (value) => `weight ${significant(value, 3)}`, 1],
  ["weight_factor", (value) => `weight × ${significant(value, 2)}`, 1],
  ["in_flight", (value) => `${value} in flight`, 0],
  ["latency", (value) => `latency ${duration(value)}`, null],
  ["time_to_first_chunk", (value) => `first chunk ${duration(value)}`, null],
  ["success_rate", (value) => `${percent(value)} succeed`, null],
  ["breaker", (value) => `breaker ${words(value)}`, "closed"],
  ["health", (value) => words(value), "unknown"],
  ["remaining_requests", (value) => `${value} requests left`, null],
  ["remaining_tokens", (value) => `${value} tokens left`, null],
];

/** The last decisions. While one is open to be read, the list stands still. */
class Decisions {
  #panel = panel("decisions");
  #nothing = emptiness("No request was routed yet.");
  #list = h("div", { class: "decisions" });
  #more = h("button", { type: "button", class: "link", onclick: () => this.#showAll() });
  #further = h("p", { class: "further" }, this.#more);
  #latest = [];
  #all = false;
  #entries = new Map();
  #keyed = new Keyed(this.#list, (decision) => this.#entry(decision));

  constructor() {
    this.#panel.body.append(this.#list, this.#further, this.#nothing);
  }

  update({ decisions = [] }) {
    this.#latest = decisions;
    if (this.#list.querySelector("[open]")) {
      this.#panel.aside("standing still while one is open");
    } else {
      this.#show();
    }
  }

  /** Open the record of a request and go there; false when it is not among the last. */
  reveal(id) {
    const place = this.#latest.findIndex(({ request_id: other }) => other === id);
    if (place < 0) return false;
    for (const open of this.#list.querySelectorAll("[open]")) open.open = false;
    this.#all ||= place >= MOST_DECISIONS;
    this.#show();
    const entry = this.#entries.get(id);
    entry.open = true;
    entry.querySelector("summary").focus({ preventScroll: true });
    entry.scrollIntoView({ block: "center" });
    return true;
  }

  #showAll() {
    this.#all = !this.#all;
    this.#show();
  }

  #show() {
    const number = this.#latest.length;
    this.#nothing.hidden = number > 0;
    this.#further.hidden = number <= MOST_DECISIONS;
    put(this.#more, this.#all ? "Show fewer" : `Show all ${count(number)}`);
    this.#panel.aside(number ? "open one to see why" : "");
    this.#entries.clear();
    this.#keyed.show(
      this.#all ? this.#latest : this.#latest.slice(0, MOST_DECISIONS),
      ({ request_id: id, worker }) => `${worker} ${id}`,
    );
  }

  #entry(decision) {
    const summary = h("summary");
    const body = h("div", { class: "why" });
    const element = h("details", {}, summary, body);
    let current = decision;
    let told;
    let explained;
    const explain = () => {
      if (!element.open || explained === told) return;
      explained = told;
      body.replaceChildren(...why(current));
    };
    element.addEventListener("toggle", explain);
    return {
      element,
      update: (next) => {
        current = next;
        this.#entries.set(next.request_id, element);
        const now = `${next.outcome} ${JSON.stringify(next.candidates?.map(({ verdict }) => verdict))}`;
        if (now === told) return;
        told = now;
        summary.replaceChildren(...inShort(next));
        explain();
      },
    };
  }
}

function inShort({ at, operation, stream, model, outcome, candidates = [] }) {
  const taken = candidates.find(({ verdict }) => verdict === "taken");
  const asked = candidates.filter(({ verdict }) => verdict === "failed").length;
  const passed = candidates.filter(({ verdict }) => verdict === "passed_over").length;
  const notes = [asked ? `${asked} failed${taken ? " before" : ""}` : null, passed ? `${passed} passed over` : null]
    .filter(Boolean)
    .join(", ");
  const end = { ok: ["good", "ok"], cancelled: ["plain", "cancelled"], "": ["plain", "under way"] }[outcome ?? ""] ?? [
    "bad",
    words(outcome),
  ];
  return [
    h("span", { class: "when" }, time(at)),
    h(
      "span",
      { class: "what" },
      h("b", {}, model || NONE),
      // Lines may break between the two.
      " ",
      h("span", { class: "muted" }, stream ? `${operation}, stream` : operation),
    ),
    h(
      "span",
      { class: "where" },
      taken
        ? [
            h("span", { class: "arrow", "aria-hidden": "true" }, "→"),
            ` ${taken.provider} `,
            taken.model === model ? "" : h("span", { class: "muted" }, taken.model),
          ]
        : h("span", { class: "muted" }, "nobody"),
    ),
    h("span", { class: "muted notes" }, notes),
    badge(...end),
  ];
}

function why(decision) {
  const {
    request_id: id,
    routes = [],
    candidates = [],
    needs = [],
    estimated_prompt_tokens: tokens,
    max_tokens: most,
    worker,
  } = decision;
  const [route] = routes;
  const facts = [
    ["Strategy", route ? route.strategy : "none"],
    ["Rule", route?.rule],
    ["Needs", needs.join(", ")],
    ["Prompt", isNumber(tokens) ? `about ${count(tokens)} tokens` : null],
    ["Longest answer", isNumber(most) ? `${count(most)} tokens` : null],
    ["Pinned", route?.pinned],
    [
      "Fallback models",
      routes
        .slice(1)
        .map(({ model }) => model)
        .join(", "),
    ],
    ["Worker", isNumber(worker) ? String(worker) : null],
    ["Request", id],
  ];
  const table = new Table({
    caption: `Candidates of request ${id}`,
    columns: CANDIDATES,
    keyOf: ({ provider, model, route: at, position }) => `${provider} ${model} ${at} ${position}`,
    empty: "There was no candidate.",
  });
  table.update(candidates);
  const omitted = sum(routes, (each) => each.omitted);
  return [
    h(
      "dl",
      { class: "facts" },
      facts.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
    ),
    table.element,
    omitted ? h("p", { class: "muted" }, `${count(omitted)} more candidates are not part of the record.`) : "",
  ];
}

function scorePart([name, value]) {
  const said = value === null ? "unknown" : isNumber(value) ? significant(value, 4) : String(value);
  return h("span", { class: "part" }, `${words(name)} `, h("b", {}, said));
}

const CANDIDATES = [
  { title: "Place", number: true, text: ({ rank }) => (isNumber(rank) ? String(rank) : NONE) },
  {
    title: "Candidate",
    head: true,
    text: ({ provider, model }) => `${provider} ${model}`,
    fill: (cell, { provider, model }) =>
      cell.replaceChildren(h("span", { class: "name" }, provider), h("span", { class: "muted below" }, model)),
  },
  {
    title: "Verdict",
    text: ({ verdict, reason }) => `${verdict} ${reason}`,
    fill: (cell, { verdict, reason }) =>
      cell.replaceChildren(
        badge(...(VERDICTS[verdict] ?? ["plain", words(verdict)])),
        reason ? h("span", { class: "muted below" }, reason) : "",
      ),
  },
  {
    title: "Score",
    wide: true,
    text: ({ score }) => JSON.stringify(score ?? {}),
    fill: (cell, { score }) => {
      const parts = Object.entries(score ?? {}).map(scorePart);
      cell.replaceChildren(...(parts.length ? parts : [NONE]));
    },
  },
  { title: "Known then", wide: true, text: ({ facts }) => known(facts ?? {}) || NONE },
];

function known(facts) {
  return FACTS.filter(([name, , usual]) => facts[name] !== null && facts[name] !== undefined && facts[name] !== usual)
    .map(([name, said]) => said(facts[name]))
    .join(" · ");
}
