// Stops of all threads, and who had nothing to do.

function pauses({ report }) {
  const { pauses: all } = report;
  if (all.count === 0) return null;
  const { wait, time_to_stop: stop } = all;
  const collections = all.reasons?.gc ?? 0;
  return section(
    "pauses",
    "Stops of all threads by the interpreter",
    "Pauses",
    facts(
      fact(number(all.count), `stops that held somebody up, ${number(collections)} to collect garbage`),
      fact(duration(wait.total_s), "threads were held up in all"),
      fact(duration(wait.p99_s), "p99"),
      fact(duration(wait.max_s), "longest"),
      stop.count > 0 && fact(duration(stop.total_s), "until all had stopped"),
    ),
    all.requesters.length > 0 && [heading("Stopped by"), blamedList(all.requesters, wait.total_s)],
    all.last_to_stop.length > 0 && [heading("Last to stop"), blamedList(all.last_to_stop, stop.total_s)],
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
    el("p", { class: "note", text: "Nothing is wrong with that: these threads had nothing to do." }),
    fold(`${plural(all.length, "place")}, ${duration(total)} in all`, () =>
      blamedList(all, total, SECONDS, (one) => `in ${one.kind}`),
    ),
  );
}
