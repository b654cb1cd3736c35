// Builds the page, and handles navigation, colours and printing.

function themeButton(redraw) {
  const root = document.documentElement;
  const themes = ["auto", "light", "dark"];
  // Pages from files may have no storage.
  const keep = (theme) => {
    try {
      localStorage.setItem("gilscope-theme", theme);
    } catch {
      /* not kept */
    }
  };
  const kept = () => {
    try {
      return localStorage.getItem("gilscope-theme");
    } catch {
      return null;
    }
  };
  const set = (theme) => {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    press.textContent = `Colours: ${theme}`;
  };
  const press = button(
    "",
    () => {
      const next = themes[(themes.indexOf(root.dataset.theme ?? "auto") + 1) % themes.length];
      keep(next);
      set(next);
      redraw();
    },
    { id: "theme" },
  );
  set(themes.includes(kept()) ? kept() : "auto");
  return press;
}

/** Prints in light colours, with everything unfolded. */
function printing(redraw) {
  let before = [];
  window.addEventListener("beforeprint", () => {
    const root = document.documentElement;
    const closed = [];
    before = [root.dataset.theme, closed];
    root.dataset.theme = "light";
    // Building adds further folded parts to the end of the list.
    for (const one of folded) {
      if (!one.details.isConnected || one.details.open) continue;
      one.build();
      one.details.open = true;
      closed.push(one);
    }
    redraw();
  });
  window.addEventListener("afterprint", () => {
    const [theme, closed] = before;
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    for (const { details } of closed) details.open = false;
    redraw();
  });
}

async function main() {
  const main = document.getElementById("page");
  let page;
  try {
    page = await load();
  } catch (error) {
    const old = typeof DecompressionStream === "undefined";
    main.replaceChildren(
      el("p", {
        role: "alert",
        text: old
          ? "This browser is too old to open the report: use Chrome 80, Firefox 113, Safari 16.4, or later."
          : `The report cannot be read: the file is damaged or was cut off (${error.message}).`,
      }),
    );
    return;
  }
  const drawn = [];
  const redraw = () => drawn.forEach((one) => one.redraw());
  const theme = themeButton(redraw);
  const empty = page.report.threads.length === 0;
  const flame = { showThread: () => {} };
  const children = [
    verdict(page),
    findings(page),
    ledger(page, (thread) => flame.showThread(thread)),
    gilSections(page),
    locks(page),
    refcounts(page),
    pauses(page),
    collections(page),
    waitingForLimited(page),
    waitingForWork(page),
  ];
  const graph = empty ? null : flameGraph(page);
  const lanes = empty ? null : timeline(page);
  if (graph) Object.assign(flame, graph);
  for (const one of [graph, lanes]) if (one) drawn.push(one);
  main.replaceChildren(...children.flat().filter(Boolean), ...drawn.map(({ element }) => element), howRecorded(page));
  const links = sections.map(({ id, short }) => el("a", { href: `#${id}`, text: short }));
  document
    .getElementById("top")
    .replaceChildren(
      el("div", { class: "bar-top" }, subject(page), theme),
      el("nav", { "aria-label": "Sections" }, links),
    );
  printing(redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  document.documentElement.dataset.ready = "";
}

main();
