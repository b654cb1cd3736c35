// What the sections of the GIL and of locks have in common: waits and their lengths, attribution, who waited for whom.

const waitColumns = (column) => [
  column("waits", (row) => row.wait.count),
  ...["total", "mean", "p50", "p99", "max"].map((key) => column(key, (row) => row.wait[`${key}_s`])),
];

/** The number of waits by length: `[{ upto_s, count }]`. */
function histogram(lengths, label) {
  if (!lengths || lengths.length === 0) return null;
  const most = Math.max(...lengths.map(({ count }) => count));
  const row = ({ upto_s, count }) =>
    el(
      "tr",
      {},
      el("th", { scope: "row", text: `up to ${duration(upto_s)}` }),
      el("td", { class: "grow" }, meter(count / most)),
      el("td", { text: number(count) }),
    );
  return el("table", { class: "histogram", "aria-label": label }, el("tbody", {}, lengths.map(row)));
}

/** Who waited for whom, for the threads with the most waiting. */
function matrix(page, found) {
  if (!found || found.pairs.length === 0) return null;
  const sums = [new Map(), new Map()];
  for (const pair of found.pairs)
    for (const side of [0, 1]) sums[side].set(pair[side], (sums[side].get(pair[side]) ?? 0) + pair[2]);
  const [waiters, holders] = sums.map((sum) =>
    [...sum]
      .sort((a, b) => b[1] - a[1])
      .slice(0, 10)
      .map(([thread]) => thread),
  );
  const by = new Map(found.pairs.map(([waiter, holder, ns]) => [`${waiter} ${holder}`, ns]));
  const most = found.pairs[0][2];
  const name = (thread) => page.threads[thread].label;
  const cell = (waiter, holder) => {
    const ns = by.get(`${waiter} ${holder}`) ?? 0;
    const strength = ns > 0 ? 8 + Math.round(42 * (ns / most)) : 0;
    return el(
      "td",
      { style: { background: strength ? `color-mix(in srgb, var(--wait) ${strength}%, transparent)` : "" } },
      ns > 0 ? duration(ns / 1e9) : "-",
    );
  };
  const head = el(
    "thead",
    {},
    el(
      "tr",
      {},
      el("th", { class: "text", text: "waits \\ held by" }),
      holders.map((holder) => el("th", { scope: "col", text: name(holder) })),
    ),
  );
  const rows = waiters.map((waiter) =>
    el(
      "tr",
      {},
      el("th", { scope: "row", class: "text", text: name(waiter) }),
      holders.map((holder) => cell(waiter, holder)),
    ),
  );
  const hidden = sums[0].size > 10 || sums[1].size > 10;
  return [
    heading("Who waits for whom"),
    el(
      "div",
      { class: "scroll", role: "region", tabindex: "0", "aria-label": "Who waits for whom" },
      el("table", { class: "matrix" }, head, el("tbody", {}, rows)),
    ),
    hidden &&
      el("p", {
        class: "note",
        text: `The ten of ${sums[0].size} threads that waited longest, for the ten of ${sums[1].size} that were waited for longest.`,
      }),
  ];
}

/** The same waits, attributed in three ways. */
function blame(of, whole, chosen) {
  const ended = of.releasers.reduce((sum, one) => sum + one.seconds, 0);
  const left = whole - ended;
  const choices = [
    ["Holders", of.holders, "Who held it while others waited, and what they were doing."],
    [
      "Releasers",
      of.releasers,
      `Who ended each wait, and where; all of the wait is attributed to that.${left > whole * 0.0005 ? ` ${duration(left)} ended without an observed release.` : ""}`,
    ],
    ["Waiters", of.waiters, "Who waited, and where."],
  ];
  const nothing = el("p", { class: "note", text: "No thread is known." });
  const make = ([name, list, words]) => [
    name,
    () => [el("p", { class: "note", text: words }), list.length > 0 ? blamedList(list, whole) : nothing].flat(),
  ];
  return tabs("To whom waiting is attributed", choices.map(make), ["holder", "releaser", "waiter"].indexOf(chosen));
}

/** Says whether the parts add up to the whole, in the report's words; the exact sum is its tooltip. */
function accounting({ caused_s, gap_s, unknown_s, wait }) {
  const parts = [caused_s, gap_s, unknown_s];
  const ns = (seconds) => Math.round(seconds * 1e9);
  const complete = parts.reduce((sum, part) => sum + ns(part), 0) === ns(wait.total_s);
  const sum = `${parts.map((part) => part.toFixed(9)).join(" + ")} ${complete ? "=" : "≠"} ${wait.total_s.toFixed(9)}`;
  const [caused, gap, unknown] = parts.map(duration);
  const words = `accounting complete: ${caused} held by others, ${gap} hand-off, ${unknown} unknown`;
  return el("p", { class: "check" }, el("code", { title: sum, text: complete ? words : `accounting INCOMPLETE: ${sum}` }));
}
