"""Pages in a headless Chromium: what is wider than the window, and cannot be scrolled into view."""

import contextlib
import functools
import http.server
import json
import queue
import shutil
import subprocess
import tempfile
import threading

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

# One page after the other in a frame of the wanted width; what is cut off is sent to the server.
SCRIPT = """<!doctype html><body style="margin:0">
<iframe id=frame width=%d height=800 style="border:0"></iframe>
<script>
const pages = %s, found = {}, frame = document.getElementById("frame");
function scrolls(node, view) { // by itself: a container of the whole page does not count
  for (let e = node.parentElement; e && !e.querySelector("h1"); e = e.parentElement) {
    if (["auto", "scroll"].includes(view.getComputedStyle(e).overflowX)) return true;
  }
  return false;
}
function boxes(inside) { // of every piece of text, and of every picture
  const texts = inside.createTreeWalker(inside.body, NodeFilter.SHOW_TEXT), found = [];
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    if (!node.data.trim() || !node.parentElement.closest("main, header")) continue;
    const range = inside.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) found.push([node, box]);
  }
  for (const image of inside.querySelectorAll("main img, main svg")) found.push([image, image.getBoundingClientRect()]);
  return found;
}
async function measure(page) {
  await new Promise(done => { frame.onload = done; frame.src = "/" + page; });
  const inside = frame.contentDocument, root = inside.documentElement;
  const mathjax = frame.contentWindow.MathJax;
  if (mathjax && mathjax.startup) await mathjax.startup.promise;
  await new Promise(done => setTimeout(done, 50));
  const wide = boxes(inside).filter(([node, box]) =>
    box.width > 1 && box.height > 1 && box.right > root.clientWidth + 1 && !scrolls(node, frame.contentWindow)
  ).map(([node]) => node.parentElement.tagName + ": " + (node.data || node.src || "").trim().slice(0, 60));
  if (root.scrollWidth > root.clientWidth) wide.push("the page scrolls sideways, to " + root.scrollWidth);
  if (wide.length) found[page] = wide.slice(0, 5);
}
(async () => {
  for (const page of pages) await measure(page);
  await fetch("/found", {method: "POST", body: JSON.stringify(found)});
})().catch(error => fetch("/found", {method: "POST", body: JSON.stringify({error: [String(error)]})}));
</script>"""


def find_chromium():
    """Return the path of the browser, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def cut_off(site, pages, width, seconds=180):
    """Return what is cut off at a window of ``width`` pixels, as lists of elements by page."""
    answers = queue.Queue()
    script = (SCRIPT % (width, json.dumps(pages))).encode()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            if self.path != "/measure":
                return super().do_GET()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(script)

        def do_POST(self):
            answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(site)))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        browser = subprocess.Popen(
            [
                find_chromium(), *options, "--disable-background-networking", f"--user-data-dir={profile}",
                f"http://127.0.0.1:{server.server_port}/measure",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            return answers.get(timeout=seconds)
        finally:
            browser.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                browser.wait(10)
            browser.kill()
            server.shutdown()
