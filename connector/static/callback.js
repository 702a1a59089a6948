// Clears the address, then proves that this browser began the launch. Charts may share sessionStorage, so every key
// carries the launch's own state or session.
"use strict";
const given = new URLSearchParams(location.search);
history.replaceState(null, "", location.pathname);
const progress = document.getElementById("progress");
const failed = document.getElementById("failed");

// A patient's page has its own words, in the patient's language, for whatever goes wrong.
function showPatient(told) {
  const help = [...failed.querySelectorAll("[data-code]")];
  const known = help.some((one) => one.dataset.code === told.code) ? told.code : "";
  for (const one of help) one.hidden = one.dataset.code !== known;
  document.getElementById("reference").textContent = told.reference || "";
  document.getElementById("cause").textContent = [told.detail, told.vendor_code].filter(Boolean).join(" ");
  progress.hidden = true;
  failed.hidden = false;
}

// To the page of the patient's link. It is framed by nobody: inside a portal's frame it opens in a window of its own.
async function leadOn(session, bearer) {
  const answer = await fetch(`/visits/${session}/patient`, { headers: { Authorization: "Bearer " + bearer } });
  const told = await answer.json();
  if (!answer.ok) return showPatient(told);
  if (window.top === window) return location.replace(told.location);
  const onward = document.getElementById("onward");
  onward.querySelector("a").href = told.location;
  progress.hidden = true;
  onward.hidden = false;
}

function show(title, text, told = {}) {
  if (failed) return showPatient(told);
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
  if (told.persona === "patient") return leadOn(told.session, told.bearer);
  try {
    sessionStorage.setItem("visit." + told.session, told.bearer);
  } catch {
    return show("This browser keeps nothing for this page", "It forbids pages inside the chart to store data, which "
      + "this one needs until its window is closed. Your IT team can allow it for this address.");
  }
  location.replace("/visits/" + told.session);
}

finish().catch(() => show("Please try again", "The connection was interrupted. Open the visit from the chart again."));
