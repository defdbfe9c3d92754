// The theme turns what is marked so into tooltips when the page is ready.
for (const link of document.querySelectorAll("a.word[title]")) link.dataset.bsToggle = "tooltip";
