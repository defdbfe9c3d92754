// Keys of the slides: arrows and space, Home and End, n for notes, f for the full screen.
const all = [...document.querySelectorAll("section")];
const here = () => all.reduce((best, s, i) => Math.abs(s.getBoundingClientRect().top) <
  Math.abs(all[best].getBoundingClientRect().top) ? i : best, 0);
const go = n => all[Math.max(0, Math.min(all.length - 1, n))].scrollIntoView();
const keys = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1,
  PageUp: -1 };
addEventListener("keydown", e => {
  if (e.ctrlKey || e.altKey || e.metaKey || innerWidth < 720) return;
  if (e.key in keys) { e.preventDefault(); go(here() + keys[e.key]); }
  if (e.key === "Home" || e.key === "End") { e.preventDefault(); go(e.key === "End" ? 1e9 : 0); }
  if (e.key === "n") document.body.classList.toggle("notes");
  if (e.key === "f") document.documentElement.requestFullscreen();
});
