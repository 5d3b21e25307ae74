// Charts over time, drawn as SVG. The legend tells the values of the bucket under the pointer, or chosen by the arrow
// keys.

const HEIGHT = 148;
const EDGE = { top: 20, right: 10, bottom: 32, left: 46 };
/** What the axis reaches at least, in steps of 1, 2, 2.5 and 5 times a power of ten. */
const STEPS = [1, 2, 2.5, 5, 10];

/** Round numbers from 0 to at least `highest`, about four of them. */
function ticks(highest) {
  const raw = highest / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * STEPS.find((factor) => factor * power >= raw * 0.999);
  const all = [];
  for (let index = 0; index === 0 || all[index - 1] < highest * 0.999; index += 1) all.push(index * step);
  return all;
}

/**
 * One chart.
 *
 * `series` are `{name, label, form, value(bucket), read(bucket), text(number), total(buckets)}`: bars are stacked in
 * their order, lines are broken where a value is null. `read(bucket)` is what the legend tells where that is not
 * `value`; `total` makes the text that is shown while no bucket is chosen. The axis reaches `least` at least;
 * `scale(top)` returns its title and what makes its labels; `more(bucket)` is added to the time of a chosen bucket,
 * and `nothing` is what an empty chart says.
 */
class Chart {
  #buckets = [];
  #step = 5;
  #chosen = null;
  #width = 0;

  constructor({ id, title, least, scale, series, nothing, more = () => "" }) {
    Object.assign(this, { least, axis: scale, series, nothing, more });
    this.moment = h("span", { class: "moment" });
    this.values = series.map(() => h("b"));
    this.legend = h(
      "ul",
      { class: "legend" },
      series.map(({ name, form, label }, index) =>
        h("li", {}, h("i", { class: `swatch ${form} ${name}` }), `${label} `, this.values[index]),
      ),
    );
    this.svg = s("svg", { "aria-hidden": "true" });
    this.surface = h(
      "div",
      {
        class: "surface",
        tabindex: "0",
        role: "slider",
        "aria-label": `${title}: the arrow keys read the values`,
        "aria-valuemin": "0",
        onpointermove: (event) => this.#point(event),
        onpointerdown: (event) => this.#point(event),
        onpointerleave: () => this.#choose(null),
        onblur: () => this.#choose(null),
        onkeydown: (event) => this.#key(event),
      },
      this.svg,
    );
    this.table = h("div", {
      class: "values",
      hidden: true,
      tabindex: "0",
      role: "region",
      "aria-label": `${title}, as a table`,
    });
    this.toggle = h(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-expanded": "false",
        onclick: () => this.#toggleTable(),
      },
      "Table",
    );
    this.element = h(
      "section",
      { class: "panel chart", "aria-labelledby": `${id}-title` },
      h("header", {}, h("h2", { id: `${id}-title` }, title), this.moment, this.toggle),
      this.legend,
      this.surface,
      this.table,
    );
    new ResizeObserver(([entry]) => {
      const width = Math.floor(entry.contentRect.width);
      if (width && width !== this.#width) {
        this.#width = width;
        this.#draw();
      }
    }).observe(this.surface);
  }

  update({ buckets = [], step = 5 }) {
    this.#buckets = buckets;
    this.#step = step;
    this.#draw();
    this.#tell();
    if (!this.table.hidden) this.#fillTable();
  }

  // -- choosing a bucket ----------------------------------------------------------------------------------------------

  #point(event) {
    if (!this.#buckets.length) return;
    const left = event.clientX - this.surface.getBoundingClientRect().left - EDGE.left;
    const index = Math.floor((left / this.#plotWidth()) * this.#buckets.length);
    this.#choose(index >= 0 && index < this.#buckets.length ? index : null);
  }

  #key(event) {
    const last = this.#buckets.length - 1;
    const at = this.#chosen ?? last + 1;
    const to = {
      ArrowLeft: at - 1,
      ArrowRight: at + 1,
      ArrowDown: at - 1,
      ArrowUp: at + 1,
      PageUp: at - 12,
      PageDown: at + 12,
      Home: 0,
      End: last,
      Escape: null,
    }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.#choose(to === null ? null : Math.max(0, Math.min(last, to)));
  }

  #choose(index) {
    if (index === this.#chosen) return;
    this.#chosen = index;
    this.#mark();
    this.#tell();
  }

  // -- telling --------------------------------------------------------------------------------------------------------

  #tell() {
    const bucket = this.#chosen === null ? null : this.#buckets[this.#chosen];
    this.series.forEach(({ value, read = value, text, total }, index) => {
      put(this.values[index], bucket ? text(read(bucket)) : total(this.#buckets));
    });
    const length = span(this.#buckets.length * this.#step);
    put(this.moment, bucket ? `${time(bucket.at)} ${this.more(bucket)}`.trim() : `last ${length}`);
    setAttribute(this.surface, "aria-valuemax", Math.max(0, this.#buckets.length - 1));
    setAttribute(this.surface, "aria-valuenow", this.#chosen ?? Math.max(0, this.#buckets.length - 1));
    const said = this.series.map(({ label }, index) => `${label} ${this.values[index].textContent}`).join(", ");
    setAttribute(this.surface, "aria-valuetext", `${this.moment.textContent}: ${said}`);
  }

  #toggleTable() {
    this.table.hidden = !this.table.hidden;
    setAttribute(this.toggle, "aria-expanded", String(!this.table.hidden));
    if (!this.table.hidden) this.#fillTable();
  }

  #fillTable() {
    const busy = this.#buckets.filter((bucket) => bucket.requests || this.series.some(({ value }) => value(bucket)));
    const head = h(
      "tr",
      {},
      ["Time", ...this.series.map(({ label }) => label)].map((title) => h("th", { scope: "col" }, title)),
    );
    const rows = busy.reverse().map((bucket) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, time(bucket.at)),
        this.series.map(({ value, read = value, text }) => h("td", {}, text(read(bucket)))),
      ),
    );
    const caption = h(
      "caption",
      {},
      busy.length ? `Per ${this.#step} s, the latest first; intervals without requests are left out` : this.nothing,
    );
    arrange(this.table, [h("table", {}, caption, h("thead", {}, head), h("tbody", {}, rows))]);
  }

  // -- drawing --------------------------------------------------------------------------------------------------------

  #plotWidth() {
    return Math.max(1, this.#width - EDGE.left - EDGE.right);
  }

  #draw() {
    if (!this.#width) return;
    const plot = { width: this.#plotWidth(), height: HEIGHT - EDGE.top - EDGE.bottom };
    const highest = Math.max(0, ...this.#buckets.map((bucket) => this.#height(bucket)));
    const marks = ticks(Math.max(highest, this.least) || 1);
    const top = marks.at(-1);
    const x = (index) => EDGE.left + (index / Math.max(1, this.#buckets.length)) * plot.width;
    const y = (value) => EDGE.top + plot.height * (1 - value / top);
    this.scale = { x, y, plot };
    setAttribute(this.svg, "width", this.#width);
    setAttribute(this.svg, "height", HEIGHT);
    this.cursor = s("g", { class: "cursor" });
    this.svg.replaceChildren(
      this.#valueAxis(marks, y),
      this.#timeAxis(x, y(0)),
      s("g", { class: "marks" }, this.#bars(x, y), this.#lines(x, y)),
      this.cursor,
    );
    if (!highest) {
      const place = { x: EDGE.left + plot.width / 2, y: EDGE.top + plot.height / 2, class: "nothing" };
      this.svg.append(s("text", place, this.nothing));
    }
    this.#mark();
  }

  #height(bucket) {
    const bars = sum(
      this.series.filter(({ form }) => form === "bar"),
      ({ value }) => value(bucket),
    );
    const lines = this.series.filter(({ form }) => form !== "bar").map(({ value }) => value(bucket) ?? 0);
    return Math.max(bars, ...lines);
  }

  #valueAxis(marks, y) {
    const right = this.#width - EDGE.right;
    const [title, label] = this.axis(marks.at(-1));
    return s(
      "g",
      { class: "axis" },
      s("text", { class: "title", x: 0, y: 10 }, title),
      marks.flatMap((mark) => [
        s("line", { class: mark ? "rule" : "base", x1: EDGE.left, x2: right, y1: y(mark), y2: y(mark) }),
        s("text", { class: "value", x: EDGE.left - 6, y: y(mark) + 3.5 }, label(mark)),
      ]),
    );
  }

  #timeAxis(x, base) {
    const every = this.#width < 300 ? 240 : 120;
    const last = this.#width - EDGE.right - 16;
    return s(
      "g",
      { class: "axis" },
      this.#buckets.flatMap(({ at }, index) => {
        if (!isNumber(at) || at % every >= this.#step || x(index) > last || x(index) < EDGE.left + 8) return [];
        return [
          s("line", { class: "base", x1: x(index), x2: x(index), y1: base, y2: base + 4 }),
          s("text", { class: "time", x: x(index), y: base + 15 }, minute(at)),
        ];
      }),
      s("text", { class: "title end", x: this.#width - EDGE.right, y: HEIGHT - 3 }, "time of day"),
    );
  }

  #bars(x, y) {
    const gap = x(1) - x(0) >= 4 ? 1 : 0.4;
    const base = y(0);
    return this.#buckets.map((bucket, index) => {
      let below = 0;
      return this.series
        .filter(({ form }) => form === "bar")
        .map(({ name, value }) => {
          const amount = value(bucket) || 0;
          if (!amount) return null;
          const bottom = y(below);
          below += amount;
          // One error among thousands must be seen, too.
          const height = Math.max(bottom - y(below), name === "bad" ? 2 : 0.75);
          return s("rect", {
            class: name,
            x: x(index),
            width: x(index + 1) - x(index) - gap,
            y: Math.min(bottom, base) - height,
            height,
          });
        });
    });
  }

  #lines(x, y) {
    const half = (x(1) - x(0)) / 2;
    return this.series
      .filter(({ form }) => form !== "bar")
      .map(({ name, form, value }) => {
        const pieces = [];
        let open = false;
        this.#buckets.forEach((bucket, index) => {
          const amount = value(bucket);
          if (!isNumber(amount)) open = false;
          else {
            // A line begins with a short dash, so that a lone value can be seen.
            const [at, height] = [x(index) + half, y(amount).toFixed(1)];
            pieces.push(open ? `L${at.toFixed(1)} ${height}` : `M${(at - 1.5).toFixed(1)} ${height}h3`);
            open = true;
          }
        });
        return s("path", { class: `${name} ${form}`, d: pieces.join("") });
      });
  }

  #mark() {
    if (!this.cursor) return;
    const bucket = this.#chosen === null ? null : this.#buckets[this.#chosen];
    if (!bucket) {
      this.cursor.replaceChildren();
      return;
    }
    const { x, y, plot } = this.scale;
    const left = (x(this.#chosen) + x(this.#chosen + 1)) / 2;
    const dots = this.series
      .filter(({ form, value }) => form !== "bar" && isNumber(value(bucket)))
      .map(({ name, value }) => s("circle", { class: name, cx: left, cy: y(value(bucket)), r: 3 }));
    this.cursor.replaceChildren(s("line", { x1: left, x2: left, y1: EDGE.top, y2: EDGE.top + plot.height }), ...dots);
  }
}
