"""Are there known vulnerabilities in what is installed? `make audit` runs this with pip-audit
beside it.

Exit 1 only for a vulnerability that is known. What could not be looked up is named, since silence
would read as health: a mirror of the package index often serves no vulnerabilities, and then
nothing was audited, with pip-audit content.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TIMEOUT_SECONDS = 300
FEW = 8


def main() -> int:
    command = [
        Path(sys.executable).with_name("pip-audit"),
        "--skip-editable",
        "--progress-spinner",
        "off",
        "--format",
        "json",
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
        dependencies = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        print(f"not audited: no answer within {TIMEOUT_SECONDS} s")
        return 0
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        print(
            "not audited: no service that knows vulnerabilities can be reached from here"
            f" ({last[:200]})"
        )
        return 0
    audited = [each for each in dependencies if "vulns" in each]
    skipped = [each["name"] for each in dependencies if "vulns" not in each]
    found = [(each, vulnerability) for each in audited for vulnerability in each["vulns"]]
    for each, vulnerability in found:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
        print(f"{each['name']} {each['version']}: {vulnerability['id']}, fixed in {fixed}")
    print(
        f"{len(audited)} of {len(dependencies)} packages audited, {len(found)} known"
        " vulnerabilities"
    )
    if skipped:
        more = f" and {len(skipped) - FEW} more" if len(skipped) > FEW else ""
        print(f"not audited, the index tells nothing of them: {', '.join(skipped[:FEW])}{more}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
