// Numbers, times and names as people read them. What is not known is a dash, or the word "unknown", never a zero.

const NONE = "–";
const THIN = "\u202f";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const hours = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

function count(value) {
  return isNumber(value) ? whole.format(value) : NONE;
}

/** Large counts in few characters: 1,234 · 56.7k · 8.9M. */
function short(value) {
  if (!isNumber(value)) return NONE;
  for (const [size, letter] of [
    [1e9, "G"],
    [1e6, "M"],
    [1e4, "k"],
  ]) {
    const unit = letter === "k" ? 1e3 : size;
    if (Math.abs(value) >= size) return `${significant(value / unit, 3)}${letter}`;
  }
  return Number.isInteger(value) ? count(value) : significant(value, 3);
}

function significant(value, digits) {
  return isNumber(value) ? String(Number(value.toPrecision(digits))) : NONE;
}

/** Seconds as "340 ms", "2.41 s", "3 min 20 s", "5 h 12 min", "2 d 3 h". */
function duration(seconds) {
  if (!isNumber(seconds)) return NONE;
  if (seconds < 0.0995) return `${significant(seconds * 1000, 2)}${THIN}ms`;
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)}${THIN}ms`;
  if (seconds < 59.95) return `${significant(seconds, 3)}${THIN}s`;
  return longer(Math.round(seconds));
}

/** Whole seconds, for what is counted down or up. */
function span(seconds) {
  if (!isNumber(seconds)) return NONE;
  const rounded = Math.max(0, Math.round(seconds));
  return rounded < 60 ? `${rounded}${THIN}s` : longer(rounded);
}

function longer(seconds) {
  const units = [
    [86_400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const first = units.findIndex(([size]) => seconds >= size);
  const [size, name] = units[first];
  const [below, smaller] = units[first + 1] ?? [1, "s"];
  const rest = Math.floor((seconds % size) / below);
  return `${Math.floor(seconds / size)}${THIN}${name}${rest ? ` ${rest}${THIN}${smaller}` : ""}`;
}

function percent(share) {
  if (!isNumber(share)) return NONE;
  if (share > 0 && share < 0.001) return "< 0.1%";
  if (share < 1 && share > 0.999) return "> 99.9%";
  return `${significant(share * 100, share > 0.1 ? 3 : 2)}%`;
}

/** Money, in the currency of the configured prices. */
function money(value) {
  if (!isNumber(value)) return "unknown";
  if (value === 0) return "0";
  if (value < 1e-6) return "< 0.000001";
  if (value >= 100) return whole.format(value);
  const digits = value < 0.01 ? 6 : value < 1 ? 4 : 2;
  return value.toFixed(digits).replace(/(\.\d\d\d*?)0+$/, "$1");
}

/** What is known of a cost, and of how many requests it is not. */
function cost(value, unknown = 0) {
  if (!unknown) return money(value);
  return value ? `${money(value)} + ${count(unknown)} unknown` : "unknown";
}

function bytes(value) {
  if (!isNumber(value)) return NONE;
  return value < 1e9 ? `${Math.round(value / 1e6)}${THIN}MB` : `${significant(value / 1e9, 3)}${THIN}GB`;
}

const time = (seconds) => (isNumber(seconds) ? clock.format(seconds * 1000) : NONE);
const minute = (seconds) => hours.format(seconds * 1000);
const dated = (seconds) => (isNumber(seconds) ? moment.format(seconds * 1000) : "");

/** "1 request", "2 requests". */
function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** Words of the wire as words: "rate_limit_error" is "rate limit error". */
function words(name) {
  return String(name ?? "").replaceAll("_", " ");
}

/** A message of the gateway as a sentence of its own. */
function sentence(text) {
  const full = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(full) ? full : `${full}.`;
}

function sum(items, value) {
  return items.reduce((total, item) => total + (value(item) || 0), 0);
}
