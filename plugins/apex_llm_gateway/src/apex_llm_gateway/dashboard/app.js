// The page: which of its faces is seen, and who gets each state.

const THEMES = ["system", "light", "dark"];
const THEME = "apex-llm-theme";

class Page {
  #session = new Session();
  #confirm = new Confirm();
  #retry = null;
  /** When the last state came. */
  #seen = null;

  constructor() {
    const act = (provider, model, action) => this.#moveBreaker(provider, model, action);
    this.decisions = new Decisions();
    this.chat = new Chat(this.#session, (id) => this.decisions.reveal(id));
    this.events = new Events();
    this.parts = [
      new Overview(),
      new Providers(act),
      new Live(),
      this.decisions,
      new Usage(),
      this.chat,
      this.events,
      new Limits(),
      new Workers(),
    ];
    this.feed = new Feed(this.#session, {
      state: (state) => this.#show(state),
      happened: (event) => this.events.add(event),
      refused: (error) => this.#askForKey(error),
      status: (status) => this.#tell(status),
    });
    byId("sign-in-form").addEventListener("submit", (event) => this.#signIn(event));
    byId("sign-out").addEventListener("click", () => this.#signOut());
    byId("try-now").addEventListener("click", () => this.feed.start());
    byId("lost")
      .querySelector("button")
      .addEventListener("click", () => this.feed.start());
    this.feed.start();
  }

  #show(state) {
    this.#seen = new Date();
    this.#face("board");
    byId("sign-out").hidden = !this.#session.key;
    for (const part of this.parts) part.update(state);
    const { draining } = state.gateway;
    document.title = draining ? "stopping · apex-llm gateway" : "apex-llm gateway";
  }

  #face(view) {
    if (document.body.dataset.view === view) return;
    document.body.dataset.view = view;
    if (view === "sign-in") byId("key").focus();
  }

  // -- the key --------------------------------------------------------------------------------------------------------

  #askForKey(error) {
    const had = this.#session.key !== null;
    this.#session.leave();
    this.#face("sign-in");
    byId("sign-out").hidden = true;
    // Nobody has done anything wrong before a key was given.
    put(byId("key-refused"), had || error.status === 403 ? sentence(error.message) : "");
    this.#status("plain", "signed out");
    byId("key").focus();
  }

  #signIn(event) {
    event.preventDefault();
    const field = byId("key");
    const key = field.value.trim();
    if (!/^[\x21-\x7e]+$/.test(key)) {
      put(byId("key-refused"), key ? "A key has no spaces and none but ASCII characters." : "Enter the key first.");
      return;
    }
    field.value = "";
    put(byId("key-refused"), "");
    this.#session.enter(key);
    this.feed.start();
  }

  #signOut() {
    this.feed.stop();
    this.chat.forget();
    this.#session.leave();
    // Nothing that the key opened stays in the page.
    location.reload();
  }

  // -- the connection -------------------------------------------------------------------------------------------------

  #tell({ state, wait, reason }) {
    clearInterval(this.#retry);
    this.#retry = null;
    const stale = state === "lost" || state === "paused";
    if (stale || state === "live") document.body.toggleAttribute("data-stale", stale);
    byId("lost").hidden = !document.body.hasAttribute("data-stale");
    if (state === "live") this.#status("good", "live", "The connection is there.");
    else if (state === "paused") this.#status("plain", "paused");
    else if (state === "connecting") this.#status(this.#seen ? "warn" : "plain", "connecting");
    else this.#lost(wait, reason);
  }

  #lost(wait, reason) {
    if (!this.#seen) {
      this.#face("unreachable");
      put(byId("unreachable-reason"), `${location.origin}: ${reason}. This page tries again by itself.`);
    } else
      put(
        byId("lost").firstElementChild,
        `The connection is lost: ${reason}. What is shown is of ${time(this.#seen / 1000)}.`,
      );
    const until = performance.now() + wait * 1000;
    const show = () =>
      this.#status(
        "bad",
        `lost · again in ${span((until - performance.now()) / 1000)}`,
        "The connection is lost. What is shown is not of now.",
      );
    show();
    this.#retry = setInterval(show, 1000);
  }

  /** Show how the connection is; `said` is for those who cannot see it, and told once. */
  #status(tone, text, said = null) {
    const sign = byId("connection");
    setAttribute(sign, "data-state", tone);
    put(sign, text);
    if (said !== null && this.spoken !== said) {
      // The first "live" is no news.
      if (this.spoken !== undefined || tone === "bad") announce(said);
      this.spoken = said;
    }
  }

  // -- breakers -------------------------------------------------------------------------------------------------------

  async #moveBreaker(provider, model, action) {
    const { verb, text } = ACTIONS[action];
    const body = model === null ? { provider, action } : { provider, model, action };
    let moved = 0;
    const done = await this.#confirm.ask({
      title: `${verb} ${called(provider, model)}?`,
      text,
      verb,
      work: async () => ({ moved } = await this.#session.document("/admin/breakers", { body })),
    });
    if (!done) return;
    announce(`${plural(moved, "breaker")} moved.`);
    // Should this fail, the feed notices, too.
    await this.feed.refresh().catch(() => {});
  }
}

/** Tell those who listen instead of looking. */
function announce(text) {
  put(byId("announcements"), text);
}

function theme() {
  const button = byId("theme");
  const show = (name) => {
    setAttribute(document.documentElement, "data-theme", name === "system" ? null : name);
    put(button, `Theme: ${name}`);
  };
  let chosen = localStorage.getItem(THEME);
  if (!THEMES.includes(chosen)) chosen = "system";
  show(chosen);
  button.addEventListener("click", () => {
    chosen = THEMES[(THEMES.indexOf(chosen) + 1) % THEMES.length];
    localStorage.setItem(THEME, chosen);
    show(chosen);
  });
}

theme();
new Page();
