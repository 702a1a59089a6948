// Clears the address, then proves that this browser began the launch. Charts may share sessionStorage, so every key
// carries the launch's own state or session.
"use strict";
const given = new URLSearchParams(location.search);
history.replaceState(null, "", location.pathname);
const progress = document.getElementById("progress");

function show(title, text, told = {}) {
  progress.replaceChildren();
  const heading = document.createElement("h1");
  heading.textContent = title;
  const message = document.createElement("p");
  message.textContent = text;
  progress.append(heading, message);
  const known = [["Reference", told.reference], ["EHR code", told.vendor_code], ["EHR reference", told.vendor_reference]];
  for (const [label, value] of known) {
    if (value) {
      const line = document.createElement("p");
      line.className = "quiet";
      line.textContent = `${label}: ${value}`;
      progress.append(line);
    }
  }
  if (told.vendor_link) {
    const link = document.createElement("a");
    link.href = told.vendor_link;
    link.target = "_blank";
    link.rel = "noopener";
    link.textContent = "What the EHR says about it";
    progress.append(link);
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
  const answer = await fetch(location.pathname, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  const told = await answer.json();
  if (!answer.ok) return show(told.title, told.detail, told);
  try {
    sessionStorage.setItem("visit." + told.session, told.bearer);
  } catch {
    return show("This browser keeps nothing for this page", "It forbids pages inside the chart to store data, which "
      + "this one needs until its window is closed. Your IT team can allow it for this address.");
  }
  location.replace("/visits/" + told.session + (told.persona === "patient" ? "#patient" : ""));
}

finish().catch(() => show("Please try again", "The connection was interrupted. Open the visit from the chart again."));
