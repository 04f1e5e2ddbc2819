"""The documentation is what the code says: every key, command, option and error code, every link, every example."""

import importlib.util
import json
import re
import tokenize
from pathlib import Path

import pytest
from msgspec.yaml import decode

from torana import config
from torana.errors import Error
from torana.providers import load_catalog

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("*.md")])
SOURCES = sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("scripts/*.py"), *ROOT.glob("src/**/*.yaml")])
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

# Places of one machine, which mean nothing on another.
MACHINE = re.compile(r"(?<![\w.])/(?:home|root|Users|work|mnt|tmp)/[\w.-]")


def _generator():
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "scripts/generate_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


docs = _generator()


def text(name):
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def anchors(page):
    """The anchors that GitHub gives to the headings of a page."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    heads = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", sorted(docs.PAGES))
def test_the_generated_tables_are_current(page):
    assert docs.rendered(page) == text(page), "run: make docs"


def test_every_key_of_the_configuration_is_documented():
    paths = [path for path, _ in docs.config_keys()]
    assert len(paths) > 100
    assert [path for path in paths if f"| `{path}` |" not in text("config.md")] == []


def test_every_key_of_the_configuration_says_what_it_means():
    assert [
        path
        for path, node in docs.config_keys()
        if not node.get("description", "").endswith((".", ":", "..."))
    ] == []


def test_every_command_and_option_is_documented():
    found = dict(docs.verbs())
    assert {
        "serve",
        "keys create",
        "keys list",
        "keys revoke",
        "models",
        "check",
        "translate",
        "version",
    } <= set(found)
    for verb, parser in found.items():
        section = text("cli.md").partition(f"### `torana {verb}`\n")[2].partition("\n### ")[0]
        names = [
            name for action in parser._actions for name in action.option_strings if name.startswith("--")
        ]
        assert [name for name in names if name != "--help" and f"`{name}" not in section] == [], verb


def test_every_error_code_is_documented():
    codes = {kind.code for kind in docs.kinds()} | {Error.code}
    assert len(codes) > 20
    assert sorted(code for code in codes if f"| `{code}` |" not in text("errors.md")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for link in LINK.findall(prose):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def examples(language):
    for page in PAGES:
        for found, block in FENCE.findall(page.read_text(encoding="utf-8")):
            if found == language:
                yield block


def test_every_example_of_a_configuration_loads(tmp_path):
    known = {path.partition(".")[0].removesuffix("[]") for path, _ in docs.config_keys()}
    found = [block for block in examples("yaml") if set(decode(block)) <= known]
    assert len(found) > 0
    for block in found:
        path = tmp_path / "torana.yaml"
        path.write_text(block)
        names = re.findall(r"\$\{([A-Z_]+)\}", block)
        environ = {name: f"a-long-{name}-0123456789" for name in names}
        environ |= {variable: "sk-x" for row in load_catalog().values() for variable in row.env}
        assert isinstance(config.load(path, environ), config.Config)


def test_every_example_of_json_is_json():
    assert [block for block in examples("json") if json.loads(block) is None] == []


@pytest.mark.parametrize("path", [*PAGES, *SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_and_no_source_names_a_place_on_one_machine(path):
    with tokenize.open(path) if path.suffix == ".py" else path.open(encoding="utf-8") as file:
        found = [line.strip() for line in file if MACHINE.search(line)]
    assert found == []
