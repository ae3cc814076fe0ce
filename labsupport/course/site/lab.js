// Code that is wider than the page scrolls inside its box; a box that scrolls must be reachable by keyboard.
function reachable() {
  for (const box of document.querySelectorAll("pre, .cell_output, .lab-formula")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
addEventListener("load", reachable);
addEventListener("resize", reachable);
