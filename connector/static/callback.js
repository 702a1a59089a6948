// Clears the address, then proves that this browser began the launch. Charts may share sessionStorage, so every key
// carries the launch's own state or session.
"use strict";
const given = new URLSearchParams(location.search);
history.replaceState(null, "", "/launch/callback");
const progress = document.getElementById("progress");

function show(title, text, reference, code) {
  progress.replaceChildren();
  const heading = document.createElement("h1");
  heading.textContent = title;
  const message = document.createElement("p");
  message.textContent = text;
  progress.append(heading, message);
  for (const [label, value] of [["Reference", reference], ["EHR code", code]]) {
    if (value) {
      const line = document.createElement("p");
      line.className = "quiet";
      line.textContent = `${label}: ${value}`;
      progress.append(line);
    }
  }
}

async function finish() {
  const state = given.get("state") || "";
  const body = { state };
  for (const name of ["code", "error", "error_uri"]) {
    if (given.get(name)) body[name] = given.get(name);
  }
  try {
    const secret = sessionStorage.getItem("launch." + state);
    if (secret) body.secret = secret;
    sessionStorage.removeItem("launch." + state);
  } catch {
    // storage is blocked: the cookie serves
  }
  const answer = await fetch("/launch/callback", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  const told = await answer.json();
  if (!answer.ok) return show(told.title, told.detail, told.reference, told.vendor_code);
  sessionStorage.setItem("visit." + told.session, told.bearer);
  location.replace("/visits/" + told.session + (told.persona === "patient" ? "#patient" : ""));
}

finish().catch(() => show("Please try again", "The connection was interrupted. Open the visit from the chart again."));
