// What scripts add to pages that work without them: a decision that needs a
// word more opens as a sheet over the page, and focus goes where the eye is.

const sheet = document.getElementById("sheet");

document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-sheet]");
  if (!link || !sheet?.showModal || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  try {
    const answer = await fetch(link.href, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const content = page.getElementById("sheet-content");
    if (!answer.ok || !content) throw new Error("no sheet");
    sheet.replaceChildren(document.importNode(content, true));
    sheet.querySelector("[data-back]")?.addEventListener("click", (back) => {
      back.preventDefault();
      sheet.close();
    });
    window.htmx?.process(sheet);
    sheet.showModal();
  } catch {
    window.location.assign(link.href);
  }
});

sheet?.addEventListener("click", (event) => {
  if (event.target === sheet) sheet.close();
});

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

document.body.addEventListener("htmx:beforeSwap", () => {
  if (sheet?.open) sheet.close();
});

document.body.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target?.id !== "main") return;
  const next = document.querySelector("#main .card a.body") ?? document.getElementById("main");
  next?.focus({ preventScroll: true });
});
