// Formats of numbers, and elements. Used by all files after this one.
// Numbers read as they do in the terminal: src/report/text/units.rs has the rules.

/** Seconds with three digits: "850 ns", "12.3 us", "5.07 ms", "1.23 s". */
function duration(seconds) {
  const ns = seconds * 1e9;
  if (!(ns > 0)) return "0";
  if (ns < 999.5) return `${ns.toFixed(0)} ns`;
  const [value, unit] = ns < 999.5e3 ? [ns / 1e3, "us"] : ns < 999.5e6 ? [ns / 1e6, "ms"] : [seconds, "s"];
  return `${value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0)} ${unit}`;
}

/** A fraction: "98 %", "7.1 %", "0.42 %". Only all of it is 100 %. */
function percent(fraction) {
  const value = fraction * 100;
  if (!(value > 0)) return "0 %";
  if (value < 0.995) return `${value.toFixed(2)} %`;
  if (value < 9.95) return `${value.toFixed(1)} %`;
  return `${(value < 100 ? Math.min(value, 99) : value).toFixed(0)} %`;
}

const ratio = (part, whole) => (whole > 0 ? part / whole : 0);
const number = (value) => value.toLocaleString("en");
const plural = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

/** The label of a thread: its name and tid, unless the name contains the tid. */
const threadLabel = (name, tid) => (name === null || name === `thread ${tid}` ? `thread ${tid}` : `${name} (${tid})`);

/**
 * An element. Attributes are set as such, but for `text`, `style` (an object) and `on` (event listeners).
 * Children that are null or false are left out; strings become text, never markup.
 */
function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === "text") element.textContent = value;
    else if (name === "style") for (const [key, of] of Object.entries(value)) element.style.setProperty(key, of);
    else if (name === "on") for (const [key, of] of Object.entries(value)) element.addEventListener(key, of);
    else if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

const button = (text, press, attributes) =>
  el("button", { type: "button", text, on: { click: press }, ...attributes });
