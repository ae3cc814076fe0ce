// The bench of bench.py: fields, buttons, a lane for each client, and the same counts as a table. Everything that
// happens, happens in Python; this shows its newest picture. Nothing moves by itself: each picture is drawn whole,
// five times a second, so that "reduced motion" needs nothing more.

const BUTTONS = {
  network: [
    ["delay", "Delay", true],
    ["cut", "Cut", false],
    ["forget", "Forget", true],
  ],
  "client 1": [["slow", "Slow reader", true]],
  server: [
    ["freeze", "Freeze the server", true],
    ["kill", "Kill the server", false],
    ["restart", "Restart it", false],
  ],
};
const KINDS = {
  came: "came",
  twice: "came again",
  gap: "gap: some are missed, and the client is told",
  late: "out of order (not to be expected here: one log, one connection at a time)",
};
const WIDTH = 690;
const LEFT = 78;
const ROW = 22;
const SVG = "http://www.w3.org/2000/svg";

function make(name, attributes = {}, ...children) {
  const node = Object.assign(document.createElement(name), attributes);
  node.append(...children);
  return node;
}

function draw(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

function mark(kind, x, y) {
  if (kind === "gap") return draw("path", { class: "lab-gap", d: `M${x - 4} ${y - 4}l8 8m0 -8l-8 8` });
  if (kind === "late") return draw("rect", { class: "lab-late", x: x - 4, y: y - 4, width: 8, height: 8 });
  if (kind === "twice") return draw("path", { class: "lab-twice", d: `M${x} ${y - 5}l5 5l-5 5l-5 -5z` });
  return draw("circle", { class: "lab-came", cx: x, cy: y, r: 4 });
}

function text(words, x, y, anchor = "start") {
  const node = draw("text", { x, y, "text-anchor": anchor });
  node.textContent = words;
  return node;
}

function lanes(svg, picture) {
  const count = picture.lanes.length;
  const height = (count + 2) * ROW + 20;
  const since = picture.since_s;
  const place = (at) => LEFT + ((at - since) / Math.max(0.001, picture.now_s - since)) * (WIDTH - LEFT - 12);
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${height}`);
  const parts = [];
  let free = LEFT; // names of faults that begin together stand beside each other
  for (const [name, begin, end] of picture.faults) {
    const from = Math.max(LEFT, place(begin));
    const to = place(end ?? picture.now_s);
    parts.push(draw("rect", { class: "lab-fault", x: from, y: 16, width: Math.max(2, to - from), height: height - 36 }));
    parts.push(text(name, Math.max(from, free), 12));
    free = Math.max(from, free) + 8 * name.length + 6;
  }
  const row = (index) => 28 + index * ROW;
  for (const [index, lane] of picture.lanes.entries()) {
    parts.push(text(`client ${index + 1}`, 0, row(index) + 4));
    parts.push(draw("line", { class: "lab-lane", x1: LEFT, x2: WIDTH - 12, y1: row(index), y2: row(index) }));
    for (const [at, , kind] of lane.marks) parts.push(mark(kind, place(at), row(index)));
  }
  parts.push(text("published", 0, row(count) + 4));
  for (const at of picture.published) {
    const x = place(at);
    parts.push(draw("line", { class: "lab-published", x1: x, x2: x, y1: row(count) - 5, y2: row(count) + 5 }));
  }
  parts.push(text(`${Math.max(0, since).toFixed(0)} s`, LEFT, height - 4));
  parts.push(text(`${picture.now_s.toFixed(0)} s`, WIDTH - 12, height - 4, "end"));
  svg.replaceChildren(...parts);
}

function legend() {
  const entries = Object.entries(KINDS).map(([kind, words]) => {
    const sample = draw("svg", { viewBox: "0 0 14 14", width: 14, height: 14, "aria-hidden": "true" });
    sample.append(mark(kind, 7, 7));
    return make("span", {}, sample, words);
  });
  return make("div", { className: "lab-legend" }, ...entries);
}

function counts(table, picture, counters) {
  const names = Object.keys(counters);
  const head = make("tr", {}, make("th", { scope: "col", textContent: "client" }));
  for (const name of names) head.append(make("th", { scope: "col", textContent: counters[name] }));
  const wrong = (name, value) => value > 0 && ["lost", "missed", "twice", "late"].includes(name);
  const line = (title, row) => {
    const cells = names.map((name) =>
      make("td", { textContent: row[name], className: wrong(name, row[name]) ? "lab-wrong" : "" }),
    );
    return make("tr", {}, make("th", { scope: "row", textContent: title }), ...cells);
  };
  const rows = picture.lanes.map((lane, index) => line(String(index + 1), lane));
  table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows, line("all", picture.totals)));
}

function field(label, control) {
  control.dataset.lmSuppressShortcuts = "true"; // JupyterLab moves between cells with the arrow keys
  return make("label", {}, make("span", { textContent: label }), control);
}

function number(value, most, step) {
  return make("input", { type: "number", value, min: step, max: most, step });
}

function render({ model, el }) {
  const first = model.get("first");
  const transport = make("select");
  for (const name of model.get("transports")) transport.append(make("option", { value: name, textContent: name }));
  transport.value = first.transport;
  const clients = number(first.clients, 20, 1);
  const rate = number(first.rate, 10, 0.5);
  const keeps = make("input", { type: "checkbox", checked: first.keeps_place });
  keeps.dataset.lmSuppressShortcuts = "true";
  const keepsLabel = make("label", { className: "lab-check" }, keeps, "clients keep their place");

  const start = make("button", { type: "button", textContent: "Start" });
  const end = make("button", { type: "button", textContent: "End and count" });
  start.addEventListener("click", () =>
    model.send({
      do: "start",
      transport: transport.value,
      clients: Number(clients.value),
      rate: Number(rate.value),
      keeps_place: keeps.checked,
    }),
  );
  end.addEventListener("click", () => model.send({ do: "end" }));

  const buttons = [];
  const add = ([name, words, stays]) => {
    const button = make("button", { type: "button", textContent: words });
    if (stays) button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => model.send({ do: name }));
    buttons.push([name, button, stays]);
    return button;
  };
  const faults = make("div", { className: "lab-row" });
  for (const [where, its] of Object.entries(BUTTONS)) {
    const group = make("div", { className: "lab-group" }, make("span", { textContent: where }), ...its.map(add));
    faults.append(group);
  }
  faults.setAttribute("role", "group");
  faults.setAttribute("aria-label", "Break something");

  const said = make("div", { className: "lab-said" });
  said.setAttribute("role", "status");
  said.setAttribute("aria-live", "polite");
  const svg = draw("svg", { role: "img" });
  const table = make("table");
  const scroll = make("div", { className: "lab-scroll" }, table);
  const key = legend();
  const resent = make("p", { className: "lab-resent" });

  const tell = () => (said.textContent = model.get("said"));
  const look = () => {
    const picture = model.get("picture");
    const there = Boolean(picture.lanes);
    const runs = picture.state === "running";
    for (const [name, button, stays] of buttons) {
      button.disabled = !runs;
      if (stays) button.setAttribute("aria-pressed", String(Boolean(picture.on?.[name])));
    }
    end.disabled = !runs;
    svg.style.display = scroll.style.display = key.style.display = resent.style.display = there ? "" : "none";
    if (!there) return;
    const { received, lost, twice, late } = picture.totals;
    svg.setAttribute(
      "aria-label",
      `${picture.lanes.length} lanes of deliveries: ${received} received, ${lost} lost, ${twice} twice, ${late} out of order`,
    );
    lanes(svg, picture);
    counts(table, picture, model.get("counters"));
    resent.textContent = picture.resent
      ? `${picture.resent} sent again without an answer to the first: the server may hold both. At least once, so perhaps twice.`
      : "";
  };
  model.on("change:said", tell);
  model.on("change:picture", look);
  tell();
  look();

  const box = make("div", { className: "lab-bench" });
  const fields = make("div", { className: "lab-row" });
  fields.append(field("transport", transport), field("clients", clients), field("messages a second", rate), keepsLabel);
  fields.append(make("div", { className: "lab-group" }, start, end));
  box.append(fields, faults, said, svg, key, scroll, resent);
  el.append(box);
  return () => {
    model.off("change:said", tell);
    model.off("change:picture", look);
  };
}

export default { render };
