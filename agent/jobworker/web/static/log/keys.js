/** What keys do while the log has the focus. */

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
  if (!action || (event.target !== viewport.scroller && event.key === " ")) return;
  event.preventDefault();
  action();
}
