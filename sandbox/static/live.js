// Keeps every element that carries data-live as fresh as the page itself would be, without losing anybody's place.
setInterval(async () => {
  const live = document.querySelectorAll("[data-live]");
  if (document.hidden || !live.length) return;
  const answer = await fetch(location.href).catch(() => null);
  if (!answer || !answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of live) {
    const next = fresh.getElementById(part.id);
    const busy = part.contains(document.activeElement) || part.querySelector("details[open]");
    if (next && !busy && next.innerHTML !== part.innerHTML) part.replaceChildren(...next.childNodes);
  }
}, 3000);
