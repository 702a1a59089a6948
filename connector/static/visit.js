// The visit page: fetches its content with the bearer of this launch and carries out the buttons.
import { follow, inTime, silence } from "/static/waiting.js";
import { showBoard, leaveBoard } from "/static/board.js";

const session = location.pathname.split("/")[2];
const content = document.getElementById("content");
const READ_AGAIN_MS = 300000;
let readAt = 0;
let bearer = null;
try {
  bearer = sessionStorage.getItem("visit." + session);
} catch {
  // storage is blocked: there is no session
}

class Over extends Error {}

async function ask(path, options = {}) {
  const headers = { Authorization: "Bearer " + bearer, ...(options.headers || {}) };
  const answer = await fetch(`/visits/${session}/${path}`, { ...options, headers });
  if (answer.ok || answer.status === 304) return answer;
  const body = await answer.json().catch(() => ({}));
  if (answer.status === 401) throw new Over(body.detail);
  const error = new Error(body.detail || "Please try again.");
  error.passing = answer.status >= 500;
  if (error.passing && body.reference) error.message += ` Reference: ${body.reference}`;
  throw error;
}

async function send(path, body, signal) {
  return (await ask(path, { method: "POST", body: JSON.stringify(body || {}), signal })).json();
}

function card(title, text) {
  silence();
  leaveBoard();
  const box = document.createElement("section");
  box.className = "card";
  const heading = document.createElement("h1");
  heading.textContent = title;
  const message = document.createElement("p");
  message.textContent = text;
  box.append(heading, message);
  content.replaceChildren(box);
}

function failed(error) {
  const line = document.getElementById("problem");
  if (error instanceof Over) card("Please open it from the chart again", error.message);
  else if (line) say(line, error.message);
  else card("The visit cannot be shown", error.message);
}

function say(line, text) {
  line.textContent = text;
  line.hidden = false;
}

async function load(query = "") {
  const answer = await ask("page" + query);
  leaveBoard();
  content.innerHTML = await answer.text();
  readAt = Date.now();
  // from the Organizer, where no chart says whose visit it is, the choice is the board, with names
  if (document.getElementById("to-board")) return showBoard(ask, send, failed, { view: "mine" });
  follow(ask, failed);
}

// While the page is open its appointment may be moved or cancelled.
async function readAgain() {
  const card = document.getElementById("visit");
  if (!card || !card.dataset.when || document.hidden || Date.now() - readAt < READ_AGAIN_MS) return;
  readAt = Date.now();
  try {
    const { when, live } = await (await ask("appointment", { signal: inTime() })).json();
    if (card.isConnected) document.getElementById("changed").hidden = live && when === card.dataset.when;
  } catch {
    // what is wrong shows as soon as somebody does something; the light goes on without the EHR
  }
}
setInterval(readAgain, 30000);

// PowerChart opens addresses outside Citrix by APPLINK; else a window of our own, opened before anything is awaited, for
// browsers allow it only then.
function outside() {
  if (typeof window.APPLINK === "function") return { go: (url) => window.APPLINK(100, url, ""), close: () => {} };
  const tab = window.open("", "_blank");
  if (tab) tab.opener = null;
  return { go: (url) => tab && tab.location.replace(url), close: () => tab && tab.close(), blocked: !tab };
}

async function openOutside(path, id, name) {
  const opened = outside();
  try {
    const body = await send(path);
    const panel = document.getElementById(id);
    panel.querySelector("a").href = body[name];
    panel.querySelector("[data-action=copy]").dataset.copy = body[name];
    panel.hidden = false;
    panel.classList.toggle("warn", Boolean(opened.blocked));
    opened.go(body[name]);
    return body;
  } catch (error) {
    opened.close();
    throw error;
  }
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

// a second click of the same button carries it out
function sure(button) {
  const asked = button.dataset.asked;
  const forget = () => {
    if (!button.dataset.asked) return;
    button.textContent = button.dataset.asked;
    delete button.dataset.asked;
  };
  if (asked) {
    forget();
    return true;
  }
  button.dataset.asked = button.textContent;
  say(document.getElementById("problem"), button.dataset.sure);
  button.textContent = button.dataset.yes;
  setTimeout(forget, 8000);
  return false;
}

// the keyboard's place, when what it stood on was replaced
function stay() {
  const tab = content.querySelector(".tabs [aria-current]") || content.querySelector(".tabs button");
  if (tab) tab.focus();
}

const done = (text) => say(document.getElementById("done"), text);
const sent = (body) => (body.state === "sent" ? (body.again ? `Already sent to ${body.to} a moment ago.` : `Sent to ${body.to}.`)
  : `Nobody knows whether it reached ${body.to}. Ask the patient before you send it again.`);

const actions = {
  join: async () => {
    const body = await openOutside("join", "outside", "join_url");
    const app = document.getElementById("in-app");
    if (body.app_url) app.href = body.app_url;
    app.parentElement.hidden = !body.app_url;
  },
  "sign-in": async () => {
    await openOutside("handoff", "handoff", "url");
    document.querySelector("#handoff input").focus();
  },
  reload: async () => {
    await load();
    stay();
  },
  pick: async (button) => {
    await load("?pick=" + encodeURIComponent(button.dataset.pick));
    stay();
  },
  board: async (button) => {
    silence();
    await showBoard(ask, send, failed, button.dataset);
    stay();
  },
  link: async (form) => {
    const body = await send("link", { code: form.elements.code.value });
    await load();
    done(body.linked ? `Linked: EHR user ${body.ehr} with the Microsoft account ${body.microsoft}.`
      : `Released: EHR user ${body.ehr} is linked with no Microsoft account now.`);
  },
  send: async (form) => {
    const to = form.elements.to.value;
    const typed = form.elements.typed.value.trim();
    const body = await send("send", to !== "typed" ? { channel: to } : { channel: typed.includes("@") ? "email" : "sms", typed });
    form.reset();
    done(sent(body));
  },
  late: async (form) => {
    const minutes = Number(form.elements.minutes.value);
    const known = content.querySelector("input[name=to]:not([value=typed])");
    const body = await send("late", minutes && known ? { minutes, channel: known.value } : { minutes });
    const shown = minutes ? "Shown on the patient's page." : "Taken back on the patient's page.";
    done(body.to ? `${shown} ${sent(body)}` : body.not_sent ? `${shown} Nothing was sent: ${body.not_sent}` : shown);
  },
  revoke: async (button) => {
    if (!sure(button)) return;
    const { link } = await send("revoke");
    document.getElementById("patient-link").dataset.copy = link;
    done("Every link that was given out is void. Send the patient the new one, or copy it.");
  },
  end: async (button) => {
    await send("end", { how: button.dataset.how });
    follow(ask, failed);
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
    failed(error);
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
content.addEventListener("focusin", (event) => {
  if (event.target.name === "typed") event.target.form.elements.to.value = "typed";
});

if (bearer) load().catch(failed);
else card("The visit cannot be shown", "This page is not connected to a chart in this window. Open the visit from the patient's chart again.");
