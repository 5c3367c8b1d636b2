"""Programs in the documents and examples are as a type checker at its strictest wants them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
EXAMPLES = [REPOSITORY / "examples" / "price_oracle.py"]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
SETTINGS = """[mypy]
strict = true
plugins = pydantic.mypy

[mypy-hivemind.*,transformers.*]
ignore_missing_imports = true
follow_imports = skip
"""


def write_programs(folder: Path) -> list[Path]:
    """Each block of Python of each page as a module of its own."""
    programs = []
    for page in PAGES:
        for number, block in enumerate(BLOCK.findall(page.read_text())):
            program = folder / f"{page.stem.replace('-', '_').lower()}_{number}.py"
            program.write_text(block)
            programs.append(program)
    return programs


def test_what_readers_copy_has_no_error_in_their_editor(tmp_path: Path) -> None:
    programs = write_programs(tmp_path)
    assert len(programs) >= 6
    (tmp_path / "mypy.ini").write_text(SETTINGS)
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini"]
    done = subprocess.run(
        [*command, *map(str, programs + EXAMPLES)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
