// Keeps the launch's secret where only this browser finds it, then goes on to the EHR's sign-in.
"use strict";
const { authorize, state, secret } = document.body.dataset;
try {
  sessionStorage.setItem("launch." + state, secret);
} catch {
  // storage is blocked: the cookie serves
}
location.replace(authorize);
