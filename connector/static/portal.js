// What makes the portal's pages better where scripts run; without it every page is complete.
"use strict";
document.documentElement.classList.add("scripted");

document.addEventListener("click", async (event) => {
  if (event.target.closest("[data-print]")) return print();
  const button = event.target.closest("[data-copy]");
  if (button) {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = button.dataset.copied;
  }
});

// a form that takes a while says so, and is not sent twice
document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (!button) return;
  if (event.target.dataset.sent) return event.preventDefault();
  event.target.dataset.sent = "1";
  button.classList.add("busy");
  if (button.dataset.busy) button.textContent = button.dataset.busy;
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  for (const button of document.querySelectorAll(".busy")) button.classList.remove("busy");
});

// a chosen file becomes the text of its field
for (const input of document.querySelectorAll("input[data-into]")) {
  input.addEventListener("change", async () => {
    if (input.files.length) document.getElementById(input.dataset.into).value = await input.files[0].text();
  });
}

const problems = document.getElementById("problems");
if (problems) problems.focus();

// times in the reader's own zone
const language = document.documentElement.lang;
for (const time of document.querySelectorAll("time[data-local]")) {
  time.textContent = new Date(time.dateTime).toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
}

// the page that is open is in sight in its menus
for (const open of document.querySelectorAll(".nav [aria-current], .tabs [aria-current]")) {
  const list = open.closest("ul");
  list.scrollLeft = open.parentElement.offsetLeft - list.offsetLeft - 40;
}

// only one menu is open, and Escape closes it
const menu = document.querySelector("details.menu");
if (menu) {
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && menu.open) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
  document.addEventListener("click", (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
}

// a part of the page that follows what happens on the server
for (const part of document.querySelectorAll("[data-follow]")) {
  const follow = async () => {
    const answer = await fetch(part.dataset.follow);
    if (answer.redirected) return location.reload();
    if (answer.ok) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-follow]");
      if (!fresh) return location.reload();
      if (fresh.innerHTML !== part.innerHTML) part.innerHTML = fresh.innerHTML;
    }
    setTimeout(() => follow().catch(again), 2000);
  };
  const again = () => setTimeout(() => follow().catch(again), 5000);
  setTimeout(() => follow().catch(again), 2000);
}
