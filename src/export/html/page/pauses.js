// Stops of all threads, garbage collections, and threads that wait for work.

function pauses(page) {
  const { pauses: all } = page.report;
  if (all.count === 0) return null;
  const { wait, time_to_stop: stop } = all;
  const words = { gc: "garbage collection", other: "unknown reasons" };
  const reasons = Object.entries(all.reasons ?? {}).sort((a, b) => b[1] - a[1]);
  return section(
    "pauses",
    "Stops of all threads by the interpreter",
    "Pauses",
    facts(
      fact(number(all.count), "stops that delayed a thread"),
      ...reasons.map(([reason, count]) => fact(number(count), `for ${words[reason] ?? reason}`)),
      fact(duration(wait.total_s), "threads were stopped in total"),
      fact(duration(wait.p99_s), "p99"),
      fact(duration(wait.max_s), "longest"),
      stop.count > 0 && fact(duration(stop.total_s), "until all had stopped"),
    ),
    all.requesters.length > 0 && [heading("Stopped by"), blamedList(all.requesters, wait.total_s)],
    all.last_to_stop.length > 0 && [heading("Last to stop"), blamedList(all.last_to_stop, stop.total_s)],
    all.trend.length > 1 && [heading("Over time"), trend(page, all.trend)],
  );
}

// How stops changed: intervals of one length.
function trend(page, intervals) {
  const column = columnsOf(page, "pauses");
  // In the order of time.
  const columns = [
    column("from", (one) => one.from_s, { text: true }),
    column("stops", (one) => one.count),
    column("held up", (one) => one.total_s),
    column("longest", (one) => one.max_s),
  ].map((one) => ({ ...one, of: undefined }));
  return table("How stops changed", columns, intervals);
}

// With a GIL, other threads wait for garbage collections.
function collections({ report }) {
  const { collections: all } = report;
  if (!all || all.total_s === 0) return null;
  return section(
    "collections",
    "Garbage collection",
    "Garbage",
    el("p", { class: "note", text: "Estimated from samples." }),
    facts(
      fact(duration(all.total_s), "threads collected garbage"),
      all.held_s > 0 && fact(percent(all.held_fraction), "of the time for which the GIL was held"),
      all.held_s > 0 && fact(duration(all.waited_s), "others waited for the GIL meanwhile"),
    ),
    all.by.length > 0 && [heading("Started by"), blamedList(all.by, all.total_s)],
  );
}

function waitingForLimited({ report }) {
  const all = report.waiting_for_limited ?? [];
  if (all.length === 0) return null;
  const total = all.reduce((sum, one) => sum + one.seconds, 0);
  return section(
    "limited",
    "Waiting for limited resources",
    "Limits",
    el("p", { class: "note", text: "A connection of a pool, a permit of a semaphore, room in a queue." }),
    blamedList(all, total, SECONDS, (one) => `for ${one.kind}`),
  );
}

function waitingForWork({ report }) {
  const all = report.waiting_for_work;
  if (all.length === 0) return null;
  const total = all.reduce((sum, one) => sum + one.seconds, 0);
  return section(
    "idle",
    "Waiting for work",
    "Idle",
    el("p", { class: "note", text: "This is normal: these threads had nothing to do." }),
    fold(`${plural(all.length, "place")}, ${duration(total)} in all`, () =>
      blamedList(all, total, SECONDS, (one) => `in ${one.kind}`),
    ),
  );
}
