// Accessibility, asked of a page into which axe-core has been put: findings as sentences, worst kinds only.

window.labAxe = {
  // Code is coloured alike everywhere, and most of a page's elements are its words: a few blocks stand for all.
  plainCode(keep) {
    [...document.querySelectorAll(".highlight pre")].slice(keep).forEach((code) => (code.textContent = code.textContent));
  },

  // What axe finds within the selector (the whole page without one) that is serious or critical; `rules`: only these.
  async findings(within, rules) {
    const options = { resultTypes: ["violations"], ...(rules ? { runOnly: rules } : {}) };
    const found = await axe.run(within ? { include: [[within]] } : document, options);
    return found.violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, help, nodes }) => `${id}: ${help} (${nodes.length}): ${nodes[0].html.slice(0, 150)}`);
  },
};
