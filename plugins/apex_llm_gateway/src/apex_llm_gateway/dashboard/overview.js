// The first things to see: notices, the figures, the charts, how to send a first request, and the facts at the end.

const LAST_MINUTE = 60;

class Overview {
  #notices = new Keyed(byId("notices"), (notice) => {
    const element = h("div", { class: `notice ${notice.tone}` });
    return {
      element,
      update: ({ text, details }) => element.replaceChildren(details ? disclosure(text, details) : h("p", {}, text)),
    };
  });
  #told = "";

  constructor() {
    this.figures = FIGURES.map((figure) => ({ ...figure, value: h("dd"), note: h("dd", { class: "muted" }) }));
    byId("figures").append(
      ...this.figures.map(({ title, value, note }) => h("div", {}, h("dt", {}, title), value, note)),
    );
    this.charts = CHARTS.map((chart) => new Chart(chart));
    byId("traffic").append(...this.charts.map(({ element }) => element));
  }

  update(state) {
    this.#showNotices(state.gateway);
    for (const { value, note, show } of this.figures) {
      const [figure, words, tone] = show(state);
      put(value, figure);
      put(note, words);
      setAttribute(value, "class", tone || null);
    }
    for (const chart of this.charts) chart.update(state.series ?? {});
    this.#showFirst(state);
    this.#showFacts(state.gateway);
  }

  #showNotices({ draining, warnings }) {
    const notices = [];
    if (draining) {
      notices.push({
        key: "draining",
        tone: "warn",
        text: "This gateway is stopping: requests under way may finish, new ones belong elsewhere.",
      });
    }
    if (warnings?.length) {
      notices.push({
        key: "warnings",
        tone: "warn",
        text: plural(warnings.length, "warning") + " of the configuration",
        details: warnings.map(String),
      });
    }
    const told = JSON.stringify(notices);
    if (told === this.#told) return;
    this.#told = told;
    this.#notices.show(notices, ({ key }) => key);
  }

  #showFirst({ totals, live_count: live, providers = [], gateway: { open_mode: open } }) {
    const { section, body } = panel("first");
    section.hidden = Boolean(totals.requests || live);
    if (section.hidden) return;
    const model = providers.filter(({ enabled }) => enabled).flatMap(({ models }) => models ?? [])[0]?.model ?? "MODEL";
    const examples = firstRequests(model, open);
    if (body.textContent !== examples.join(""))
      body.replaceChildren(...examples.map((text) => h("pre", { tabindex: "0" }, text)));
  }

  #showFacts({ version, started, uptime, workers, config_files: files, open_mode: open }) {
    const facts = [
      `apex-llm gateway ${version}`,
      `up ${span(uptime)}, since ${dated(started)}`,
      plural(workers?.length ?? 1, "worker"),
      files?.length ? files.join(", ") : "no configuration file: every installed provider that needs no settings",
      open ? "open to everybody on this machine, without keys" : "only with keys",
    ];
    arrangeTexts(byId("facts"), facts);
  }
}

/** A line that opens to several. */
function disclosure(text, lines) {
  const list = lines.map((line) => h("li", {}, line));
  return h("details", {}, h("summary", {}, text), h("ul", {}, list));
}

/** Programs for a shell and for Python that send one request. */
function firstRequests(model, open) {
  const address = `${location.origin}/v1`;
  const body = JSON.stringify({ model, messages: [{ role: "user", content: "Hello!" }] });
  const lines = [
    `curl ${address}/chat/completions`,
    ...(open ? [] : ['  -H "Authorization: Bearer $KEY"']),
    '  -H "Content-Type: application/json"',
    `  -d '${body.replaceAll("'", "'\\''")}'`,
  ];
  const key = open ? '"none"' : "key";
  const python = [
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${JSON.stringify(address)}, api_key=${key})`,
    'messages = [{"role": "user", "content": "Hello!"}]',
    `answer = client.chat.completions.create(model=${JSON.stringify(model)}, messages=messages)`,
    "print(answer.choices[0].message.content)",
  ];
  return [lines.join(" \\\n"), python.join("\n")];
}

function arrangeTexts(parent, texts) {
  if (parent.childElementCount !== texts.length) parent.replaceChildren(...texts.map(() => h("span")));
  texts.forEach((text, index) => put(parent.children[index], text));
}

/** The whole buckets of the last minute; the one that is being filled would make every rate look lower. */
function lastMinute({ series }) {
  const { buckets = [], step = 5 } = series ?? {};
  const whole = buckets.slice(0, -1);
  return { buckets: whole.slice(-Math.max(1, Math.round(LAST_MINUTE / step))), step };
}

const failed = (bucket) => sum(Object.values(bucket.errors ?? {}), (number) => number);

const FIGURES = [
  {
    title: "Requests per second",
    show: (state) => {
      const { buckets, step } = lastMinute(state);
      const rate = buckets.length ? sum(buckets, (bucket) => bucket.requests) / (buckets.length * step) : null;
      return [rate === null ? NONE : significant(rate, 3), `${count(state.totals.requests)} since the start`];
    },
  },
  {
    title: "Errors",
    show: (state) => {
      const buckets = state.series?.buckets ?? [];
      const [all, bad] = [sum(buckets, (bucket) => bucket.requests), sum(buckets, failed)];
      const length = span(buckets.length * (state.series?.step ?? 5));
      return [
        all ? percent(bad / all) : NONE,
        all ? `${count(bad)} of ${count(all)} in ${length}` : `no requests in ${length}`,
        bad ? "bad" : "",
      ];
    },
  },
  {
    title: "Latency, p95",
    show: (state) => {
      const known = lastMinute(state)
        .buckets.map(({ p95 }) => p95)
        .filter(isNumber);
      return known.length
        ? [duration(Math.max(...known)), "highest of the last minute"]
        : [NONE, "no answers in the last minute"];
    },
  },
  {
    title: "Under way",
    show: ({ live_count: now, gateway: { workers } }) => [
      count(now),
      workers?.length > 1 ? `in ${plural(workers.length, "worker")}` : "at this moment",
    ],
  },
  {
    title: "Tokens",
    show: ({ totals }) => [
      short(totals.prompt_tokens + totals.completion_tokens),
      `${short(totals.prompt_tokens)} in, ${short(totals.completion_tokens)} out`,
    ],
  },
  {
    title: "Cost",
    show: ({ totals }) => {
      const unknown = totals.cost_unknown;
      const value = unknown && !totals.cost ? "unknown" : money(totals.cost);
      return [value, unknown ? `without ${plural(unknown, "request")} of unknown cost` : "since the start"];
    },
  },
  {
    title: "Calls per request",
    show: ({ totals }) => [
      isNumber(totals.amplification) ? totals.amplification.toFixed(2) : NONE,
      `${short(totals.retries)} retries, ${short(totals.hedges)} hedges`,
    ],
  },
  {
    title: "Fallbacks",
    show: ({ totals }) => [
      short(totals.fallbacks),
      `${short(totals.cached)} from cache, ${short(totals.limit_rejections)} over limits`,
    ],
  },
];

const wholeTick = (value) => (Number.isInteger(value) ? short(value) : "");
const latest = (value) => (buckets) => duration(buckets.map(value).findLast(isNumber));
const total = (value) => (buckets) => short(sum(buckets, value));

const CHARTS = [
  {
    id: "requests",
    title: "Requests",
    least: 4,
    scale: () => ["requests per 5 s", wholeTick],
    nothing: "no requests",
    more: ({ errors }) =>
      Object.entries(errors ?? {})
        .map(([type, number]) => `${number} ${words(type)}`)
        .join(", "),
    series: [
      { name: "bad", label: "failed", form: "bar", value: failed, text: count, total: total(failed) },
      {
        name: "first",
        label: "all",
        form: "bar",
        value: (bucket) => bucket.requests - failed(bucket),
        read: (bucket) => bucket.requests,
        text: count,
        total: total((bucket) => bucket.requests),
      },
    ],
  },
  {
    id: "latency",
    title: "Latency",
    least: 0,
    scale: (top) =>
      top < 0.5
        ? ["milliseconds", (value) => significant(value * 1000, 3)]
        : ["seconds", (value) => significant(value, 3)],
    nothing: "no answers",
    series: [
      {
        name: "second",
        label: "p95",
        form: "line",
        value: ({ p95 }) => p95,
        text: duration,
        total: latest(({ p95 }) => p95),
      },
      {
        name: "first",
        label: "p50",
        form: "line",
        value: ({ p50 }) => p50,
        text: duration,
        total: latest(({ p50 }) => p50),
      },
      {
        name: "third",
        label: "first chunk p50",
        form: "dashes",
        value: (bucket) => bucket.first_chunk_p50,
        text: duration,
        total: latest((bucket) => bucket.first_chunk_p50),
      },
    ],
  },
  {
    id: "tokens",
    title: "Tokens",
    least: 4,
    scale: () => ["tokens per 5 s", wholeTick],
    nothing: "no tokens",
    // A sum of nothing known says nothing.
    more: ({ cost: spent }) => (spent ? `cost ${money(spent)}` : ""),
    series: [
      {
        name: "first",
        label: "prompt",
        form: "bar",
        value: (bucket) => bucket.prompt_tokens,
        text: count,
        total: total((bucket) => bucket.prompt_tokens),
      },
      {
        name: "fourth",
        label: "completion",
        form: "bar",
        value: (bucket) => bucket.completion_tokens,
        text: count,
        total: total((bucket) => bucket.completion_tokens),
      },
    ],
  },
];
