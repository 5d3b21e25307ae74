// Questions before anything is done that others feel.

/** Asks, does, and tells when it could not be done. */
class Confirm {
  #dialog = byId("confirm");
  #yes = byId("confirm-yes");
  #work = null;
  #done = false;
  #answer = () => {};
  #opener = null;

  constructor() {
    byId("confirm-no").addEventListener("click", () => this.#dialog.close());
    this.#yes.addEventListener("click", () => this.#do());
    this.#dialog.addEventListener("close", () => this.#closed());
  }

  /** Ask; when the answer is yes, await `work()`. Tells at the end whether it was done. */
  ask({ title, text, verb, work }) {
    put(byId("confirm-title"), title);
    put(byId("confirm-text"), text);
    put(byId("confirm-failure"), "");
    put(this.#yes, verb);
    this.#yes.disabled = false;
    this.#work = work;
    this.#done = false;
    this.#opener = document.activeElement;
    this.#dialog.showModal();
    // The harmless answer is the one that a hasty Enter gives.
    byId("confirm-no").focus();
    return new Promise((resolve) => (this.#answer = resolve));
  }

  async #do() {
    this.#yes.disabled = true;
    try {
      await this.#work();
      this.#done = true;
      this.#dialog.close();
    } catch (error) {
      put(
        byId("confirm-failure"),
        error instanceof Refused ? sentence(error.message) : "The gateway cannot be reached.",
      );
      this.#yes.disabled = false;
    }
  }

  #closed() {
    // What was pressed may be hidden by now; then one beside it goes on.
    if (document.activeElement === document.body)
      this.#opener?.parentElement?.querySelector("button:not([hidden])")?.focus();
    this.#answer(this.#done);
  }
}
