// Moves the timeline: wheel, mouse, touch and keys.

/** Connects input to `view`, which `timeline` makes. */
function steer(canvas, overview, view) {
  // The wheel scrolls the page unless the timeline has the focus.
  canvas.addEventListener(
    "wheel",
    (event) => {
      const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
      if (!sideways && !event.ctrlKey && !event.metaKey && document.activeElement !== canvas) return;
      event.preventDefault();
      if (sideways) view.pan((event.deltaX || event.deltaY) / 800);
      else view.zoomAt(view.timeAt(event), Math.exp(Math.max(-300, Math.min(300, event.deltaY)) / 400));
    },
    { passive: false },
  );

  const pointers = new Map();
  let moved = 0;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event.clientX);
    if (pointers.size === 1) moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (before === undefined) return view.hover(event);
    const width = canvas.clientWidth;
    if (pointers.size === 1) {
      moved += Math.abs(event.clientX - before);
      if (moved > 4) view.pan((before - event.clientX) / width);
    } else {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const factor = Math.max(20, Math.abs(before - other)) / Math.max(20, Math.abs(event.clientX - other));
      moved = 100;
      view.zoomAt(view.timeAt({ clientX: (event.clientX + other) / 2 }), factor);
    }
    pointers.set(event.pointerId, event.clientX);
  });
  const lift = (event) => {
    if (pointers.delete(event.pointerId) && pointers.size === 0 && moved <= 4 && event.type === "pointerup")
      view.pick(event);
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", () => view.leave());
  canvas.addEventListener("dblclick", (event) => view.zoomAt(view.timeAt(event), 0.25));

  let grabbed = null;
  overview.addEventListener("pointerdown", (event) => {
    overview.setPointerCapture(event.pointerId);
    grabbed = view.timeAt(event, overview);
  });
  overview.addEventListener("pointermove", (event) => {
    if (grabbed === null) return;
    const at = view.timeAt(event, overview);
    if (Math.abs(at - grabbed) > view.length / 200)
      view.look(Math.max(0, Math.min(grabbed, at)), Math.min(view.length, Math.max(grabbed, at)));
  });
  overview.addEventListener("pointercancel", () => (grabbed = null));
  overview.addEventListener("pointerup", (event) => {
    if (grabbed === null) return;
    const at = view.timeAt(event, overview);
    const span = view.range.to - view.range.from;
    if (Math.abs(at - grabbed) <= view.length / 200) view.look(at - span / 2, at + span / 2);
    grabbed = null;
  });

  canvas.addEventListener("keydown", (event) => {
    const acts = {
      ArrowLeft: () => view.pan(-0.2),
      ArrowRight: () => view.pan(0.2),
      a: () => view.pan(-0.2),
      d: () => view.pan(0.2),
      "+": () => view.zoomAt(view.middle(), 0.6),
      "=": () => view.zoomAt(view.middle(), 0.6),
      w: () => view.zoomAt(view.middle(), 0.6),
      "-": () => view.zoomAt(view.middle(), 1 / 0.6),
      s: () => view.zoomAt(view.middle(), 1 / 0.6),
      0: () => view.look(0, view.length),
      Home: () => view.look(0, view.range.to - view.range.from),
      End: () => view.look(view.length - (view.range.to - view.range.from), view.length),
      ArrowUp: () => view.go(-1, 0),
      ArrowDown: () => view.go(1, 0),
      ",": () => view.go(0, -1),
      ".": () => view.go(0, 1),
      Enter: () => view.selected && view.zoomTo(view.selected),
      Escape: () => view.select(null),
    };
    if (!acts[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    acts[event.key]();
  });
}
