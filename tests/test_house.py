"""The walls that import-linter cannot hold: who reads the environment, what an import may cost, what the lock holds."""

import ast
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("indexes", "distill", "app")
# The lock is made for this platform; elsewhere a pin or two may be idle.
MADE_HERE = (sys.platform, platform.machine(), sys.version_info[:2]) == ("linux", "x86_64", (3, 11))
ENVIRONMENT_NAMES = {"environ", "environb", "getenv", "getenvb", "putenv"}


def modules() -> list[Path]:
    """Every source file of the three packages, sorted."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def may_read_the_environment(path: Path) -> bool:
    readers = {ROOT / "app" / "settings.py", ROOT / "indexes" / "commands.py", ROOT / "distill" / "commands.py"}
    readers.add(ROOT / "indexes" / "processes.py")  # which hands on to children what they need of it
    return path in readers or path.name == "__main__.py"


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def environment_reads(tree: ast.Module) -> list[int]:
    """The lines of a source that reach the environment: os.environ and kin, or a command-line option's envvar."""
    lines = []
    for node in ast.walk(tree):
        attribute = isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT_NAMES
        imported = isinstance(node, ast.ImportFrom) and any(alias.name in ENVIRONMENT_NAMES for alias in node.names)
        option = isinstance(node, ast.keyword) and node.arg == "envvar"
        if attribute or imported or option:
            lines.append(node.lineno)
    return lines


def repository_files() -> list[Path]:
    """The text files that git tracks or would track, or every file of an unpacked archive."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listing.returncode == 0:
        paths = [ROOT / name for name in listing.stdout.splitlines()]
    else:
        paths = [path for path in ROOT.rglob("*") if not any(part.startswith(".venv") for part in path.parts)]
    return sorted(path for path in paths if path.is_file())


def lock_section(name: str) -> dict[str, Requirement]:
    """The pins under the lock's comment that starts with `name`, by canonical package name."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    section = re.search(rf"^# {name}.*?\n((?:[^#\n].*\n)+)", text, flags=re.MULTILINE)
    assert section, f"requirements.lock has no section {name!r}"
    pins = [Requirement(line.split(" --hash=")[0]) for line in section[1].splitlines()]
    return {canonicalize_name(pin.name): pin for pin in pins}


def project_requirements(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in lines]


def needed(roots: list[Requirement]) -> Iterator[Requirement]:
    """Each requirement that follows from `roots` in this environment, extras included."""
    todo, seen = list(roots), set[tuple[str, str]]()
    while todo:
        requirement = todo.pop()
        yield requirement
        for extra in {"", *requirement.extras}:
            key = (canonicalize_name(requirement.name), extra)
            if key in seen:
                continue
            seen.add(key)
            try:
                lines = distribution(requirement.name).requires or []
            except PackageNotFoundError:
                lines = []  # the caller finds the missing pin; there is nothing to walk into
            children = [Requirement(line) for line in lines]
            todo += [child for child in children if child.marker is None or child.marker.evaluate({"extra": extra})]


def test_only_the_settings_and_the_command_lines_read_the_environment() -> None:
    """A variable read deep in a package is one that neither the page nor a test can set by argument."""
    others = [path for path in modules() if not may_read_the_environment(path)]
    assert {path: lines for path in others if (lines := environment_reads(tree(path)))} == {}


@pytest.mark.parametrize(
    "source",
    ["import os\nos.environ['A']", "import os as o\no.getenv('A')", "from os import environ", "f(x, envvar='A')"],
)
def test_every_way_to_the_environment_is_seen(source: str) -> None:
    assert environment_reads(ast.parse(source))


def test_no_child_is_begun_with_the_whole_environment() -> None:
    """Keys are in it, and what children read and import is not all ours."""
    starts = ("subprocess.", "os.spawn", "os.posix_spawn")
    calls = [(path, node) for path in modules() for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    for path, call in calls:
        if ast.unparse(call.func).startswith(starts):
            given = {word.arg: ast.unparse(word.value) for word in call.keywords}
            assert given.get("env", "").startswith(("child_environment(", "environment")), f"{path}, line {call.lineno}"


def test_every_package_says_what_it_is() -> None:
    inits = {path.parent / "__init__.py" for path in modules()}
    assert [path for path in inits if not ast.get_docstring(tree(path))] == []


@pytest.mark.slow
def test_no_module_of_indexes_or_app_loads_a_model_s_library_or_builds_a_page_on_import() -> None:
    """The page has to open in seconds, so what needs torch or the store imports it when it is called."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in modules()
        if path.relative_to(ROOT).parts[0] != "distill"
    ]
    heavy = {"torch", "transformers", "sentence_transformers", "chromadb", "xllamacpp"}
    program = (
        f"import gradio, sys, {', '.join(names)}\nprint({heavy!r} & {{*sys.modules}}, gradio.Blocks.get_instances())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set() []\n", done.stdout + done.stderr


def test_no_file_names_a_machine_path_or_a_package_registry() -> None:
    """A path or a registry of one machine breaks every other machine."""
    hosts = ["files.python" + "hosted.org", "pypi" + ".org", "download.py" + "torch.org", "registry.npm" + "js.org"]
    folders = ["work", "root", "opt", "home", "tmp/b"]
    machine = re.compile("|".join([*map(re.escape, hosts), *(rf"(?<![\w.~}}-])/{folder}/" for folder in folders)]))
    found = []
    for path in repository_files():
        text = path.read_bytes().decode("utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in machine.finditer(text)]
    assert found == []


def test_the_tests_that_documents_name_are_there() -> None:
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    for document in (ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md"):
        assert {*re.findall(r"\btest_\w+\.py", document.read_text(encoding="utf-8"))} <= there


def test_every_package_but_torch_is_installed_by_its_hash() -> None:
    """Whoever stands between us and a registry could give another file under the same name."""
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if re.match(r"[A-Za-z]", line)]
    unhashed = [line for line in lines if not re.search(r"( --hash=sha256:[0-9a-f]{64})+$", line)]
    assert unhashed == [line for line in lines if line.startswith("torch==")] and len(lines) > 100
    assert (
        "--require-hashes" in (ROOT / "Makefile").read_text()
        and "--require-hashes" in (ROOT / "Dockerfile").read_text()
    )


def test_the_lock_has_one_fitting_pin_for_each_package_that_the_project_needs() -> None:
    """The lock is installed without a resolver, so nothing else would notice a missing, unfitting or idle pin."""
    runtime = lock_section("Torch") | lock_section("Runtime")
    everything = runtime | lock_section("Development")
    for pins, roots in ((runtime, project_requirements()), (everything, project_requirements("dev"))):
        idle = set(pins)
        for requirement in needed(roots):
            name = canonicalize_name(requirement.name)
            idle.discard(name)
            if name.startswith(("nvidia-", "cuda-", "triton")):
                continue  # CUDA builds of torch bring their own, and are not pinned
            assert name in pins, f"requirements.lock lacks {requirement}"
            version = next(iter(pins[name].specifier)).version
            assert requirement.specifier.contains(version, prereleases=True), f"{requirement} against {pins[name]}"
        assert idle == set() or not MADE_HERE, "requirements.lock pins what nothing needs"


def test_every_pin_of_the_lock_installs_on_the_python_of_debian_12() -> None:
    """A package may ask for a later patch release of 3.11 than a stable distribution has."""
    for section in ("Torch", "Runtime", "Development"):
        for name, pin in lock_section(section).items():
            if pin.marker is None or pin.marker.evaluate():
                asked = distribution(name).metadata.get("Requires-Python") or ">=3"
                assert SpecifierSet(asked).contains("3.11.2"), f"{pin} asks for Python {asked}"


def test_every_pin_of_the_lock_is_exact_and_of_any_build() -> None:
    """A local version (+cpu) exists on one index only, and would make the lock fail on every other."""
    for section in ("Torch", "Runtime", "Development"):
        for pin in lock_section(section).values():
            (specifier,) = pin.specifier
            assert specifier.operator == "=="
            assert "+" not in specifier.version
            assert "*" not in specifier.version
