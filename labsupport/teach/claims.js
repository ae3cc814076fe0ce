// A table of claims with a search field and lists to choose from. Which rows match is decided in Python alone; here
// each row is made once and shown or hidden.

// JupyterLab moves between cells with the arrow keys, and runs commands on letters. It looks for this first.
const keepsKeys = (element) => {
  element.dataset.lmSuppressShortcuts = "true";
  return element;
};

function named(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function labelled(words, control) {
  return named("label", {}, named("span", { textContent: words }), keepsKeys(control));
}

function shown(row) {
  const cell = named("td", {}, named("span", { className: "lab-kind", textContent: row.evidence }));
  const list = named("ul", {});
  for (const { text, href } of row.shown) {
    const what = href.startsWith("http") ? named("a", { textContent: text, href, target: "_blank", rel: "noopener" }) : text;
    list.append(named("li", {}, what));
  }
  cell.append(list);
  return cell;
}

function line(row) {
  const head = named("th", { scope: "row", textContent: row.id });
  const said = named(
    "td",
    {},
    named("p", { className: "lab-claim", textContent: row.claim }),
    named("p", { className: "lab-right" }, named("strong", { textContent: row.verdict }), ` · ${row.right}`),
  );
  return named("tr", {}, head, said, shown(row));
}

function render({ model, el }) {
  const search = named("input", { type: "search", value: model.get("words"), placeholder: "words in a claim" });
  search.addEventListener("input", () => {
    model.set("words", search.value);
    model.save_changes();
  });
  const bar = named("div", { className: "lab-filters" }, labelled("search", search));
  const selects = {};
  for (const [name, values] of Object.entries(model.get("options"))) {
    const select = named("select", {}, ...values.map((value) => named("option", { value, textContent: value })));
    select.value = model.get("chosen")[name];
    select.addEventListener("change", () => {
      model.set("chosen", { ...model.get("chosen"), [name]: select.value });
      model.save_changes();
    });
    selects[name] = select;
    bar.append(labelled(name, select));
  }
  bar.setAttribute("role", "search");
  bar.setAttribute("aria-label", "Filter the claims");

  const heads = ["row", "what is said, and what is right", "shown by"];
  const top = named("tr", {}, ...heads.map((textContent) => named("th", { scope: "col", textContent })));
  const lines = new Map(model.get("rows").map((row) => [row.id, line(row)]));
  const table = named("table", {}, named("thead", {}, top), named("tbody", {}, ...lines.values()));
  const scroll = keepsKeys(named("div", { className: "lab-scroll", tabIndex: 0 }, table));
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", "Claims, scroll with the arrow keys");
  const count = named("p", { className: "lab-count" });
  count.setAttribute("role", "status");

  const show = () => {
    const seen = new Set(model.get("seen_ids"));
    for (const [id, row] of lines) row.hidden = !seen.has(id);
    count.textContent = `${seen.size} of ${lines.size} claims`;
    if (document.activeElement !== search) search.value = model.get("words");
    for (const [name, select] of Object.entries(selects)) select.value = model.get("chosen")[name];
    scroll.scrollTop = 0;
  };
  show();
  const changes = "change:seen_ids change:words change:chosen";
  model.on(changes, show);
  el.append(named("div", { className: "lab-claims" }, bar, count, scroll));
  return () => model.off(changes, show);
}

export default { render };
