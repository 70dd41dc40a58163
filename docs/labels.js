/* The theme's bars of buttons beside code are landmarks without names: screen readers could not tell them apart. */
new MutationObserver(() => {
  document.querySelectorAll(".md-code__nav:not([aria-label])").forEach(bar => {
    const all = [...document.querySelectorAll(".md-code__nav")];
    bar.setAttribute("aria-label", `Code ${all.indexOf(bar) + 1}`);
  });
}).observe(document.body, { childList: true, subtree: true });
