// The theme turns what is marked so into tooltips when the page is ready.
for (const link of document.querySelectorAll("a.word[title]")) link.dataset.bsToggle = "tooltip";

// A page in a frame asks the system for light or dark; here the reader's choice for the site counts.
function paint(frame) {
  const dark = document.documentElement.dataset.theme === "dark", page = frame.contentDocument;
  if (!page?.documentElement) return;  // not loaded yet
  page.documentElement.style.colorScheme = dark ? "dark" : "light";
  for (const sheet of page.styleSheets) for (const rule of sheet.cssRules) {
    if (rule.media?.mediaText.includes("prefers-color-scheme")) rule.wasForDark = true;
    if (rule.wasForDark) rule.media.mediaText = dark ? "all" : "not all";
  }
}
for (const frame of document.querySelectorAll("iframe[srcdoc]")) {
  frame.addEventListener("load", () => paint(frame));
  paint(frame);
  const follow = new MutationObserver(() => paint(frame));
  follow.observe(document.documentElement, { attributeFilter: ["data-theme"] });
}
