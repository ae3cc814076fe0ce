// What the browser tests ask of JupyterLab's page; put into it before its own scripts run.

const QUIET_MS = 500;

window.labTest = {
  lastChange: 0,

  notebook() {
    return window.jupyterapp?.shell?.currentWidget;
  },

  ready() {
    const kernel = this.notebook()?.sessionContext?.session?.kernel;
    return kernel?.status === "idle" && document.querySelector(".jp-Notebook-cell") !== null;
  },

  busy() {
    return this.notebook().sessionContext.session.kernel.status === "busy";
  },

  // JupyterLab's own promise ends at the first error, also at one that is meant and lets the kernel go on. A kernel
  // takes its requests in turn, so an empty one has its turn when all cells have had theirs.
  async runAll() {
    await window.jupyterapp.commands.execute("notebook:run-all-cells");
    await this.listens();
  },

  codeCells() {
    return this.notebook().content.widgets.filter((cell) => cell.model.type === "code" && cell.model.sharedModel.getSource().trim());
  },

  // Runs all, and interrupts the kernel when that share of the code cells has been run.
  async interrupted(share) {
    const { commands } = window.jupyterapp;
    await commands.execute("notebook:clear-all-cell-outputs"); // and with them what says that a cell has been run
    commands.execute("notebook:run-all-cells").catch(() => {});
    const cells = this.codeCells();
    const ran = () => cells.filter((cell) => cell.model.executionCount !== null).length;
    while (ran() < share * cells.length) await new Promise((done) => setTimeout(done, 10));
    await this.notebook().sessionContext.session.kernel.interrupt();
    await this.listens();
  },

  // A kernel that was interrupted throws away what is in its queue, and for a moment also what comes: until it does
  // what it is asked again. An answer can be lost, so it is asked more than once.
  async listens() {
    const { kernel } = this.notebook().sessionContext.session;
    for (let heard = false; !heard; ) {
      const asked = kernel.requestExecute({ code: "", silent: true, stop_on_error: false }).done;
      const answer = asked.then((reply) => (heard ||= reply.content.status === "ok"), () => {});
      await Promise.race([answer, new Promise((done) => setTimeout(done, 2000))]);
    }
  },

  unmeant(cell) {
    if ((cell.getMetadata("tags") ?? []).includes("raises-exception")) return [];
    return cell.getOutputs().filter((output) => output.output_type === "error");
  },

  // Errors that are not meant, stderr, cells that were not run: from the model, since the page may lag behind it.
  problems() {
    const found = [];
    [...this.notebook().content.model.sharedModel.cells].forEach((cell, index) => {
      const source = cell.getSource().trim();
      if (cell.cell_type !== "code" || !source) return;
      const where = `cell ${index + 1} (${source.split("\n")[0].slice(0, 40)})`;
      if (cell.execution_count === null) found.push(`${where} was not run`);
      for (const output of this.unmeant(cell)) found.push(`${where}: ${output.ename}: ${output.evalue}`);
      for (const output of cell.getOutputs()) {
        const text = [output.text ?? ""].flat().join("").slice(0, 300);
        if (output.name === "stderr") found.push(`${where}: stderr: ${text}`);
      }
    });
    return found;
  },

  // Each output with a widget shows one, no picture is still being read, and nothing has been put into the page
  // for QUIET_MS: the parts of a widget arrive one by one.
  drawn() {
    const view = "application/vnd.jupyter.widget-view+json";
    const waiting = this.notebook().content.widgets.some((cell) => {
      if (cell.model.type !== "code") return false;
      return cell.model.sharedModel.getOutputs().some((output, i) => {
        if (!output.data?.[view]) return false;
        const shown = cell.outputArea.widgets[i]?.node.querySelector(".jp-OutputArea-output > .lm-Widget");
        return !shown?.childElementCount;
      });
    });
    const read = [...document.images].every((image) => image.complete);
    return !waiting && read && performance.now() - this.lastChange > QUIET_MS;
  },

  async runNextCell(element) {
    const { content } = this.notebook();
    const here = content.widgets.findIndex((cell) => cell.node.contains(element));
    const next = content.widgets.findIndex((cell, i) => i > here && cell.model.type === "code");
    if (next === -1) return;
    content.activeCellIndex = next;
    content.deselectAll();
    await window.jupyterapp.commands.execute("notebook:run-cell");
  },

  nameSliders() {
    const handles = document.querySelectorAll(".jp-OutputArea [role=slider]");
    handles.forEach((handle, i) => (handle.dataset.testSlider = i));
    return handles.length;
  },

  nameOf(handle) {
    const label = handle.closest(".widget-slider")?.querySelector(".widget-label")?.textContent;
    return handle.getAttribute("aria-label") || label || "slider";
  },

  // Which slider that is, and how it stands: for a failed test's message.
  about(selector) {
    const handle = document.querySelector(selector);
    const cell = handle.closest(".jp-CodeCell");
    const source = cell.querySelector(".cm-content").innerText.trim().split("\n")[0].slice(0, 40);
    const value = handle.getAttribute("aria-valuetext");
    const pictures = cell.querySelectorAll(".jp-Cell-outputArea :is(img, svg[role=img], canvas)").length;
    return `the slider '${this.nameOf(handle)}' (now ${value}, beside ${pictures} pictures) of cell ${source}`;
  },

  // Watches the slider's cell from the next key on, frame by frame, and leaves in `move` what came of it.
  // Returns the key to press: at the upper end there is only the way back.
  arm(selector) {
    const handle = document.querySelector(selector);
    const cell = handle.closest(".jp-CodeCell").querySelector(".jp-Cell-outputArea");
    const value = () => handle.closest(".noUi-origin").style.transform; // aria-valuenow is rounded
    const picture = (node) => (node.tagName === "CANVAS" ? node.toDataURL() : node.src ?? node.outerHTML);
    const look = () => [...cell.querySelectorAll("img, svg[role=img], canvas")].map(picture);
    const before = { pictures: look(), value: value() };
    const slider = this.nameOf(handle);
    let pressed = null;
    this.move = null;
    document.addEventListener("keydown", () => (pressed = performance.now()), { capture: true, once: true });
    const changed = () => {
      if (before.pictures.length === 0) return value() !== before.value;
      const now = look();
      return now.length > 0 && now.join() !== before.pictures.join(); // none is a flicker, not a change
    };
    const watch = () => {
      if (pressed === null || !changed()) return requestAnimationFrame(watch);
      this.move = { slider, ms: before.pictures.length ? performance.now() - pressed : null };
    };
    requestAnimationFrame(watch);
    handle.focus();
    const [now, most] = ["valuenow", "valuemax"].map((name) => Number(handle.getAttribute(`aria-${name}`)));
    return now >= most ? "ArrowLeft" : "ArrowRight";
  },

  // The controls in outputs, each with a name of its own in its data-test-control; of radio buttons the one that
  // the tab key leads to.
  controls() {
    const kinds = "button, input, select, textarea, a[href], summary, [role=slider], [role=radio]";
    const all = [...document.querySelectorAll(".jp-OutputArea-output")].flatMap((area) => [...area.querySelectorAll(kinds)])
      .filter((control) => !control.closest("[data-mime-type*=error], .jp-RenderedText")); // a traceback's links are JupyterLab's
    const groups = new Set();
    const named = [];
    for (const control of all) {
      if (control.disabled || control.type === "hidden" || !control.checkVisibility({ visibilityProperty: true })) continue;
      if (control.getClientRects().length === 0) continue;
      if (control.type === "radio") {
        const group = control.name || named.length;
        if (groups.has(group)) continue;
        groups.add(group);
        control.dataset.testGroup = group;
      }
      const says = control.getAttribute("aria-label") || control.textContent || control.labels?.[0]?.textContent || "";
      control.dataset.testControl = `${named.length}: ${control.tagName.toLowerCase()} ${says.trim().slice(0, 40)}`;
      named.push(control.dataset.testControl);
    }
    return named;
  },

  control(name) {
    return document.querySelector(`[data-test-control="${CSS.escape(name)}"]`);
  },

  // Puts the focus just before that control: on the one before it in its output, or else at the output's start (not
  // into the editor above, where the tab key indents).
  before(name) {
    const control = this.control(name);
    const area = control.closest(".jp-OutputArea-output");
    const stops = [...area.querySelectorAll("*")].filter((one) => one === control || (one.tabIndex >= 0 && one.checkVisibility()));
    let stop = stops[stops.indexOf(control) - 1];
    if (!stop) {
      stop = document.createElement("span");
      stop.tabIndex = -1;
      area.prepend(stop);
    }
    control.scrollIntoView({ block: "center" });
    stop.focus();
  },

  // Whether the focus is on that control, or on another radio button of its group.
  isOn(name) {
    const control = this.control(name);
    const here = document.activeElement;
    return here === control || (control.type === "radio" && here?.type === "radio" && here.name === control.name);
  },

  async setTheme(theme) {
    await window.jupyterapp.commands.execute("apputils:change-theme", { theme });
  },

  // The moons that cover a change of theme stay for a moment after it.
  hasTheme(light) {
    return document.body.dataset.jpThemeLight === String(light) && !document.getElementById("jupyterlab-splash");
  },

  height() {
    return document.querySelector(".jp-Notebook-cell").parentElement.scrollHeight;
  },

  async scrollTo(top) {
    let box = document.querySelector(".jp-Notebook-cell").parentElement;
    while (box && !["auto", "scroll"].includes(getComputedStyle(box).overflowY)) box = box.parentElement;
    box?.scrollTo(0, top);
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  },
};

new MutationObserver(() => (labTest.lastChange = performance.now())).observe(document, {
  subtree: true,
  childList: true,
});
