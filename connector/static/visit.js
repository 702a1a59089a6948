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

function signIn() {
  // Microsoft's sign-in refuses frames
  if (window.top !== window) {
    throw new Error("The first Microsoft sign-in needs a full window. Open this visit once from the chart's table of contents and sign in there.");
  }
  location.assign("/signin?session=" + session);
}

async function join(query = "") {
  const tab = window.open("", "_blank");
  try {
    const body = await told(await ask("join" + query, { method: "POST" }));
    if (body.sign_in) {
      if (tab) tab.close();
      return signIn();
    }
    if (tab) {
      tab.opener = null;
      tab.location.replace(body.join_url);
    } else {
      location.assign(body.join_url);
    }
  } catch (error) {
    if (tab) tab.close();
    throw error;
  }
}

const actions = {
  join: () => join(),
  "join-unlinked": () => join("?without_link=1"),
  reload: () => load(),
  pick: (button) => load("?pick=" + encodeURIComponent(button.dataset.pick)),
  "sign-in": signIn,
  link: async () => {
    await told(await ask("link", { method: "POST" }));
    await load();
  },
  copy: async (button) => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  },
};

content.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-action]");
  if (!button) return;
  button.disabled = true;
  try {
    await actions[button.dataset.action](button);
  } catch (error) {
    problem(error.message);
  } finally {
    button.disabled = false;
  }
});

if (bearer) {
  load().catch((error) => problem(error.message));
  setInterval(() => watch().catch(() => {}), POLL_MS);
} else {
  problem("This page is not connected to a chart in this window. Open the visit from the patient's chart again.");
}
