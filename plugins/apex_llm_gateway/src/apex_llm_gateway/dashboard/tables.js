// Tables that are updated in place, sorted by their heads, and turned into records where the page is narrow.

/**
 * A table.
 *
 * Columns are `{title, text(row), fill(cell, row), sort(row), number, head, wide, spare, silent}`: `text` for plain
 * cells; `fill`, called when what `text` returns has changed, for others; `sort` makes the title a button; `head` is
 * the header of its row; `wide` and `spare` take a line of their own, or are left out, where the page is narrow;
 * `silent` hides the title.
 */
class Table {
  #columns;
  #rows = [];
  #order = null;
  #keyed;
  #keyOf;

  constructor({ caption, columns, keyOf, empty, most = Infinity, order = null }) {
    this.#columns = columns;
    this.#keyOf = keyOf;
    this.#order = order;
    this.most = most;
    this.heads = columns.map((column, index) => this.#head(column, index));
    const bodies = h("tbody", { role: "rowgroup" });
    this.#keyed = new Keyed(bodies, () => makeRow(columns));
    // The roles stand here because a table that is laid out as records would lose them.
    this.table = h(
      "table",
      { role: "table" },
      h("caption", { class: "hidden" }, caption),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, this.heads)),
      bodies,
    );
    this.nothing = emptiness(...[empty].flat());
    this.further = h("p", { class: "further muted" });
    this.element = h("div", {}, this.table, this.further, this.nothing);
    this.#showOrder();
  }

  update(rows) {
    this.#rows = rows;
    this.#show();
  }

  #show() {
    const { index, descending } = this.#order ?? {};
    let rows = this.#rows;
    if (index !== undefined) {
      const value = this.#columns[index].sort;
      rows = [...rows].sort((left, right) => compare(value(left), value(right)) * (descending ? -1 : 1));
    }
    this.table.hidden = rows.length === 0;
    this.nothing.hidden = rows.length > 0;
    const left = rows.length - this.most;
    this.further.hidden = left <= 0;
    put(this.further, left > 0 ? `${count(left)} more` : "");
    this.#keyed.show(left > 0 ? rows.slice(0, this.most) : rows, this.#keyOf);
  }

  #head(column, index) {
    const content = column.sort
      ? h("button", { type: "button", onclick: () => this.#sort(index) }, column.title)
      : h("span", { class: column.silent ? "hidden" : null }, column.title);
    return h("th", { scope: "col", role: "columnheader", class: column.number ? "number" : null }, content);
  }

  #sort(index) {
    const { number } = this.#columns[index];
    const again = this.#order?.index === index;
    this.#order = { index, descending: again ? !this.#order.descending : Boolean(number) };
    this.#showOrder();
    this.#show();
  }

  #showOrder() {
    this.heads.forEach((head, index) => {
      const { descending } = this.#order?.index === index ? this.#order : {};
      setAttribute(head, "aria-sort", descending === undefined ? null : descending ? "descending" : "ascending");
    });
  }
}

function compare(left, right) {
  if (typeof left === "number" || typeof right === "number") return (left ?? -Infinity) - (right ?? -Infinity);
  return String(left ?? "").localeCompare(String(right ?? ""));
}

/** A row that changes only where what it says has changed. */
function makeRow(columns) {
  const cells = columns.map(({ title, number, head, wide, spare, silent }) =>
    h(head ? "th" : "td", {
      scope: head ? "row" : null,
      role: head ? "rowheader" : "cell",
      class: [number && "number", wide && "wide", spare && "spare"].filter(Boolean).join(" ") || null,
      "data-title": head || silent ? null : title,
    }),
  );
  const told = columns.map(() => undefined);
  return {
    element: h("tr", { role: "row" }, cells),
    update(row) {
      columns.forEach(({ text, fill }, index) => {
        const said = text(row);
        if (said === told[index]) return;
        told[index] = said;
        if (fill) fill(cells[index], row);
        else put(cells[index], said);
      });
    },
  };
}
