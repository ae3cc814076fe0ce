// Opens the browser's own EventSource or WebSocket to a server of the lab, and shows what the page learns of it: rows,
// readyState, how often it came back, and the place to go on from. What it does not learn, nobody can show: the status
// that ended an EventSource, a ping of a WebSocket.

const SPEAK_MS = 5000; // a screen reader hears of new rows this often: each row would be a flood
const MOST_TEXT = 400; // characters of a value in a row; a recent change has 1 200, a snapshot more
const FIRST_MS = 1000; // the most that the first wait of a WebSocket can be; it doubles with each failure,
const LONGEST_MS = 30_000; // up to this
const BACK_OFF_MS = 5000; // the least after a code that says: not so fast
const HEALTHY_MS = 10_000; // a WebSocket that lived so long makes up for the failures before it
const CLOSE_MS = 1000; // for a server to answer the closing frame; Chromium alone would wait 2 s, and others longer

const STATES = { sse: ["CONNECTING", "OPEN", "CLOSED"], websocket: ["CONNECTING", "OPEN", "CLOSING", "CLOSED"] };
// Events of the lab's servers about the stream itself, which a reader should not miss (servers/sse.py).
const ABOUT_THE_STREAM = ["too old", "other epoch", "bad position", "snapshot", "dropped", "busy"];
const MEANINGS = {
  1000: "done", 1001: "going away", 1002: "protocol error", 1003: "not this kind of message", 1005: "no code was sent",
  1006: "no closing frame came", 1007: "not UTF-8", 1008: "policy", 1009: "message too long", 1010: "extension missing",
  1011: "error in the server", 1012: "the server restarts", 1013: "try again later", 1014: "bad gateway",
  4401: "not authenticated", 4408: "too slow a reader", 4429: "too many messages",
};

// What to do after a close code: the three ranges of the lab (servers/core/websocket_connection.py).
function verdict(code) {
  if ([1000, 1002, 1003, 1007, 1008, 1009, 1010].includes(code) || (code >= 4400 && code <= 4407)) return "stop";
  if (code === 1013 || (code >= 4408 && code <= 4499)) return "back off";
  return "reconnect";
}

// Full jitter, so that a thousand pages whose server went down do not come back as one crowd.
function waitMs(code, failures) {
  const jitter = Math.random() * Math.min(LONGEST_MS, FIRST_MS * 2 ** failures);
  return verdict(code) === "back off" ? BACK_OFF_MS + jitter : jitter;
}

function clip(text) {
  return text.length > MOST_TEXT ? `${text.slice(0, MOST_TEXT)} … (${text.length} characters)` : text;
}

function seconds(ms) {
  return `${(ms / 1000).toFixed(2)} s`;
}

// Both kinds below answer to { close, state, send }, and tell `on` what happens: row(value), heard(row), place(id),
// now(state, words) and opened(again).

function eventSource(url, model, way, on) {
  checkProxied(way);
  const source = new EventSource(url);
  if (!way.direct) proxied.add(source);
  let cutAt = null, before = false;
  const close = () => {
    source.close();
    proxied.delete(source);
  };
  const hear = (event) => {
    if (event.lastEventId) on.place(event.lastEventId);
    on.heard({ event: event.type, id: event.lastEventId, data: clip(event.data) });
  };
  for (const type of new Set([...model.get("types"), ...ABOUT_THE_STREAM])) source.addEventListener(type, hear);
  source.addEventListener("open", () => {
    on.row(cutAt === null ? "open" : `open again, ${seconds(performance.now() - cutAt)} after the cut`);
    on.opened(before);
    before = true;
    cutAt = null;
  });
  source.addEventListener("error", (event) => {
    if (event instanceof MessageEvent) return; // an event that the server named "error": heard above, if asked for
    if (source.readyState !== EventSource.CLOSED) {
      cutAt ??= performance.now();
      const what = before ? "cut" : "no answer";
      on.row(`error, readyState ${source.readyState}: ${what}; the browser tries again by itself`);
      return on.now("waiting", before ? "Cut. The browser tries again by itself." : "No answer. The browser tries again.");
    }
    close();
    on.row("error, readyState 2: the browser has given up, and does not tell the page why");
    on.now("ended", "Ended for good: a status other than 200, or not text/event-stream. Only a new EventSource helps.");
  });
  return { close, state: () => source.readyState };
}

function webSocket(url, model, way, on) {
  let socket, timer = null, failures = 0, before = false, place = "", left = false;

  // Each object is sent as JSON, and the first one says where to go on from, if the widget knows a field for that.
  const hello = () => {
    let resume = model.get("resume");
    return model.get("hello").map((message) => {
      if (typeof message === "string") return message;
      const whole = resume && place ? { ...message, [resume]: place } : message;
      resume = "";
      return JSON.stringify(whole);
    });
  };
  const send = (text) => {
    if (socket.readyState !== WebSocket.OPEN) return on.row("✗ not sent: the WebSocket is not open");
    socket.send(text);
    on.row({ sent: clip(text) });
  };
  // The place in a delivered message: an acknowledgement has a position, too, but one that may lie ahead.
  const placeIn = (text) => {
    try {
      const { type = "message", position, id } = JSON.parse(text) ?? {};
      const found = position ?? id;
      if (type === "message" && typeof found === "string") on.place((place = found));
    } catch {} // what is not JSON has no place
  };
  const hear = ({ data }) => {
    if (typeof data === "string") {
      placeIn(data);
      return on.heard({ text: clip(data) });
    }
    const start = [...new Uint8Array(data, 0, Math.min(16, data.byteLength))];
    on.heard({ bytes: data.byteLength, begin: start.map((byte) => byte.toString(16).padStart(2, "0")).join(" ") });
  };

  function connect() {
    const mine = (socket = new WebSocket(url));
    let openAt = null;
    mine.binaryType = "arraybuffer";
    mine.onopen = () => {
      openAt = performance.now();
      on.row(before ? "open again" : "open");
      on.opened(before);
      before = true;
      hello().forEach(send);
    };
    mine.onmessage = hear;
    mine.onclose = ({ code, reason, wasClean }) => {
      if (left) return;
      if (openAt !== null && performance.now() - openAt > HEALTHY_MS) failures = 0;
      const meaning = MEANINGS[code] ?? verdict(code);
      const why = openAt === null ? "it did not open, and the browser does not tell the page why" : meaning;
      on.closed(code);
      on.row({ closed: code, why, ...(reason && { reason }), clean: wasClean });
      if (verdict(code) === "stop") return on.now("ended", `Ended for good with ${code}, ${meaning}.`);
      const ms = waitMs(code, failures++);
      timer = setTimeout(connect, ms);
      on.now("waiting", `Closed with ${code}. This page tries again in ${seconds(ms)}.`);
    };
    on.now("connecting", before ? "Connecting again …" : "Connecting …");
  }
  connect();
  const close = () => {
    left = true;
    clearTimeout(timer);
    socket.close(1000);
    // The page sees the end of the closing handshake, or its absence, in readyState.
    const end = performance.now() + CLOSE_MS;
    const look = () => {
      on.look();
      if (socket.readyState !== WebSocket.CLOSED && performance.now() < end) setTimeout(look, BATCH_MS);
    };
    look();
  };
  return { close, state: () => socket.readyState, send };
}

// What is known of the stream, by name; changes are put into the page with the rows.
function factsView(kind, resumes) {
  const list = element("dl", "lab-facts");
  const values = {};
  const names = {
    readyState: "readyState",
    events: kind === "sse" ? "events" : "messages",
    reconnects: "reconnects",
    ...(kind === "websocket" && { closed: "last close code" }),
    ...(kind === "sse" && { place: "Last-Event-ID" }),
    ...(resumes && { place: "position" }),
  };
  for (const [key, name] of Object.entries(names)) {
    const pair = element("div", "");
    pair.append(element("dt", "", name), (values[key] = element("dd", "", "–")));
    list.append(pair);
  }
  const show = (facts) => {
    for (const [key, value] of Object.entries(facts)) {
      const text = value === "" || value === null ? "–" : String(value);
      if (values[key] && values[key].textContent !== text) values[key].textContent = values[key].title = text;
    }
  };
  return { list, show };
}

function button(className, text) {
  const made = element("button", className, text);
  made.type = "button";
  return made;
}

// A line to type into, for a WebSocket: Enter sends it. No form, since JupyterLab lets none be submitted.
function sayView(send) {
  const box = element("div", "lab-bar lab-say");
  const label = element("label", "", "Text to send ");
  const input = element("input", "");
  const go = button("lab-send", "Send");
  input.type = "text";
  input.autocomplete = "off";
  label.append(input);
  box.append(label, go);
  const act = () => {
    send(input.value);
    input.value = "";
    input.focus();
  };
  go.addEventListener("click", act);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.isComposing) act(); // composing: it ends a word of Japanese, say
  });
  const enable = (can) => (input.disabled = go.disabled = !can);
  enable(false);
  return { box, enable };
}

function rowsBox(height) {
  const box = element("div", "lab-rows");
  // A log is spoken by itself; not this one, which may get hundreds of rows a second. The status speaks instead.
  for (const [name, value] of [["role", "log"], ["aria-live", "off"], ["tabindex", "0"], ["aria-label", "Rows"]]) {
    box.setAttribute(name, value);
  }
  box.style.height = `${height}px`;
  return box;
}

const FRESH = { readyState: "", events: 0, reconnects: 0, place: "", closed: "" };

function render({ model, el }) {
  const kind = model.get("kind");
  const way = route(model.get("server"), model.get("route"));
  const url = (kind === "sse" ? way.url : way.url.replace(/^http/, "ws")) + model.get("path");
  const open = button("lab-start", "Open");
  const close = button("lab-stop", "Close");
  const status = element("span", "lab-status", "Ready: press Open.");
  const spoken = element("div", "lab-spoken"); // seen by nobody: how many rows came, now and then
  const box = rowsBox(model.get("height"));
  const rows = rowsView(box, model.get("most_rows"));
  const facts = factsView(kind, model.get("resume") !== "");
  const say = sayView((text) => stream?.send(text));
  const bar = element("div", "lab-bar");
  close.disabled = true;
  status.setAttribute("role", "status");
  spoken.setAttribute("aria-live", "polite");
  bar.append(open, close, status);
  el.classList.add("lab-browser");
  el.append(bar, ...(kind === "sse" ? [] : [say.box]), facts.list, box, spoken, routeElement(way));

  let stream = null, known = { ...FRESH }, state = "ready", dirty = false, timers = [];

  const draw = () => {
    if (stream) known.readyState = stream.state();
    const name = STATES[kind][known.readyState];
    facts.show({ ...known, readyState: name ? `${known.readyState} ${name}` : "" });
  };
  const sync = () => {
    if (!dirty) return;
    dirty = false;
    model.set({
      rows: rows.kept(), state, ready_state: known.readyState, events: known.events, reconnects: known.reconnects,
      last_event_id: known.place, close_code: known.closed || null, way: way.direct ? "direct" : "proxy",
    });
    model.save_changes();
  };
  const row = (value) => {
    rows.add(value);
    dirty = true;
  };
  const now = (next, words) => {
    const over = next === "ended" || next === "closed";
    state = next;
    dirty = true;
    draw();
    status.textContent = words;
    // The button that has the focus may be about to be disabled: keep the keyboard where it was.
    const focused = document.activeElement;
    open.disabled = !over;
    close.disabled = over;
    say.enable(next === "open");
    if (over && (focused === close || say.box.contains(focused))) open.focus();
    if (!over && focused === open) close.focus();
    if (!over) return;
    timers.forEach(clearInterval);
    rows.draw();
    sync();
  };
  const told = () => {
    let before = 0;
    return () => {
      if (known.events > before) spoken.textContent = `${known.events - before} new, ${known.events} in all`;
      before = known.events;
    };
  };
  // `mine` keeps what is still on its way from a stream that was left out of the next one.
  const listener = (mine) => {
    const only = (act) => (...args) => mine === current && act(...args);
    return {
      row: only(row),
      heard: only((value) => {
        known.events += 1;
        row(value);
      }),
      place: only((id) => (known.place = id)),
      closed: only((code) => (known.closed = code)),
      opened: only((again) => {
        if (again) known.reconnects += 1;
        now("open", again ? "Open again." : "Open.");
      }),
      now: only(now),
      look: only(() => {
        dirty = true;
        draw();
        sync();
      }),
    };
  };
  let current = null;

  const begin = () => {
    const mine = (current = {});
    rows.clear();
    known = { ...FRESH };
    spoken.textContent = "";
    timers = [setInterval(draw, BATCH_MS), setInterval(sync, SYNC_MS), setInterval(told(), SPEAK_MS)];
    now("connecting", "Connecting …");
    try {
      stream = (kind === "sse" ? eventSource : webSocket)(url, model, way, listener(mine));
      draw();
    } catch (error) {
      row(`✗ ${error.name}: ${error.message}`);
      now("ended", `✗ ${error.message}.`);
    }
  };
  const end = () => {
    if (state === "ready" || state === "ended" || state === "closed") return;
    stream?.close();
    now("closed", `Closed by you, after ${known.events} ${kind === "sse" ? "events" : "messages"}.`);
  };
  open.addEventListener("click", begin);
  close.addEventListener("click", end);
  return () => {
    end();
    timers.forEach(clearInterval);
    rows.end();
  };
}

export default { render };
