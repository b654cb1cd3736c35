// Contended locks: who waited for them, and who held them.

function locks(page) {
  const all = page.report.locks;
  if (all.length === 0) return null;
  const waited = all.reduce((sum, lock) => sum + lock.wait.total_s, 0);
  const opened = new Map();
  const open = (lock) => {
    let details = opened.get(lock);
    if (!details) {
      details = lockDetails(page, lock, true);
      opened.set(lock, details);
      list.append(details);
    }
    details.open = true;
    details.querySelector("summary").focus();
    details.scrollIntoView({ block: "start" });
  };
  const holders = (lock) => lock.threads.filter((thread) => thread.caused_s > 0).length;
  const column = columnsOf(page, "locks");
  const columns = [
    column("lock", (lock) => lock.label, {
      show: (lock) => button(lock.label, () => open(lock), { class: "link" }),
    }),
    { title: "", text: true, css: "small", show: (lock) => meter(ratio(lock.wait.total_s, waited)) },
    ...waitColumns(column),
    ...(all.some((lock) => lock.spin_s > 0) ? [column("spin", (lock) => lock.spin_s)] : []),
    column("sleeps", (lock) => lock.parked),
    column("holders", holders),
    column("owner changes", (lock) => lock.owner_changes),
  ];
  const list = el("div", { class: "lock-list" });
  for (const lock of all.slice(0, 10)) {
    const details = lockDetails(page, lock, opened.size < 2);
    opened.set(lock, details);
    list.append(details);
  }
  return section(
    "locks",
    "Locks",
    "Locks",
    facts(
      fact(number(all.length), all.length === 1 ? "lock was waited for" : "locks were waited for"),
      fact(duration(waited), "waited in total"),
      fact(ratio(waited, page.report.session.duration_s).toFixed(2), "threads wait on average"),
    ),
    table("Locks that were waited for", columns, all),
    list,
  );
}

function lockDetails(page, lock, open) {
  const { wait } = lock;
  const of = (part) => percent(ratio(part, wait.total_s));
  const make = () =>
    [
      facts(
        fact(duration(wait.total_s), `waited in ${plural(wait.count, "wait")}`),
        fact(percent(lock.contended_fraction), "of the time waited for"),
        fact(duration(wait.p50_s), "p50"),
        fact(duration(wait.p99_s), "p99"),
        fact(duration(wait.max_s), "longest"),
      ),
      el("p", {
        class: "note",
        text: `Of the waiting, ${of(lock.caused_s)} is attributed to holders, ${of(lock.gap_s)} was hand-off, ${of(lock.unknown_s)} is unknown.${lock.estimated ? " Estimated from samples." : ""}`,
      }),
      blame(lock, wait.total_s, page.report.blame),
      lock.holder_off_cpu.length > 0 &&
        fold(
          `The holder was off the CPU: ${duration(lock.holder_off_cpu.reduce((sum, one) => sum + one.seconds, 0))}`,
          () =>
            blamedList(lock.holder_off_cpu, wait.total_s, SECONDS, (one) =>
              one.syscall ? `${one.state} in ${one.syscall}` : one.state,
            ),
        ),
      matrix(
        page,
        page.whom.find((one) => one.pid === lock.pid && one.label === lock.label),
      ),
      lock.lengths?.length > 0 &&
        fold("Lengths of waits", () => histogram(lock.lengths, `Lengths of waits for ${lock.label}`)),
      accounting(lock),
    ]
      .flat(Infinity)
      .filter(Boolean);
  return fold(
    el(
      "span",
      {},
      el("strong", { text: lock.label }),
      ` · ${plural(lock.contended, "wait")}, ${duration(wait.total_s)}`,
    ),
    make,
    open,
    { class: "card" },
  );
}
