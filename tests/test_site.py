"""The site: what its sources must have, and what a reader finds on the pages once they are built.

The pages are looked at where ``SK_GDLINEAR_SITE`` names the folder of a build, as in ``.ci/run``:

    sphinx-build -W docs docs/_build && SK_GDLINEAR_SITE=docs/_build pytest tests/test_site.py
"""

import ast
import doctest
import os
import re
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from browser import cut_off, find_chromium

ROOT = Path(__file__).parent.parent
DOCS, EXAMPLES = ROOT / "docs", ROOT / "examples"
if not DOCS.exists():
    pytest.skip("the documentation is in the repository only", allow_module_level=True)

SITE = Path(os.environ["SK_GDLINEAR_SITE"]).resolve() if "SK_GDLINEAR_SITE" in os.environ else None
built = pytest.mark.skipif(SITE is None, reason="SK_GDLINEAR_SITE names no build of the site")
PHONE = 390  # pixels


def sources():
    """All pages that are written by hand."""
    return [
        path
        for path in sorted([*DOCS.rglob("*.rst"), *DOCS.rglob("*.md")])
        if not {"_build", "generated", "_templates"}.intersection(path.relative_to(DOCS).parts)
    ]


def pages():
    """The built pages, relative to the site."""
    names = (path.relative_to(SITE).as_posix() for path in sorted(SITE.rglob("*.html")))
    return [name for name in names if not name.startswith(("_static", "_modules"))]


class Tags(HTMLParser):
    """The tags of a page, as pairs of a name and its attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def of(self, *names):
        return [attributes for tag, attributes in self.found if tag in names]


def read(page):
    return (SITE / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_tells_a_story(path):
    text = path.read_text(encoding="utf-8")
    title, underline, _, summary, *_ = ast.get_docstring(ast.parse(text)).splitlines()
    assert underline == "=" * len(title)
    assert summary.endswith(".")
    assert len(re.findall(r"^# %%\n# \S", text, re.MULTILINE)) >= 1


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(DOCS).as_posix())
def test_every_picture_of_a_page_is_described(path):
    text = path.read_text(encoding="utf-8")
    assert len(re.findall(r"^ *(\.\. |```\{)(figure|image)\b", text, re.MULTILINE)) == len(
        re.findall(r"^ *:alt: \S", text, re.MULTILINE)
    )


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(DOCS).as_posix())
def test_numbers_on_a_page_have_digits_that_are_checked(path):
    # The option NUMBER compares as many decimals as are written: "13." holds for 12.1, "13.0" does not.
    outputs = [example.want for example in doctest.DocTestParser().get_examples(path.read_text(encoding="utf-8"))]
    assert [output for output in outputs if re.search(r"(?<![.\d])\d+\.(?=[\s,\])}e]|$)", output)] == []


def test_inventories_name_pages_of_scikit_learn(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "_extensions")
    write_inventories = pytest.importorskip("inventories", exc_type=ImportError).write_inventories
    site, path = write_inventories(tmp_path)["sklearn"]
    head, entries = Path(path).read_bytes().split(b"# compressed with zlib\n")
    lines = zlib.decompress(entries).decode().splitlines()
    assert head.startswith(b"# Sphinx inventory version 2\n")
    page = "modules/generated/sklearn.linear_model.Ridge.html#$"
    assert f"sklearn.linear_model.Ridge py:class 1 {page} -" in lines
    assert site == "https://scikit-learn.org/stable/"
    sys.modules.pop("inventories")


@built
def test_nothing_is_loaded_from_the_network():
    loading = {}
    for page in pages():
        tags = Tags(read(page))
        targets = [tag.get("src") or tag.get("href") or "" for tag in tags.of("script", "link", "img", "iframe")]
        loading[page] = [target for target in targets if re.match(r"(https?:)?//", target)]
    assert {page: targets for page, targets in loading.items() if targets} == {}


@built
def test_every_picture_has_a_text():
    without = {}
    for page in pages():
        images = Tags(read(page)).of("img")
        without[page] = [image["src"] for image in images if not (image.get("alt") or "").strip()]
    assert {page: images for page, images in without.items() if images} == {}


@built
@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_pictures_of_an_example_are_described_in_a_sentence(example):
    images = Tags(read(f"generated/gallery/{example.stem}.html")).of("img")
    assert [
        image["alt"] for image in images if "sphx-glr-single-img" in image.get("class", "") and len(image["alt"]) < 60
    ] == []


@built
@pytest.mark.parametrize("page", ["index.html", "guide/raw_data.html", "generated/gallery/stream.html"])
def test_a_page_has_version_icon_copy_buttons_and_the_repository(page):
    import tomllib

    text = read(page)
    tags = Tags(text)
    version = re.search(r'__version__ = "(.+)"', (ROOT / "sk_gdlinear/__init__.py").read_text(encoding="utf-8"))[1]
    address = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    assert re.search(rf'class="site-version"[^>]*>{re.escape(version)}<', text)
    assert [link for link in tags.of("link") if "icon" in link.get("rel", "") and link["href"].endswith("favicon.svg")]
    assert [script for script in tags.of("script") if "copybutton.js" in (script.get("src") or "")]
    assert address in [link.get("href") for link in tags.of("a")]


@built
def test_api_and_gallery_and_sources_are_linked():
    api, example = read("generated/sk_gdlinear.GDLinearRegressor.html"), read("generated/gallery/own_loss.html")
    assert "gallery/own_loss.html" in api
    assert "sk_gdlinear.GDLinearRegressor.html#sk_gdlinear.GDLinearRegressor" in example
    assert re.search(r'href="https://[^"]+/blob/main/sk_gdlinear/estimator\.py#L\d+-L\d+"', api)
    assert 'href="https://scikit-learn.org/stable/modules/generated/sklearn.linear_model.SGDRegressor.html' in api
    assert 'href="https://numpy.org/doc/stable/' in api


@built
def test_words_that_people_search_for_are_found():
    index = (SITE / "searchindex.js").read_text(encoding="utf-8")
    for word in ("miss", "n_job", "gpu", "categori", "polynomi", "pytorch"):
        assert re.search(rf'["{{,]{word}"?:', index), word


@built
@pytest.mark.skipif(find_chromium() is None, reason="there is no Chromium")
def test_no_page_is_wider_than_a_phone():
    assert cut_off(SITE, pages(), PHONE) == {}
