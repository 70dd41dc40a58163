/* The theme's bars of buttons beside code are landmarks without names: screen readers could not tell them apart. Code and
   tables that scroll are reached by the keyboard. */
const label = () => {
  const bars = [...document.querySelectorAll(".md-code__nav")];
  bars.forEach((bar, at) => bar.hasAttribute("aria-label") || bar.setAttribute("aria-label", `Code ${at + 1}`));
  document.querySelectorAll("pre > code, .md-typeset__scrollwrap").forEach(box => {
    if (box.scrollWidth > box.clientWidth && !box.hasAttribute("tabindex")) box.tabIndex = 0;
  });
};
new MutationObserver(label).observe(document.body, { childList: true, subtree: true });
window.addEventListener("resize", label);
label();
