// The flame graph: callers above what they call. It consists of elements, so that it can be printed, navigated by keys and
// read aloud. Frames that are too narrow to be visible have none, so that their number depends on the width of the
// screen, not on the size of the tree.

const ROW = 19;
/** Narrower frames are not drawn, in pixels. */
const NARROWEST = 0.7;
/** The depth that is drawn until the reader asks for more. */
const FIRST_DEPTH = 40;

function flameGraph(page) {
  const chosen = {
    view: page.view,
    thread: null,
    byThread: page.by_thread,
    byFunction: page.by_function,
    search: "",
    deep: false,
  };
  let root;
  let zoomed;
  let boxes = new Map();

  const graph = el("div", { class: "flame", role: "tree", tabindex: "-1", "aria-label": "Flame graph" });
  const status = el("p", { class: "status", role: "status" });
  const title = el("p", { class: "flame-title" });
  const path = el("p", { class: "path" });
  const top = el("div");
  const deeper = button("", () => ((chosen.deep = true), draw()), { class: "more" });

  const views = page.views.map(({ name, title: words }, index) =>
    button(name, () => choose({ view: index }), { title: words, "data-view": name }),
  );
  const threads = el(
    "select",
    {
      "aria-label": "Thread",
      on: { change: () => choose({ thread: threads.value === "" ? null : Number(threads.value) }) },
    },
    el("option", { value: "", text: "all threads" }),
    page.threads.map((thread) => el("option", { value: String(thread.index), text: thread.label })),
  );
  const search = el("input", {
    type: "search",
    placeholder: "Search (function or file)",
    "aria-label": "Search frames",
    on: { input: () => ((chosen.search = search.value.trim().toLowerCase()), (hits = new Map()), draw()) },
  });
  const check = (text, key) => {
    const input = el("input", { type: "checkbox", on: { change: () => choose({ [key]: input.checked }) } });
    input.checked = chosen[key];
    return el("label", {}, input, text);
  };

  const view = () => page.views[chosen.view];
  const amount = (value) =>
    view().timed ? duration(value / 1e6) : `${plural(value, "sample")}, ${duration((value * page.period) / 1e6)}`;
  const pathOf = (node) => (node.frame < 0 ? "" : page.stacks.strings[page.stacks.files[node.frame]]);
  // By name, because many frames share few names.
  let hits = new Map();
  const isHit = (node) => {
    if (!hits.has(node.name))
      hits.set(node.name, `${node.name}\n${pathOf(node)}`.toLowerCase().includes(chosen.search));
    return hits.get(node.name);
  };

  function choose(what) {
    Object.assign(chosen, what, { deep: false });
    root = callTree(page, chosen.view, chosen.thread, chosen.byThread, chosen.byFunction);
    zoomed = root;
    views.forEach((one, index) => one.setAttribute("aria-pressed", String(index === chosen.view)));
    threads.value = chosen.thread === null ? "" : String(chosen.thread);
    listFunctions();
    draw();
  }

  function zoom(node, focus = false) {
    zoomed = node;
    draw();
    if (focus) boxes.get(node)?.focus();
  }

  /** The visible boxes: the zoomed frame and its callers over the whole width, and what it called. */
  function draw() {
    const width = graph.clientWidth || 1000;
    const narrowest = (NARROWEST / width) * zoomed.total;
    const visible = [];
    for (let node = zoomed.parent; node; node = node.parent) visible.unshift(node);
    const outer = visible.length;
    for (const node of nodesBelow(zoomed, (node) => node.total >= narrowest && node.total > 0)) visible.push(node);
    const deepest = visible.reduce((most, node) => Math.max(most, node.depth), 0);
    const last = chosen.deep ? deepest : Math.min(deepest, Math.max(FIRST_DEPTH, zoomed.depth + FIRST_DEPTH / 2));
    boxes = new Map();
    visible.forEach((node, index) => {
      if (node.depth <= last) boxes.set(node, box(node, index < outer, width));
    });
    graph.replaceChildren(...boxes.values());
    graph.style.height = `${(last + 1) * ROW}px`;
    (boxes.get(zoomed) ?? graph.firstChild)?.setAttribute("tabindex", "0");
    deeper.hidden = last >= deepest;
    deeper.textContent = `Show ${deepest - last} more levels`;
    say();
  }

  function box(node, isOuter, width) {
    const part = isOuter ? 1 : ratio(node.total, zoomed.total);
    const left = isOuter ? 0 : ratio(node.left - zoomed.left, zoomed.total);
    const owner = node.frame < 0 ? 0 : page.stacks.owners[node.frame];
    const hit = chosen.search !== "" && node !== root && isHit(node);
    const css = [
      "box",
      node === root ? "root" : `o${owner}`,
      `t${shade(node.name)}`,
      isOuter && "outer",
      hit && "hit",
      chosen.search !== "" && !hit && "miss",
    ]
      .filter(Boolean)
      .join(" ");
    const label = `${node.name}, ${amount(node.total)}, ${percent(ratio(node.total, root.total))}`;
    const made = el("div", {
      class: css,
      role: "treeitem",
      "aria-level": String(node.depth + 1),
      "aria-label": label,
      "aria-expanded": node.children.length > 0 ? "true" : null,
      tabindex: "-1",
      style: { left: `${left * 100}%`, width: `${part * 100}%`, top: `${node.depth * ROW}px` },
    });
    if (part * width > 26) made.textContent = node.name;
    made.node = node;
    return made;
  }

  function say(node) {
    if (root.total === 0) {
      title.textContent = `${view().title}: nothing in this view${chosen.thread === null ? "" : " of this thread"}.`;
      status.textContent = "";
    } else {
      title.textContent = `${view().title}: ${amount(root.total)}`;
      const hits =
        chosen.search === "" ? "" : ` Found: ${percent(ratio(found(root, isHit), root.total))} of this view.`;
      const one = node ?? (zoomed === root ? null : zoomed);
      status.textContent =
        (one
          ? `${one.name}: ${amount(one.total)}, ${percent(ratio(one.total, root.total))}; itself ${amount(one.own)}.`
          : "Press a frame to zoom in; arrow keys go from frame to frame, Enter zooms, Escape zooms out.") + hits;
    }
    path.textContent = node ? pathOf(node) : "";
    reset.hidden = zoomed === root;
  }

  function listFunctions() {
    const column = columnsOf(page, "functions");
    const part = (value) => (value > 0 ? percent(ratio(value, root.total)) : "-");
    const columns = [
      column("itself", (one) => one.own, { show: (one) => part(one.own) }),
      column("with what it calls", (one) => one.total, { show: (one) => part(one.total) }),
      column(chosen.byFunction ? "function" : "line", (one) => one.name, {
        show: (one) =>
          button(one.name, () => ((search.value = one.name), search.dispatchEvent(new Event("input"))), {
            class: "link",
            title: pathOf(one),
          }),
      }),
    ];
    const was = top.querySelector("details")?.open;
    const list = () => table("Time by function", columns, byName(root), { sort: 0 });
    top.replaceChildren(fold(`${chosen.byFunction ? "Functions" : "Lines"} by time`, list, was));
  }

  const target = (event) => event.target.closest?.(".box")?.node;
  graph.addEventListener("click", (event) => target(event) && zoom(target(event), true));
  graph.addEventListener("pointerover", (event) => target(event) && say(target(event)));
  graph.addEventListener("pointerleave", () => say());
  graph.addEventListener("focusin", (event) => target(event) && say(target(event)));
  graph.addEventListener("keydown", (event) => {
    const node = target(event);
    if (!node) return;
    const beside = (step) => {
      const all = node.parent?.children ?? [];
      return all[all.indexOf(node) + step];
    };
    const goes = {
      ArrowUp: () => node.parent,
      ArrowDown: () => node.children[0],
      ArrowLeft: () => beside(-1),
      ArrowRight: () => beside(1),
    };
    if (goes[event.key]) {
      const next = boxes.get(goes[event.key]());
      graph.querySelector('[tabindex="0"]')?.setAttribute("tabindex", "-1");
      (next ?? event.target).setAttribute("tabindex", "0");
      next?.focus();
    } else if (event.key === "Enter" || event.key === " ") zoom(node, true);
    else if (event.key === "Escape") zoom(root, true);
    else return;
    event.preventDefault();
  });
  const reset = button("Zoom out", () => zoom(root, true));
  new ResizeObserver(
    () => graph.clientWidth && Math.abs(graph.clientWidth - drawnAt) > 8 && ((drawnAt = graph.clientWidth), draw()),
  ).observe(graph);
  let drawnAt = 0;

  const owners = ["not code", "the program", "packages", "standard library", "native code"];
  const shownOwners = [1, 2, 3, ...(page.stacks.owners.includes(4) ? [4] : []), 0];
  const element = section(
    "flame",
    "Flame graphs",
    "Flame graphs",
    el("div", { class: "choice", role: "group", "aria-label": "View" }, views),
    el(
      "div",
      { class: "controls" },
      threads,
      search,
      check("threads apart", "byThread"),
      check("by function", "byFunction"),
      reset,
    ),
    title,
    graph,
    deeper,
    status,
    path,
    el(
      "ul",
      { class: "legend" },
      shownOwners.map((index) => el("li", {}, el("span", { class: `swatch box o${index}` }), owners[index])),
    ),
    top,
  );
  choose({});
  return {
    element,
    redraw: draw,
    showThread: (thread) => {
      choose({ thread, view: page.views.findIndex(({ name }) => name === "wall") });
      element.scrollIntoView();
      threads.focus();
    },
  };
}

/** One of four shades, the same for the same name. */
function shade(name) {
  let hash = 7;
  for (let index = 0; index < name.length; index++) hash = (hash * 31 + name.charCodeAt(index)) | 0;
  return (hash >>> 3) & 3;
}
