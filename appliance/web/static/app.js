// What scripts add to pages that work without them: a decision that needs a
// word more opens as a sheet over the page, and focus goes where the eye is.

const sheet = document.getElementById("sheet");
let left = null; // the card of the list that is being decided: its place in it and on the screen

function leave(element) {
  const card = element.closest("li.card");
  if (card) left = { place: [...card.parentNode.children].indexOf(card), top: card.getBoundingClientRect().top };
  else if (!element.closest("dialog")) left = null;
}

document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-sheet]");
  if (!link || !sheet?.showModal || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  leave(link);
  let place = link.href;
  try {
    const answer = await fetch(link.href, { headers: { Accept: "text/html" } });
    if (answer.ok) place = answer.url;
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
    window.location.assign(place);
  }
});

sheet?.addEventListener("close", () => sheet.replaceChildren());

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

document.body.addEventListener("htmx:beforeRequest", (event) => leave(event.detail.elt));

document.body.addEventListener("htmx:beforeSwap", () => {
  if (sheet?.open) sheet.close();
});

// A part of a page that asks for itself again while something goes on (`data-again`) waits
// while somebody is at it or has chosen something, and stays when the portal cannot answer.
function busy(part) {
  const options = [...part.querySelectorAll("option")];
  return part.contains(document.activeElement) || options.some((one) => one.selected !== one.defaultSelected);
}

document.body.addEventListener("htmx:configRequest", (event) => {
  // No person asks: the session ends when it would have ended.
  if (event.detail.elt.matches("[data-again]")) event.detail.headers["X-Unattended"] = "1";
});

document.body.addEventListener("htmx:beforeRequest", (event) => {
  const part = event.detail.elt;
  if (part.matches("[data-again]") && (document.hidden || busy(part))) event.preventDefault();
});

document.body.addEventListener("htmx:beforeSwap", (event) => {
  const { requestConfig, xhr } = event.detail;
  if (requestConfig.elt.matches("[data-again]") && xhr.status !== 200) event.detail.shouldSwap = false;
});

document.body.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target?.id !== "main") return;
  const main = document.getElementById("main");
  const cards = main?.querySelectorAll("li.card") ?? [];
  const next = cards[Math.min(left?.place ?? 0, cards.length - 1)];
  if (next && left) {
    // The next card comes to where the decided one was, below what is said of that one.
    const free = document.getElementById("said").getBoundingClientRect().bottom;
    window.scrollBy(0, next.getBoundingClientRect().top - Math.max(left.top, free));
  }
  left = null;
  const missing = main?.querySelector("[autofocus]");
  if (missing) missing.focus();
  else (next?.querySelector("a.body") ?? main)?.focus({ preventScroll: true });
});

// A file goes as it is, not in a form: so the portal can write it down as it comes.
document.getElementById("import")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.currentTarget;
  const said = document.getElementById("import-said");
  const button = form.querySelector("button");
  const file = form.elements.file.files[0];
  const query = new URLSearchParams({ name: file.name, status: form.elements.status.value });
  button.disabled = true;
  said.textContent = form.dataset.sending;
  try {
    const answer = await fetch(`${form.action}?${query}`, {
      method: "POST",
      headers: { "X-CSRF": form.elements.csrf.value, "Content-Type": "application/octet-stream" },
      body: file,
    });
    if (answer.status === 201) {
      window.location.assign(answer.headers.get("location"));
      return;
    }
    if (answer.redirected) {
      window.location.assign(answer.url);
      return;
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    said.textContent = page.querySelector("main p")?.textContent || form.dataset.failed;
  } catch {
    said.textContent = form.dataset.failed;
  }
  button.disabled = false;
});

// What is fetched from SPV goes on before everybody's eyes: each event has the
// page's live parts by their ids. It comes again by itself after a restart, and
// rests while nobody looks, since a browser has few connections for one place.
const live = document.querySelector("[data-live]");
let events = null;

function show(event) {
  const parts = new DOMParser().parseFromString(event.data, "text/html").body.children;
  for (const part of [...parts]) {
    const here = document.getElementById(part.id);
    if (!here) continue;
    here.className = part.className;
    if (here.innerHTML !== part.innerHTML) here.replaceChildren(...part.childNodes);
  }
}

function listen() {
  if (!live || document.hidden || events) return;
  events = new EventSource(live.dataset.live);
  events.addEventListener("message", show);
  // The session is over: the page that comes now says so.
  events.addEventListener("over", () => window.location.reload());
  events.addEventListener("error", () => {
    // A cut connection is tried again by the browser; an answer that was no stream is not.
    if (events?.readyState !== EventSource.CLOSED) return;
    rest();
    setTimeout(ask, 3000);
  });
}

async function ask() {
  if (document.hidden || events) return;
  try {
    const answer = await fetch(live.dataset.live);
    if (answer.redirected) window.location.reload(); // to the log-in
    else if (answer.ok) listen();
    else setTimeout(ask, 3000); // a proxy answers for a portal that starts again
  } catch {
    setTimeout(ask, 3000);
  }
}

function rest() {
  events?.close();
  events = null;
}

document.addEventListener("visibilitychange", () => (document.hidden ? rest() : listen()));
window.addEventListener("pagehide", rest);
window.addEventListener("pageshow", listen);
