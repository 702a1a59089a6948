// Who may frame this page: where its connection lists framers, the Content-Security-Policy has decided already; else the
// EHR's own library does (licence: /static/cerner-smart-embeddable-lib-1.7.0.LICENSE.txt), which also sizes the frame and
// brings APPLINK. In the words of old browsers too: Internet Explorer must be able to show why it cannot go on.
"use strict";
(function () {
  var page = document.documentElement;
  var listed = page.getAttribute("data-framers") === "listed";
  if (listed || window.self === window.top) page.removeAttribute("hidden");
  if (window.self === window.top) return;
  var parent = location.ancestorOrigins ? location.ancestorOrigins[0] : "";
  if (listed && parent.indexOf("https://embedded.") !== 0) return;
  var library = document.createElement("script");
  library.src = "/static/cerner-smart-embeddable-lib-1.7.0.min.js";
  library.onload = function () { if (listed) page.removeAttribute("hidden"); };
  document.body.appendChild(library);
})();
