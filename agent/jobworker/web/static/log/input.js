/** What keys and the pointer do in the log. */

/**
 * @param {KeyboardEvent} event
 * @param {any} view  a log view
 */
export function onKey(event, view) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const { viewport } = view;
  const { line, view: height } = viewport.heights;
  const page = Math.max(line, height - 2 * line);
  /** @type {Record<string, () => void>} */
  const keys = {
    ArrowUp: () => viewport.move(-line),
    ArrowDown: () => viewport.move(line),
    PageUp: () => viewport.move(-page),
    PageDown: () => viewport.move(page),
    " ": () => viewport.move(event.shiftKey ? -page : page),
    ArrowLeft: () => viewport.pane.scrollBy(-80, 0),
    ArrowRight: () => viewport.pane.scrollBy(80, 0),
    Home: () => view.goto("start"),
    g: () => view.goto("start"),
    End: () => view.goto("end"),
    G: () => view.goto("end"),
    f: () => view.follow(!view.following),
    w: () => view.toggle("wrap"),
    t: () => view.toggle("times"),
    n: () => view.finder.step(1),
    N: () => view.finder.step(-1),
    "/": () => view.toolbar.searchbar.field.select(),
    ":": () => view.toolbar.place.select(),
  };
  const action = keys[event.key];
  if (!action || (event.target !== viewport.pane && event.key === " ")) return;
  event.preventDefault();
  action();
}

/**
 * @param {Element} clicked
 * @param {any} view  a log view
 */
export function onClick(clicked, view) {
  const element = clicked.closest(".log-row");
  const row = element && view.viewport.rows.get(element);
  if (!row) return;
  if (clicked.classList.contains("log-more")) {
    view.lines.extend(row);
  } else if (clicked.classList.contains("log-number")) {
    view.viewport.stuck = false;
    view.lines.target = row.from;
  }
  view.viewport.refresh();
}
