// The questions of decision.py as fieldsets of radio buttons. Plain inputs: Tab goes from question to question, the
// arrow keys through the answers of one, as everywhere. Which advice follows is decided in Python alone.

let views = 0; // radio buttons of two views must not share a name, or they would switch each other off

function group(model, question, view) {
  const set = document.createElement("fieldset");
  const legend = document.createElement("legend");
  legend.textContent = question.words;
  const why = document.createElement("p");
  why.className = "lab-why";
  why.id = `lab-why-${view}-${question.name}`;
  why.textContent = question.why;
  set.setAttribute("aria-describedby", why.id);
  set.append(legend, why);
  for (const answer of question.answers) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: `lab-${view}-${question.name}`, value: answer });
    input.checked = model.get("needs")[question.name] === answer;
    // JupyterLab moves between cells with the arrow keys. It looks for this on the element itself first.
    input.dataset.lmSuppressShortcuts = "true";
    input.addEventListener("change", () => {
      if (!input.checked) return;
      model.set("needs", { ...model.get("needs"), [question.name]: answer });
      model.save_changes();
    });
    label.append(input, document.createTextNode(answer));
    set.append(label);
  }
  return set;
}

function render({ model, el }) {
  const view = ++views;
  const box = document.createElement("div");
  box.className = "lab-decision";
  const form = document.createElement("div");
  form.className = "lab-questions";
  form.setAttribute("role", "form");
  form.setAttribute("aria-label", "Which transport? Answer the questions");
  form.append(...model.get("questions").map((question) => group(model, question, view)));

  const advice = document.createElement("div");
  advice.className = "lab-advice";
  advice.setAttribute("role", "status");
  const tell = () => {
    const { transport, because, also } = model.get("advice");
    const head = document.createElement("p");
    const name = document.createElement("strong");
    name.textContent = transport;
    head.append("→ ", name, `: ${because}`);
    const list = document.createElement("ul");
    for (const line of also) list.append(Object.assign(document.createElement("li"), { textContent: line }));
    advice.replaceChildren(head, list);
  };
  const check = () => {
    for (const input of form.querySelectorAll("input")) {
      const name = input.name.split("-").slice(2).join("-");
      input.checked = model.get("needs")[name] === input.value;
    }
  };
  tell();
  model.on("change:advice", tell);
  model.on("change:needs", check);
  box.append(form, advice);
  el.append(box);
  return () => {
    model.off("change:advice", tell);
    model.off("change:needs", check);
  };
}

export default { render };
