// The chat box: a conversation with any model, streamed, with where the answer came from.

class Chat {
  #session;
  #reveal;
  #panel = panel("try");
  #messages = [];
  #control = null;
  #offered = "";

  /** @param reveal `(request id)` shows why a request went where it went; false when that is not known (yet). */
  constructor(session, reveal) {
    this.#session = session;
    this.#reveal = reveal;
    this.model = h("select", { id: "chat-model" });
    this.log = h("div", { class: "log", role: "log", "aria-label": "Conversation", tabindex: "0" });
    this.prompt = h("textarea", {
      id: "chat-prompt",
      rows: "2",
      placeholder: "Ask something",
      onkeydown: (event) => this.#key(event),
      oninput: () => this.#resize(),
    });
    this.send = h("button", { type: "submit", class: "primary" }, "Send");
    this.clear = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => this.#clear() }, "Clear");
    const form = h(
      "form",
      { class: "chat", onsubmit: (event) => this.#submit(event) },
      h("div", { class: "line" }, h("label", { for: "chat-model" }, "Model"), this.model, this.clear),
      this.log,
      h("label", { for: "chat-prompt", class: "hidden" }, "Message"),
      h("div", { class: "line end" }, this.prompt, this.send),
    );
    this.#panel.aside("Enter sends, Shift + Enter breaks the line");
    this.#panel.body.append(form);
    this.#showEmpty();
  }

  /** Offer what may be named now; asked again only when the providers have changed. */
  async update({ providers = [] }) {
    const enabled = providers.filter(({ enabled: on }) => on);
    const pairs = enabled.flatMap(({ name, models = [] }) => models.map(({ model }) => `${name}/${model}`));
    const now = JSON.stringify(pairs);
    if (now === this.#offered) return;
    this.#offered = now;
    let names;
    try {
      const { data } = await this.#session.document("/v1/models");
      names = data.map(({ id }) => id);
    } catch {
      names = [...new Set(enabled.flatMap(({ models = [] }) => models.map(({ model }) => model)))];
    }
    const chosen = this.model.value;
    const option = (name) => h("option", { value: name }, name);
    this.model.replaceChildren(
      h("optgroup", { label: "Whoever serves it best" }, names.map(option)),
      ...(pairs.length ? [h("optgroup", { label: "This provider only" }, pairs.map(option))] : []),
    );
    if ([...this.model.options].some(({ value }) => value === chosen)) this.model.value = chosen;
    this.send.disabled = this.model.options.length === 0;
  }

  stop() {
    this.#control?.abort();
  }

  forget() {
    this.stop();
    this.#offered = "";
    this.#clear();
  }

  #showEmpty() {
    const address = `${location.origin}/v1`;
    this.log.replaceChildren(
      emptiness("Answers stream in here. Any OpenAI client works the same way, at ", h("code", {}, address)),
    );
  }

  #clear() {
    this.stop();
    this.#messages = [];
    this.clear.hidden = true;
    this.#showEmpty();
    this.prompt.focus();
  }

  #key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.prompt.form.requestSubmit();
    }
  }

  #resize() {
    this.prompt.style.height = "auto";
    this.prompt.style.height = `${Math.min(this.prompt.scrollHeight + 2, 200)}px`;
  }

  #submit(event) {
    event.preventDefault();
    if (this.#control) {
      this.stop();
      return;
    }
    const text = this.prompt.value.trim();
    if (!text || !this.model.value) return;
    this.prompt.value = "";
    this.#resize();
    this.#talk(text, this.model.value);
  }

  async #talk(text, model) {
    if (!this.#messages.length) this.log.replaceChildren();
    this.clear.hidden = false;
    const turn = new Turn(text, model, this.#reveal);
    this.log.append(turn.element);
    this.#messages.push({ role: "user", content: text });
    this.#control = new AbortController();
    put(this.send, "Stop");
    setAttribute(this.log, "aria-busy", "true");
    const began = this.#messages;
    try {
      const body = { model, messages: this.#messages, stream: true, stream_options: { include_usage: true } };
      const answer = await this.#session.ask("/v1/chat/completions", { body, signal: this.#control.signal });
      turn.begin(answer.headers);
      for await (const { data } of serverSentEvents(answer)) {
        if (data === null || data === "[DONE]") continue;
        const near = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 40;
        turn.take(JSON.parse(data));
        if (near) this.log.scrollTop = this.log.scrollHeight;
      }
      turn.end();
    } catch (error) {
      turn.fail(error);
    } finally {
      this.#control = null;
      put(this.send, "Send");
      setAttribute(this.log, "aria-busy", "false");
      this.log.scrollTop = this.log.scrollHeight;
    }
    if (began !== this.#messages) return;
    // What was not answered is not part of the conversation.
    if (turn.text) began.push({ role: "assistant", content: turn.text });
    else began.pop();
  }
}

/** One question with its answer. */
class Turn {
  #began = performance.now();
  #first = null;
  #usage = null;
  #origin = null;
  #finish = null;
  #id = null;
  #reveal;
  text = "";

  constructor(question, model, reveal) {
    this.#reveal = reveal;
    this.reasoning = h("p", { class: "reasoning", hidden: true });
    this.answer = h("p", { class: "answer" });
    this.note = h("p", { class: "note muted" }, `asking ${model} …`);
    this.element = h("article", {}, h("p", { class: "question" }, question), this.reasoning, this.answer, this.note);
  }

  begin(headers) {
    this.#id = headers.get("x-request-id");
    const [provider, model] = [headers.get("x-apex-provider"), headers.get("x-apex-model")];
    if (provider) put(this.note, `${provider}, ${model} …`);
  }

  take(frame) {
    if (frame.error) throw new Refused(0, String(frame.error.message), frame.error.code);
    this.#usage = frame.usage ?? this.#usage;
    this.#origin = frame.x_apex ?? this.#origin;
    for (const { index, delta = {}, finish_reason: finish } of frame.choices ?? []) {
      if (index) continue;
      this.#finish = finish ?? this.#finish;
      if (delta.reasoning_content) {
        this.reasoning.hidden = false;
        this.reasoning.append(delta.reasoning_content);
      }
      const text = delta.content || delta.refusal || "";
      if (!text) continue;
      this.#first ??= performance.now();
      this.text += text;
      this.answer.append(text);
    }
  }

  end() {
    const { provider, model, attempts, cost: paid } = this.#origin ?? {};
    const tokens = this.#usage
      ? `${count(this.#usage.prompt_tokens)} + ${count(this.#usage.completion_tokens)} tokens`
      : "tokens unknown";
    this.#tell([
      [provider, model].filter(Boolean).join(", "),
      this.#first === null ? "" : `first chunk ${duration((this.#first - this.#began) / 1000)}`,
      `${duration((performance.now() - this.#began) / 1000)} in all`,
      tokens,
      isNumber(paid) ? `cost ${money(paid)}` : "cost unknown",
      attempts > 1 ? `${attempts} attempts` : "",
      this.#finish && this.#finish !== "stop" ? `ended by ${words(this.#finish)}` : "",
    ]);
  }

  fail(error) {
    if (error.name === "AbortError") {
      this.#tell(["stopped"]);
      return;
    }
    this.element.append(
      h(
        "p",
        { class: "refusal", role: "alert" },
        error instanceof Refused ? sentence(error.message) : "The connection broke.",
      ),
    );
    this.#tell([]);
  }

  #tell(facts) {
    put(this.note, facts.filter(Boolean).join(" · "));
    if (!this.#id) return;
    const button = h(
      "button",
      {
        type: "button",
        class: "link",
        onclick: () => {
          if (!this.#reveal(this.#id)) put(button, "not among the decisions shown");
        },
      },
      "Why there?",
    );
    this.note.append(" ", button);
  }
}
