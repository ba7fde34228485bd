"""The README's Python examples run as they stand, in one folder, in order; what the pages point at is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("place", range(len(BLOCKS)))
def test_an_example_runs(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[place], f"README.md, Python example {place + 1}", "exec"), {})


def test_there_are_examples():
    assert len(BLOCKS) == 4


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_modules_that_are_named_are_there():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for path in re.findall(r"`((?:artifacts|export|runtime|tests|train)/[\w/]+\.py)\b", text):
            assert (ROOT / path).exists() or "NAME" in path, f"{page.name}: {path}"


def test_names_behind_modules_are_defined_there():
    """`[module](../module): `name`, `name``, and `module: name`."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        linked = re.findall(r"\]\(\.\./([\w/]+\.py)\): ((?:`\w+`(?:, (?=`))?)+)", text)
        inline = re.findall(r"`((?:export|runtime|train)/[\w/]+\.py): (\w+)`", text)
        for module, names in [*linked, *inline]:
            source = (ROOT / module).read_text(encoding="utf-8")
            for name in re.findall(r"\w+", names):
                defined = rf"^ *(?:def|class) {name}\b|^{name}\b.* = "
                assert re.search(defined, source, re.MULTILINE), f"{page.name}: {name} of {module}"
