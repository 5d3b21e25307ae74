// What was used: tokens and cost by model and by user, limits and their standing, and the worker processes.

/** Numbers that both tables of usage have; the cost last, with its share of all that is known. */
function usageColumns(most) {
  return [
    { title: "Requests", number: true, text: ({ requests }) => count(requests), sort: ({ requests }) => requests },
    {
      title: "Errors",
      number: true,
      text: ({ errors, requests }) => (errors ? `${count(errors)} (${percent(errors / requests)})` : "0"),
      sort: ({ errors }) => errors,
    },
    { title: "Tokens in", number: true, text: (row) => count(row.prompt_tokens), sort: (row) => row.prompt_tokens },
    {
      title: "Tokens out",
      number: true,
      text: (row) => count(row.completion_tokens),
      sort: (row) => row.completion_tokens,
    },
    {
      title: "Cost",
      number: true,
      wide: true,
      text: (row) => JSON.stringify([row.cost, row.cost_unknown, most()]),
      fill: (cell, row) => {
        const bar = h("span", { class: "bar" });
        bar.style.setProperty("--share", most() ? (row.cost || 0) / most() : 0);
        cell.replaceChildren(cost(row.cost, row.cost_unknown), bar);
      },
      sort: ({ cost: known }) => known,
    },
  ];
}

class Usage {
  #highest = { models: 0, users: 0 };
  #byModel = new Table({
    caption: "Tokens and cost by provider and model",
    keyOf: ({ provider, model }) => `${provider} ${model}`,
    empty: "No request ended yet.",
    most: 20,
    order: { index: 5, descending: true },
    columns: [
      {
        title: "Model",
        head: true,
        text: ({ provider, model }) => JSON.stringify([provider, model]),
        fill: (cell, { provider, model }) =>
          cell.replaceChildren(
            h("span", { class: "name" }, model === "*" ? "further models" : model),
            h("span", { class: "muted below" }, provider ?? "no provider"),
          ),
        sort: ({ provider, model }) => `${model} ${provider}`,
      },
      ...usageColumns(() => this.#highest.models),
    ],
  });
  #byUser = new Table({
    caption: "Tokens and cost by user",
    keyOf: ({ user }) => JSON.stringify(user),
    empty: "No request ended yet.",
    most: 20,
    order: { index: 5, descending: true },
    columns: [
      { title: "User", head: true, text: ({ user }) => userName(user), sort: ({ user }) => userName(user) },
      ...usageColumns(() => this.#highest.users),
    ],
  });

  constructor() {
    for (const [id, table] of [
      ["usage", this.#byModel],
      ["users", this.#byUser],
    ]) {
      const { body, aside } = panel(id);
      aside("since the start, cost in the currency of the configured prices");
      body.append(table.element);
    }
  }

  update({ usage }) {
    const { by_model: models = [], by_user: users = [] } = usage ?? {};
    this.#highest = { models: highestCost(models), users: highestCost(users) };
    this.#byModel.update(models);
    this.#byUser.update(users);
  }
}

function userName(user) {
  return user === "*" ? "further users" : (user ?? "nobody named");
}

function highestCost(rows) {
  return rows.reduce((highest, { cost: known }) => Math.max(highest, known || 0), 0);
}

/** The kinds of amounts a limit may bound, with the form of their numbers. */
const AMOUNTS = [
  ["requests", count, "requests"],
  ["tokens", short, "tokens"],
  ["cost", money, "cost"],
  ["concurrent", count, "in flight"],
];

class Limits {
  #panel = panel("limits");
  #nothing = emptiness("No limit is configured.");
  #list = h("ul", { class: "limits" });
  #keyed = new Keyed(this.#list, () => this.#entry());

  constructor() {
    this.#panel.body.append(this.#list, this.#nothing);
  }

  update({ limits = [] }) {
    this.#nothing.hidden = limits.length > 0;
    this.#panel.aside(limits.length ? count(limits.length) : "");
    const rows = limits.flatMap((standing) =>
      AMOUNTS.filter(([kind]) => standing[kind]).map(([kind, form, noun]) => ({
        ...standing,
        form,
        noun,
        amount: standing[kind],
      })),
    );
    const share = ({ amount: { used, limit } }) => (limit ? used / limit : 1);
    rows.sort((left, right) => share(right) - share(left));
    this.#keyed.show(rows, ({ limit, scope, subject, per, noun }) =>
      JSON.stringify([limit, scope, subject, per, noun]),
    );
  }

  #entry() {
    const [name, subject, standing, more] = [
      h("b"),
      h("span", { class: "muted" }),
      h("span", { class: "standing" }),
      h("span", { class: "muted" }),
    ];
    const bar = h("span", { class: "bar" });
    return {
      element: h("li", {}, h("span", { class: "line" }, name, subject, standing), bar, more),
      update: (row) => {
        const { used, limit } = row.amount;
        const share = limit ? Math.min(1, used / limit) : 1;
        bar.style.setProperty("--share", share);
        setAttribute(bar, "class", `bar ${share >= 1 ? "bad" : share >= 0.8 ? "warn" : "good"}`);
        put(name, row.limit);
        put(subject, row.scope === "all" ? "everybody" : `${row.scope} ${row.subject}`);
        const flying = row.noun === "in flight";
        put(standing, `${row.form(used)} of ${row.form(limit)} ${row.noun}${flying ? "" : ` in ${span(row.per)}`}`);
        const spent =
          share >= 1 && !flying && isNumber(row.resets_in) ? `something is given back in ${span(row.resets_in)}` : "";
        put(more, [spent, row.shadow ? "only watches, refuses nobody" : ""].filter(Boolean).join(" · "));
      },
    };
  }
}

class Workers {
  #table = new Table({
    caption: "Worker processes",
    keyOf: ({ index, pid }) => `${index} ${pid}`,
    empty: "Nothing is known of the workers.",
    columns: [
      { title: "Worker", head: true, text: ({ index, pid }) => (isNumber(pid) ? `${index} (${pid})` : String(index)) },
      { title: "Up", number: true, text: ({ uptime }) => span(uptime) },
      { title: "Busy with", number: true, text: ({ live }) => count(live) },
      { title: "Requests", number: true, text: ({ requests }) => short(requests) },
      { title: "Memory", number: true, text: (worker) => bytes(worker.memory_bytes) },
    ],
  });

  constructor() {
    panel("workers").body.append(this.#table.element);
  }

  update({ gateway: { workers = [] } }) {
    this.#table.update(workers);
  }
}
