// What ipywidgets leave unsaid to a screen reader: a slider's name and its value with unit, the question that a
// group of choices belongs to, and that some text changes by itself. Draws nothing.

function nameSliders(panel) {
  for (const slider of panel.querySelectorAll(".widget-slider")) {
    const handle = slider.querySelector("[role=slider]");
    if (!handle || handle.dataset.lab) continue;
    handle.dataset.lab = "named";
    const unit = slider.parentElement.querySelector(".lab-unit")?.textContent ?? "";
    handle.setAttribute("aria-label", slider.querySelector(".widget-label")?.textContent ?? "");
    const say = () => {
      const words = `${slider.querySelector(".widget-readout")?.textContent ?? ""} ${unit}`.trim();
      if (handle.getAttribute("aria-valuetext") !== words) handle.setAttribute("aria-valuetext", words);
    };
    new MutationObserver(say).observe(slider, {
      subtree: true, childList: true, characterData: true, attributeFilter: ["aria-valuetext"],
    });
    say();
  }
}

function nameGroups(panel) {
  for (const group of panel.querySelectorAll(".lab-choices:not([role])")) {
    group.setAttribute("role", "radiogroup");
    group.setAttribute("aria-label", panel.querySelector(".lab-question")?.textContent ?? "");
  }
  for (const text of panel.querySelectorAll(".lab-live:not([aria-live])")) text.setAttribute("aria-live", "polite");
}

function render({ el }) {
  el.style.display = "none";
  // A view is drawn before it is put into the page, and its neighbours may come later still.
  const dress = () => {
    const panel = el.closest(".lab-panel");
    if (!panel) return;
    nameSliders(panel);
    nameGroups(panel);
  };
  const timers = [0, 100, 500, 2000].map((ms) => setTimeout(dress, ms));
  return () => timers.forEach(clearTimeout);
}

export default { render };
