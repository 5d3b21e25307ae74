// Providers: their health, the circuit breakers of their models, and the hands on these.

/** Breaker states: their tone and their word. */
const BREAKERS = {
  closed: ["good", "closed"],
  half_open: ["warn", "half open"],
  open: ["bad", "open"],
  forced_open: ["bad held", "isolated"],
  metrics_only: ["plain", "only watching"],
  disabled: ["plain", "disabled"],
};
const HEALTH = { healthy: "good", degraded: "warn", unavailable: "bad", unknown: "plain" };
const SHUT = new Set(["open", "forced_open"]);

/** What can be done to breakers: the word on the button, and what the question says. */
const ACTIONS = {
  open: {
    verb: "Open",
    text: "No request goes there for the usual time. Then it is probed, and used again when the probes succeed.",
  },
  isolate: { verb: "Isolate", text: "No request goes there until somebody closes it by hand." },
  close: { verb: "Close", text: "Requests go there again, and its counts begin anew." },
};

function offered(state) {
  return state === "closed" ? ["open", "isolate"] : state === "forced_open" ? ["close"] : ["close", "isolate"];
}

function breakerWords({ reason, retry_after: wait, state, states }) {
  const parts = [];
  if (states)
    parts.push(
      Object.entries(states)
        .map(([other, number]) => `${BREAKERS[other]?.[1] ?? other} in ${plural(number, "worker")}`)
        .join(", "),
    );
  if (reason && state !== "closed") parts.push(reason);
  if (state === "open" && wait > 0) parts.push(`probe in ${span(wait)}`);
  return parts.join(" · ");
}

class Providers {
  #panel = panel("providers");
  #nothing = emptiness("No provider is configured.");

  /** @param act `(provider, model or null, action)` is called for every press of a button. */
  constructor(act) {
    this.columns = modelColumns(act);
    this.act = act;
    const heads = this.columns.map(({ title, number, silent }) =>
      h(
        "th",
        { scope: "col", role: "columnheader", class: number ? "number" : null },
        h("span", { class: silent ? "hidden" : null }, title),
      ),
    );
    const fixed = [
      h("caption", { class: "hidden" }, "Providers and their models"),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads)),
    ];
    this.table = h("table", { role: "table", class: "providers" });
    this.groups = new Keyed(this.table, (provider) => this.#group(provider), fixed);
    this.#panel.body.append(this.table, this.#nothing);
  }

  update({ providers = [] }) {
    this.table.hidden = providers.length === 0;
    this.#nothing.hidden = providers.length > 0;
    const models = providers.flatMap(({ enabled, models: own }) => (enabled ? (own ?? []) : []));
    const able = models.filter(({ breaker }) => !SHUT.has(breaker?.state)).length;
    this.#panel.aside(
      models.length
        ? `${able === models.length ? "all" : count(able)} of ${plural(models.length, "model")} may be asked`
        : "",
    );
    this.groups.show(providers, ({ name }) => name);
  }

  #group({ name }) {
    const title = h("th", { scope: "rowgroup", role: "rowheader", colspan: this.columns.length - 1 });
    const hands = h("td", { role: "cell", class: "hands" });
    const row = h("tr", { role: "row", class: "group" }, title, hands);
    const element = h("tbody", { role: "rowgroup" });
    const models = new Keyed(element, () => makeRow(this.columns), [row]);
    let said;
    return {
      element,
      update: (provider) => {
        const now = JSON.stringify({ ...provider, models: null });
        if (now !== said) title.replaceChildren(...providerWords(provider));
        said = now;
        setAttribute(element, "class", provider.enabled ? null : "off");
        const shown = (provider.models ?? []).map((model) => ({ ...model, provider: name, enabled: provider.enabled }));
        const choices =
          !provider.enabled || shown.length < 2
            ? []
            : shown.every(({ breaker }) => breaker?.state === "forced_open")
              ? ["close"]
              : ["isolate"];
        offer(hands, choices, name, null, this.act);
        models.show(shown, ({ model }) => model);
      },
    };
  }
}

function providerWords(provider) {
  const {
    name,
    type,
    enabled,
    region,
    priority,
    weight,
    health,
    health_message: message,
    health_latency: latency,
    health_checked: checked,
  } = provider;
  const facts = [type, region, `priority ${priority}`, weight === 1 ? null : `weight ${significant(weight, 3)}`]
    .filter(Boolean)
    .join(" · ");
  const state = enabled
    ? badge(
        HEALTH[health] ?? "plain",
        health === "unknown" ? "health unknown" : health,
        checked ? `checked at ${time(checked)}` : null,
      )
    : badge("plain", "switched off");
  const more = [message, latency >= 0.001 ? `answered in ${duration(latency)}` : null].filter(Boolean);
  return [
    h("b", {}, name),
    h("span", { class: "muted" }, facts),
    state,
    h("span", { class: "muted" }, enabled ? more.join(" · ") : ""),
  ];
}

/** How the candidates that an action is about are called; `model` null: all of the provider. */
function called(provider, model) {
  return model === null ? `all models of ${provider}` : `${model} at ${provider}`;
}

/** Let `cell` offer `actions`. Buttons stay the same ones, so that whoever has the focus keeps it. */
function offer(cell, actions, provider, model, act) {
  if (!cell.childElementCount) {
    cell.append(
      ...Object.entries(ACTIONS).map(([action, { verb }]) => {
        const attributes = {
          type: "button",
          class: "small",
          "data-action": action,
          "aria-label": `${verb} ${called(provider, model)}`,
          onclick: () => act(provider, model, action),
        };
        return h("button", attributes, model === null ? `${verb} all` : verb);
      }),
    );
  }
  const focused = [...cell.children].find((button) => button === document.activeElement);
  for (const button of cell.children) button.hidden = !actions.includes(button.dataset.action);
  if (focused?.hidden) cell.querySelector("button:not([hidden])")?.focus();
}

function modelColumns(act) {
  return [
    {
      title: "Model",
      head: true,
      text: ({ model, provider_model_id: id }) => JSON.stringify([model, id]),
      fill: (cell, { model, provider_model_id: id }) => {
        cell.replaceChildren(
          h("span", { class: "name" }, model),
          id && id !== model ? h("span", { class: "muted below" }, id) : "",
        );
      },
    },
    {
      title: "Breaker",
      text: ({ breaker, enabled }) =>
        breaker ? JSON.stringify([enabled, breaker.state, breakerWords(breaker)]) : NONE,
      fill: (cell, { breaker }) => {
        if (!breaker) return put(cell, NONE);
        const [tone, word] = BREAKERS[breaker.state] ?? ["plain", words(breaker.state)];
        const more = breakerWords(breaker);
        cell.replaceChildren(badge(tone, word), more ? h("span", { class: "muted below" }, more) : "");
      },
    },
    {
      title: "Success",
      number: true,
      text: ({ success_rate: rate, weight_factor: factor }) => `${percent(rate)} ${factor}`,
      fill: (cell, { success_rate: rate, weight_factor: factor }) => {
        const bar = h("span", { class: `bar ${rate < 0.8 ? "bad" : rate < 0.95 ? "warn" : "good"}` });
        bar.style.setProperty("--share", rate ?? 0);
        const less =
          isNumber(factor) && factor < 0.995
            ? h("span", { class: "muted below" }, `weight × ${significant(factor, 2)}`)
            : "";
        cell.replaceChildren(percent(rate), isNumber(rate) ? bar : "", less);
      },
    },
    { title: "Latency", number: true, text: ({ latency }) => duration(latency) },
    { title: "First chunk", number: true, text: (model) => duration(model.time_to_first_chunk) },
    { title: "In flight", number: true, text: (model) => count(model.in_flight) },
    { title: "Attempts", number: true, text: ({ attempts }) => count(attempts) },
    {
      title: "Breaker by hand",
      silent: true,
      text: ({ breaker, enabled }) => `${enabled} ${breaker?.state}`,
      fill: (cell, { provider, model, breaker, enabled }) => {
        cell.className = "hands";
        offer(cell, enabled && breaker ? offered(breaker.state) : [], provider, model, act);
      },
    },
  ];
}
