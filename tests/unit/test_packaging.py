"""What `pip install epochgate` brings, read from a wheel that is built here."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackagePath
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "src" / "epochgate"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """The files in the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", f"{folder}"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return frozenset(archive.namelist())


def test_no_adversary_is_shipped(names: frozenset[str]) -> None:
    assert (PACKAGE / "adversaries" / "__init__.py").is_file(), "a clone has them"
    assert not any(name.startswith("epochgate/adversaries") for name in names)


def test_every_other_module_is_shipped_with_its_types(names: frozenset[str]) -> None:
    modules = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "adversaries" not in path.parts
    }
    shipped = {name for name in names if name.startswith("epochgate/")}
    assert shipped == modules | {"epochgate/py.typed"}


def test_nothing_but_the_package_and_its_description_is_shipped(names: frozenset[str]) -> None:
    tops = {PackagePath(name).parts[0].partition("-")[0] for name in names}
    assert tops == {"epochgate"}
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_pages_name_one_place_where_the_project_lives() -> None:
    urls = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["urls"]
    home = urls["Homepage"]
    assert all(url == home or url.startswith(f"{home}/") for url in urls.values())
    assert f"repository: {home}\n" in (REPOSITORY / "mkdocs.yml").read_text()
    assert (
        f"url: {home}/security/"
        in (REPOSITORY / ".github" / "ISSUE_TEMPLATE" / "config.yml").read_text()
    )
