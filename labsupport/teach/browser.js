// Runs the notebook's own JavaScript in the reader's browser, against the lab's server, until it ends or is stopped.
//
// The code sees url, show(row) and signal, and browser things under their usual names: EventSource, WebSocket, fetch,
// setTimeout, setInterval. Those are wrapped, so that Stop, or a view that goes away, ends whatever was begun, even
// by code that never thought of an end.

const ERRORS_ARRIVE_MS = 20; // usually; one that comes later still gets its row, below the word Done

// What the code may use. Each thing it opens is kept here until it is over: `end()` closes them all, and `idle` is
// called when the last one has gone.
function tools(signal, way, idle) {
  const open = new Map(); // thing -> how to end it
  const opened = (thing, end) => open.set(thing, end);
  const over = (thing) => {
    proxied.delete(thing);
    if (open.delete(thing) && open.size === 0) idle();
  };

  class LabEventSource extends EventSource {
    constructor(...how) {
      checkProxied(way);
      super(...how);
      if (!way.direct) proxied.add(this);
      opened(this, () => this.close());
      this.addEventListener("error", () => this.readyState === EventSource.CLOSED && over(this));
    }
    close() {
      super.close();
      over(this);
    }
  }
  class LabWebSocket extends WebSocket {
    constructor(...how) {
      super(...how);
      opened(this, () => this.close());
      this.addEventListener("close", () => over(this));
    }
  }
  const timer = (start, clear, once) => [
    (act, ms, ...more) => {
      if (signal.aborted) return 0;
      const id = start(() => {
        try {
          act(...more);
        } finally {
          if (once) over(id);
        }
      }, ms);
      opened(id, () => clear(id));
      return id;
    },
    (id) => {
      clear(id);
      over(id);
    },
  ];
  const [labSetTimeout, labClearTimeout] = timer(setTimeout, clearTimeout, true);
  const [labSetInterval, labClearInterval] = timer(setInterval, clearInterval, false);
  const given = {
    EventSource: LabEventSource,
    WebSocket: LabWebSocket,
    fetch: (...asked) => {
      if (!asked.length) return fetch(); // the browser's own error, not a request for "undefined"
      const [input, init = {}] = asked;
      const both = init.signal && AbortSignal.any ? AbortSignal.any([signal, init.signal]) : init.signal;
      return fetch(input, { ...init, signal: both ?? signal });
    },
    setTimeout: labSetTimeout,
    clearTimeout: labClearTimeout,
    setInterval: labSetInterval,
    clearInterval: labClearInterval,
  };
  const end = () => {
    const ends = [...open.values()];
    open.clear();
    for (const close of ends) close();
  };
  return { given, end, busy: () => open.size > 0 };
}

const AsyncFunction = (async () => {}).constructor;
let runs = 0; // gives each run's code a name of its own, in errors and in the browser's developer tools

// Errors in the code's own event handlers, which nobody awaits.
function watchErrors(source, tell) {
  const onError = (event) => event.filename?.includes(source) && tell(event.message.replace(/^Uncaught /, ""));
  const onRejection = (event) => {
    const { name, message, stack = "" } = event.reason ?? {};
    if (stack.includes(source) && name !== "AbortError") tell(`${name}: ${message}`);
  };
  addEventListener("error", onError);
  addEventListener("unhandledrejection", onRejection);
  return () => {
    removeEventListener("error", onError);
    removeEventListener("unhandledrejection", onRejection);
  };
}

function advice(error, way) {
  if (!(error instanceof TypeError) || !/fetch|network/i.test(error.message)) return "";
  return way.direct
    ? " Is the server running? If Jupyter runs on another machine, try run_in_browser(…, route=\"proxy\")."
    : " Is the server running, and jupyter-server-proxy installed?";
}

function render({ model, el }) {
  const way = route(model.get("server"), model.get("route"));
  const start = element("button", "lab-start", "Start");
  const stop = element("button", "lab-stop", "Stop");
  const status = element("span", "lab-status", "Ready: press Start.");
  const box = element("div", "lab-rows");
  start.type = stop.type = "button";
  stop.disabled = true;
  status.setAttribute("role", "status");
  for (const [name, value] of [["role", "log"], ["aria-live", "polite"], ["tabindex", "0"], ["aria-label", "Rows"]]) {
    box.setAttribute(name, value);
  }
  box.style.height = `${model.get("height")}px`;
  const bar = element("div", "lab-bar");
  bar.append(start, stop, status);
  el.classList.add("lab-browser");
  el.append(bar, box, routeElement(way));

  const rows = rowsView(box, model.get("most_rows"));
  let run = null;
  let unwatch = () => {};

  const sync = (state) => {
    model.set("rows", rows.kept());
    if (state) model.set("state", state);
    model.save_changes();
  };
  const finish = (mine, state, words) => {
    if (run !== mine) return;
    run = null;
    mine.end();
    rows.draw();
    // The button that has the focus is about to be disabled: keep the keyboard where it was.
    const focused = document.activeElement === stop;
    start.disabled = false;
    stop.disabled = true;
    if (focused) start.focus();
    mine.words = words;
    status.textContent = `${words} (${rows.count()})`;
    sync(state);
  };
  // The browser tells of an error in a handler only after that handler has ended, and on a busy machine so much
  // after it that the run may be done. So it is heard until the next run begins, or the view goes.
  const problem = (mine, text) => {
    rows.add(`✗ ${text}`);
    if (!mine.words) return;
    status.textContent = `${mine.words} (${rows.count()})`;
    sync();
  };

  const begin = async () => {
    unwatch();
    rows.clear();
    const abort = new AbortController();
    const mine = {};
    let returned = false;
    // A moment later, since the browser tells of an error in a handler only after that handler has ended.
    const doneIfIdle = () =>
      setTimeout(() => returned && !held.busy() && finish(mine, "done", "Done."), ERRORS_ARRIVE_MS);
    const held = tools(abort.signal, way, doneIfIdle);
    const source = `your-cell-${(runs += 1)}.js`;
    unwatch = watchErrors(source, (text) => problem(mine, text));
    const syncing = setInterval(sync, SYNC_MS);
    mine.end = () => {
      clearInterval(syncing);
      abort.abort();
      held.end();
    };
    run = mine;
    const focused = document.activeElement === start;
    start.disabled = true;
    stop.disabled = false;
    if (focused) stop.focus();
    status.textContent = "Running …";
    sync("running");
    const given = { url: way.url, show: (row) => run === mine && rows.add(row), signal: abort.signal, ...held.given };
    try {
      const code = `${model.get("code")}\n//# sourceURL=${source}`;
      await new AsyncFunction(...Object.keys(given), code)(...Object.values(given));
      returned = true;
      doneIfIdle();
    } catch (error) {
      finish(mine, "failed", `✗ ${error.name}: ${error.message}.${advice(error, way)}`);
    }
  };
  start.addEventListener("click", begin);
  stop.addEventListener("click", () => run && finish(run, "stopped", "Stopped."));
  return () => {
    if (run) finish(run, "stopped", "Stopped.");
    unwatch();
    rows.end();
  };
}

export default { render };
