"""A stranger's names, texts and notes are shown as they are: nothing in a report runs, and nothing is requested."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import cycle
from pathlib import Path
from typing import Any
from xml.sax.saxutils import unescape

import pytest
from made_run import make_run, put, read

from graft.reporting import page

HOST = "canary.invalid"
RUN = "document.title='pwned'"
TAGS = (
    "img src=x onerror={}",
    "svg onload={}",
    "body onload={}",
    "video src=x onerror={}",
    "audio src=x onerror={}",
    "input autofocus onfocus={}",
    "details open ontoggle={}",
    "marquee onstart={}",
    "iframe src=javascript:{}",
    "object data=javascript:{}",
    "embed src=javascript:{}",
    "a href=javascript:{}",
    "form action=javascript:{}",
    "math href=javascript:{}",
    "style onload={}",
    "link rel=stylesheet href=//H/x.css onload={}",
    "base href=//H/",
    "meta http-equiv=refresh content=0;url=//H/",
    "script src=//H/x.js",
    "iframe srcdoc='<script>parent.{}</script>'",
    "svg><script>{}</script",
    "svg><animate onbegin={} attributeName=x dur=1s",
    "img srcset=//H/a.png",
    "table background=//H/b.png",
    "svg><use href=//H/c.svg#a",
    "svg><image href=//H/d.png",
    "frameset onload={}",
    "select autofocus onfocus={}",
    "textarea autofocus onfocus={}",
    "keygen autofocus onfocus={}",
)
BREAKS = (
    "",
    '">',
    "'>",
    "</title>",
    "</style>",
    "</svg>",
    "</textarea>",
    "-->",
    "]]>",
    "</td></tr></table>",
    "</desc>",
    '"/>',
    "</summary></details>",
)
PLAIN = (
    "<script>{}</script>",
    "<ScRiPt>{}</sCrIpT>",
    "<<script>{}//<</script>",
    '" onmouseover="{}" x="',
    "' autofocus onfocus={} '",
    "javascript:{}",
    "JaVaScRiPt:{}",
    "data:text/html,<script>{}</script>",
    "{{{{7*7}}}}",
    "{{% for x in y %}}",
    "${{7*7}}",
    "{{{{ w.__class__.__mro__ }}}}",
    "<!--#include file=x-->",
    "<?php {} ?>",
    "<![CDATA[<script>{}</script>]]>",
    "&lt;script&gt;{}&lt;/script&gt;",
    "&#60;script&#62;{}",
    "\\u003cscript\\u003e{}",
    "%3Cscript%3E{}",
    "＜script＞{}",
    "url(//H/e.png)",
    "@import '//H/f.css'",
    "expression({})",
    "x;background:url(//H/g.png)",
    "`{}`",
    "\u202egnp.exe",
    "\x00<script>{}</script>",
    "\x1b[2J",
    "$\\frac{{1}}{{0}}$ $^{{$",
    "[x](javascript:{})",
    "<svg/onload={}>",
    "<img/src=x/onerror={}>",
    "<x contenteditable onblur={}>",
    "<a\thref=javas\tcript:{}>",
    "%s%n{{0}}",
)


def _payloads() -> list[str]:
    made = [text.format(RUN).replace("H", HOST, text.count("//H")) for text in PLAIN]
    made += [
        f"{ahead}<{tag.format(RUN)}>".replace("//H", f"//{HOST}")
        for tag, ahead in zip(TAGS, cycle(BREAKS), strict=False)
    ]
    made += [f"{ahead}<script>{RUN}</script>" for ahead in BREAKS]
    made += [f"{ahead}<img src=http://{HOST}/{i}.png onerror={RUN}>" for i, ahead in enumerate(BREAKS)]
    made += [f'{ahead}" style="background:url(http://{HOST}/{i})" onclick="{RUN}' for i, ahead in enumerate(BREAKS)]
    return [text.replace("(H", f"({HOST}") for text in made] + ["../../etc/passwd"]


PAYLOADS = list(dict.fromkeys(_payloads()))
KEPT = {
    "metric",
    "format",
    "part",
    "transfer",
    "event",
    "severity",
    "type",
    "data",
    "task",
    "word",
    "code",
    "measured_on",
}
FORBIDDEN = {
    "script",
    "base",
    "form",
    "iframe",
    "object",
    "embed",
    "link",
    "frame",
    "frameset",
    "applet",
    "audio",
    "video",
    "input",
    "textarea",
    "select",
    "button",
    "foreignobject",
    "animate",
    "set",
    "image",
    "marquee",
    "math",
}
ADDRESSES = {
    "href",
    "src",
    "srcset",
    "action",
    "formaction",
    "background",
    "poster",
    "data",
    "xlink:href",
    "ping",
    "cite",
}


def poisoned(value: Any, texts: Any, key: str = "", keep: frozenset[str] = frozenset(KEPT)) -> Any:
    """Every text in it, and every name of a class, is a payload."""
    if isinstance(value, dict):
        names = {name: next(texts) if key in ("classes", "libraries") else name for name in value}
        return {names[name]: poisoned(one, texts, name, keep) for name, one in value.items()}
    if isinstance(value, list):
        return [poisoned(one, texts, key, keep) for one in value]
    return next(texts) if isinstance(value, str) and key not in keep else value


class Guard(HTMLParser):
    """Fails at whatever runs or requests."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen += 1
        assert tag not in FORBIDDEN, f"<{tag} {attrs}>"
        for name, value in attrs:
            said = (value or "").strip().lower()
            assert not name.startswith("on"), f"{name}={value}"
            assert name not in ADDRESSES or said.startswith(("#", "data:image/")), f"{name}={value}"
            assert name != "http-equiv" or said == "content-security-policy"
            assert name not in ("style", "clip-path", "fill") or not re.search(
                r"url\((?!#)|expression|@import", said
            ), said

    handle_startendtag = handle_starttag


def hostile(folder: Path, keep: frozenset[str] = frozenset(KEPT), modality: str = "image") -> Path:
    run, texts = make_run(folder, PAYLOADS, each=2, modality=modality), cycle(PAYLOADS)
    names = [
        "result.json",
        "ladder.json",
        "chosen.json",
        "recipe.json",
        "data.json",
        "issues.json",
        "environment.json",
        "backbone.json",
        "sealed.json",
    ]
    for name in names:
        put(run, name, poisoned(read(run, name), texts, keep=keep))
    shown = read(run, "shown.json")
    put(run, "shown.json", poisoned(shown, texts, keep=keep | {"modality", "method"}))
    events = [
        json.dumps(poisoned(json.loads(line), texts)) for line in (run / "metrics.jsonl").read_text().splitlines()
    ]
    (run / "metrics.jsonl").write_text("\n".join(events), encoding="utf-8")
    return run


def test_there_are_a_hundred_payloads() -> None:
    assert len(PAYLOADS) >= 100


@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_runs_and_nothing_is_requested(tmp_path: Path, language: str) -> None:
    text = page.page(hostile(tmp_path / "run"), language=language)
    assert Guard(text).seen > 500
    assert text.count("<style>") == 1
    assert text.count("default-src &#39;none&#39;; img-src data:; style-src &#39;unsafe-inline&#39;") == 1
    shown = [
        payload for payload in PAYLOADS if " ".join(payload.split()) in unescape(text, {"&#34;": '"', "&#39;": "'"})
    ]
    assert len(shown) > 90, "they are shown as they are, but for what is not printable"


def test_nothing_is_taken_on_trust(tmp_path: Path) -> None:
    """Codes, severities, types and base64 of pictures may be anything, too."""
    keep = frozenset({"metric", "format", "event", "part"})
    Guard(page.page(hostile(tmp_path / "run", keep, "text")))


@pytest.mark.parametrize("start", range(0, 100, 20))
def test_matrix_and_map_draw_names_as_they_are(tmp_path: Path, start: int) -> None:
    text = page.page(make_run(tmp_path / "run", PAYLOADS[start : start + 20], each=3, text=PAYLOADS[start]))
    assert "matrix-title" in text
    Guard(text)


def test_no_name_is_mathematics(tmp_path: Path) -> None:
    text = page.page(make_run(tmp_path / "run", ["$\\frac{1}{2}$", "$x_1$", "a^b"], each=4))
    assert text.count(">$\\frac{1}{2}$</text>") >= 2


# ------------------------------------------------------------------------------------------------------ in a browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--disable-sync",
    "--disable-default-apps",
    "--virtual-time-budget=4000",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
OWN = re.compile(r"https?://([a-z0-9-]+\.)*(google|googleapis|gstatic)\.com/")  # what the browser itself asks for
browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def browse(file: Path, folder: Path) -> tuple[str, set[str]]:
    """The document after its scripts have had their time, and the addresses that were asked for."""
    assert CHROMIUM is not None
    log = folder / "net.json"
    asked = [
        CHROMIUM,
        *FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        f"--log-net-log={log}",
        "--dump-dom",
        file.as_uri(),
    ]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120)
    return done.stdout, set(re.findall(r'"url":"([^"]+)"', log.read_text(encoding="utf-8", errors="replace")))


def title(document: str) -> str:
    return "".join(re.findall(r"<title>(.*?)</title>", document, re.DOTALL)[:1])


@browser
def test_the_browser_would_tell(tmp_path: Path) -> None:
    """The canary sings in a page that is not ours."""
    file = tmp_path / "bad.html"
    file.write_text(f"<title>calm</title><img src=http://{HOST}/1.png><img src=x onerror={RUN}>", encoding="utf-8")
    document, asked = browse(file, tmp_path)
    assert title(document) == "pwned"
    assert any(HOST in address for address in asked)


@browser
@pytest.mark.parametrize("policy", [True, False])
def test_in_a_browser_nothing_runs_and_nothing_is_requested(tmp_path: Path, policy: bool) -> None:
    """With the policy of the page, and by its escaping alone."""
    text = page.page(hostile(tmp_path / "run"))
    if not policy:
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    file = tmp_path / "report.html"
    file.write_text(text, encoding="utf-8")
    document, asked = browse(file, tmp_path)
    assert "Report:" in title(document)
    assert [address for address in asked if not OWN.match(address) and address != file.as_uri()] == []
    assert document.count("<script") == 0
