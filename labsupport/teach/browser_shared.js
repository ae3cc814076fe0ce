// What the widgets of this room share in the reader's browser: the way to the lab's server, and the rows that they
// show. browser.py puts it in front of browser.js and browser_streams.js, since a widget's module cannot import
// ours: the page knows no address for it.

const BATCH_MS = 100; // rows are put into the page this often, however fast they come
const SYNC_MS = 500; // and handed to Python this often
const STREAMS_THROUGH_PROXY = 3; // a browser opens 6 connections to one HTTP/1.1 origin, and JupyterLab needs some

// Measured with jupyter-server-proxy 4.6.
const PROXY_PITFALLS = [
  "A streamed fetch comes in one piece, at its end, unless it asks with Accept: text/event-stream, as EventSource "
    + "does. The proxy cuts streams after two hours, and other requests after five minutes.",
  "When you close an event stream, the server may not notice it for long: it counts readers that have left.",
  "WebSocket close codes and reasons are lost, both ways: whatever was sent, 1005 comes.",
  "The streams share the browser's 6 connections to this origin with JupyterLab, so at most "
    + `${STREAMS_THROUGH_PROXY} may be open at once here.`,
  "DELETE fails, and the server sees Jupyter's cookies.",
];

// The way from this page to a server that listens on 127.0.0.1 of the machine where Jupyter runs: direct where
// that is this machine, else through Jupyter's proxy. `wanted` is "auto", or the way to insist on.
function route(server, wanted) {
  const local = ["localhost", "127.0.0.1", "[::1]", "::1"].includes(location.hostname);
  const config = document.getElementById("jupyter-config-data");
  const base = config ? JSON.parse(config.textContent).baseUrl : null; // none in VS Code, which has no proxy
  const direct = wanted === "direct" || base === null || (wanted === "auto" && local);
  if (direct) return { url: server.replace(/\/$/, ""), direct, words: `directly at ${server}` };
  const { port, pathname } = new URL(server);
  const url = new URL(`${base}proxy/${port}${pathname}`, location.href).href.replace(/\/$/, "");
  const words = "through Jupyter's proxy, which changes five things";
  return { url: /^ws/.test(server) ? url.replace(/^http/, "ws") : url, direct, words };
}

// Which way is in use, and what to know about it.
function routeElement(way) {
  const box = element("div", "lab-route");
  const sentence = `Your browser reaches the server ${way.words}.`;
  if (way.direct) {
    box.textContent = sentence;
    return box;
  }
  const more = element("details", "");
  const list = element("ul", "");
  list.append(...PROXY_PITFALLS.map((pitfall) => element("li", "", pitfall)));
  more.append(element("summary", "", sentence), list);
  box.append(more);
  return box;
}

// The event streams that are open through the proxy, of all widgets of this page: each is a module of its own.
const proxied = (globalThis.labProxiedStreams ??= new Set());

function checkProxied(way) {
  if (way.direct || proxied.size < STREAMS_THROUGH_PROXY) return;
  throw new Error(`more than ${STREAMS_THROUGH_PROXY} streams through Jupyter's proxy would block JupyterLab`);
}

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

// One row: the seconds since the start, and text, or the fields of an object.
function rowElement({ at, value }) {
  const row = element("div", "lab-row");
  row.append(element("span", "lab-time", `${at.toFixed(2)} s`), " "); // spaces, for those who copy or listen
  if (value === null || typeof value !== "object") row.append(element("span", "", String(value)));
  else {
    for (const [name, content] of Object.entries(value)) {
      const text = typeof content === "string" ? content : JSON.stringify(content);
      row.append(element("span", "lab-field", name), " ", element("span", "", text), " ");
    }
  }
  return row;
}

// The rows of one view: at most `most` stay, the others are counted.
function rowsView(box, most) {
  let waiting = [], kept = [], total = 0, timer = null, began = performance.now();
  const draw = () => {
    timer = null;
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    box.append(...waiting.splice(0).map(rowElement));
    while (box.childElementCount > most) box.firstElementChild.remove();
    if (atEnd) box.scrollTop = box.scrollHeight;
  };
  return {
    add(value) {
      total += 1;
      const row = { at: (performance.now() - began) / 1000, value };
      for (const list of [waiting, kept]) if (list.push(row) > most) list.shift();
      timer ??= setTimeout(draw, BATCH_MS);
    },
    clear() {
      waiting = [], kept = [], total = 0, began = performance.now();
      box.replaceChildren();
    },
    draw,
    kept: () => kept.map(({ at, value }) => ({ at_s: Math.round(at * 1000) / 1000, row: value })),
    count: () => (total > most ? `the last ${most} of ${total} rows` : `${total} row${total === 1 ? "" : "s"}`),
    end: () => clearTimeout(timer),
  };
}
