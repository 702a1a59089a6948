// The visit page: fetches its content with the bearer of this launch and carries out the buttons.
"use strict";
const session = location.pathname.split("/")[2];
const content = document.getElementById("content");
const POLL_MS = 5000;
let bearer = null;
let etag = null;

try {
  bearer = sessionStorage.getItem("visit." + session);
} catch {
  bearer = null;
}

function ask(path, options = {}) {
  const headers = { Authorization: "Bearer " + bearer, ...(options.headers || {}) };
  return fetch(`/visits/${session}/${path}`, { ...options, headers });
}

async function told(answer) {
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.detail ? `${body.detail} (${body.reference})` : "Please try again.");
  return body;
}

function problem(text) {
  const line = document.getElementById("problem");
  if (line) {
    line.textContent = text;
    line.hidden = false;
    return;
  }
  const card = document.createElement("section");
  card.className = "card";
  const heading = document.createElement("h1");
  heading.textContent = "The visit can not be shown";
  const message = document.createElement("p");
  message.textContent = text;
  card.append(heading, message);
  content.replaceChildren(card);
}

async function load(query = "") {
  if (location.hash === "#patient") return location.replace((await told(await ask("patient"))).location);
  const answer = await ask("page" + query);
  if (!answer.ok) return await told(answer);
  content.innerHTML = await answer.text();
  const line = document.getElementById("presence");
  if (line) tell(line);
}

async function watch() {
  const line = document.getElementById("presence");
  if (!line || document.hidden) return;
  const answer = await ask("status", { headers: etag ? { "If-None-Match": etag } : {} });
  if (answer.status !== 200) return;
  etag = answer.headers.get("ETag");
  const { joined_at: at } = await answer.json();
  line.dataset.joined = at || "";
  tell(line);
}

function tell(line) {
  const { joined, zone } = line.dataset;
  if (!joined) return;
  const time = new Date(joined).toLocaleTimeString([], { timeStyle: "short", timeZone: zone });
  line.textContent = `The patient tapped Join at ${time}.`;
}

// PowerChart opens addresses outside Citrix by APPLINK; else a window of our own, opened before anything is awaited, for
// browsers allow it only then.
function outside() {
  if (typeof window.APPLINK === "function") return { go: (url) => window.APPLINK(100, url, ""), close: () => {} };
  const tab = window.open("", "_blank");
  if (tab) tab.opener = null;
  return { go: (url) => tab && tab.location.replace(url), close: () => tab && tab.close() };
}

async function copy(text) {
  try {
    return await navigator.clipboard.writeText(text);
  } catch {
    // a frame that its parent does not trust with the clipboard
  }
  const held = document.createElement("textarea");
  held.value = text;
  document.body.append(held);
  held.select();
  const done = document.execCommand("copy");
  held.remove();
  if (!done) throw new Error("This browser does not let the page copy. Use another way to pass the link on.");
}

async function openOutside(path, id, name) {
  const opened = outside();
  try {
    const body = await told(await ask(path, { method: "POST" }));
    const panel = document.getElementById(id);
    panel.querySelector("a").href = body[name];
    panel.querySelector("[data-action=copy]").dataset.copy = body[name];
    panel.hidden = false;
    opened.go(body[name]);
  } catch (error) {
    opened.close();
    throw error;
  }
}

const actions = {
  join: () => openOutside("join", "outside", "join_url"),
  "sign-in": () => openOutside("handoff", "handoff", "url"),
  reload: () => load(),
  pick: (button) => load("?pick=" + encodeURIComponent(button.dataset.pick)),
  link: async (form) => {
    const code = form.elements.code.value;
    const body = await told(await ask("link", { method: "POST", body: JSON.stringify({ code }) }));
    await load();
    const done = document.getElementById("done");
    done.textContent = body.linked ? `Linked: EHR user ${body.ehr} with the Microsoft account ${body.microsoft}.`
      : `Released: EHR user ${body.ehr} is linked with no Microsoft account now.`;
    done.hidden = false;
  },
  copy: async (button) => {
    await copy(button.dataset.copy);
    button.textContent = "Copied";
  },
};

async function act(element, button) {
  if (button) button.disabled = true;
  for (const said of content.querySelectorAll("#problem, #done")) said.hidden = true;
  try {
    await actions[element.dataset.action](element);
  } catch (error) {
    problem(error.message);
  } finally {
    if (button) button.disabled = false;
  }
}

content.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-action]");
  if (button) act(button, button);
});
content.addEventListener("submit", (event) => {
  event.preventDefault();
  act(event.target, event.submitter);
});

if (bearer) {
  load().catch((error) => problem(error.message));
  setInterval(() => watch().catch(() => {}), POLL_MS);
} else {
  problem("This page is not connected to a chart in this window. Open the visit from the patient's chart again.");
}
