"""The browser the story runs in: renders, runs script, has a camera and stays on this machine."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from playwright.sync_api import Browser


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(b"<!doctype html><html lang=en><title>Visit</title><h1>Waiting room</h1>")

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_a_page_over_loopback_with_a_camera(chromium: Browser) -> None:
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context = chromium.new_context(viewport={"width": 375, "height": 667})
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        assert page.get_by_role("heading").inner_text() == "Waiting room"
        asked = "navigator.mediaDevices.getUserMedia({video: true}).then(stream => stream.getTracks().length)"
        assert page.evaluate(asked) == 1
        context.close()
        server.shutdown()
