"""Are there known weaknesses in what we install? Asks two sources of advisories, and says so where none answers.

    .venv/bin/python tests/packaging/audit.py FILE...    (files of requirements)

Exit codes: 0 every package was looked up and none is known to be weak; 1 some are; 3 packages could not be looked up.
pip-audit itself ends with 0 where its source knows no package at all, as a mirror without advisories does.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

SOURCES = ("pypi", "osv")
WEAK, NOT_ASKED = 1, 3


@dataclass
class Answer:
    """What one source, or several, say of packages."""

    clean: set[str] = field(default_factory=set)
    weak: dict[str, list[str]] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    silent: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        if self.weak:
            return WEAK
        return NOT_ASKED if self.unknown or self.silent or not self.clean else 0


def ask(source: str, file: str) -> Answer:
    """One source about the packages of one file."""
    hashed = "--hash" in Path(file).read_text(encoding="utf-8")
    command = [sys.executable, "-m", "pip_audit", "-r", file, "-s", source, "--format", "json", "--disable-pip"]
    command += ["--progress-spinner", "off", "--timeout", "20", "--require-hashes" if hashed else "--no-deps"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    return told(source, done.stdout, done.stderr)


def told(source: str, document: str, errors: str) -> Answer:
    """What pip-audit printed."""
    try:
        packages = json.loads(document)["dependencies"]
    except (ValueError, KeyError):
        return Answer(silent=[f"{source}: {(errors.strip().splitlines() or ['no answer'])[-1]}"])
    answer = Answer()
    for package in packages:
        name = f"{package['name']} {package.get('version', '')}".strip()
        if "skip_reason" in package:
            answer.unknown[package["name"]] = f"{source}: {package['skip_reason']}"
        elif package["vulns"]:
            answer.weak[name] = [entry["id"] for entry in package["vulns"]]
        else:
            answer.clean.add(package["name"])
    return answer


def joined(answers: list[Answer]) -> Answer:
    """A package that one source knows is looked up; a source that is silent counts where all are."""
    found = Answer()
    for answer in answers:
        found.clean |= answer.clean
        found.weak |= answer.weak
    named = found.clean | {name.partition(" ")[0] for name in found.weak}
    for answer in answers:
        found.unknown |= {name: why for name, why in answer.unknown.items() if name not in named}
    if all(answer.silent for answer in answers):
        found.silent = [line for answer in answers for line in answer.silent]
    return found


def main(files: list[str]) -> int:
    worst = 0
    for file in files:
        answer = joined([ask(source, file) for source in SOURCES])
        for name, advisories in answer.weak.items():
            print(f"{file}: WEAK {name}: {', '.join(advisories)}")
        for line in answer.silent:
            print(f"{file}: NOT ASKED: {line}")
        if answer.unknown:
            name, why = next(iter(answer.unknown.items()))
            print(f"{file}: NOT ASKED about {len(answer.unknown)} packages, such as {name}: {why}")
        if not answer.exit_code:
            print(f"{file}: ok, {len(answer.clean)} packages have no known weakness")
        worst = WEAK if WEAK in (worst, answer.exit_code) else max(worst, answer.exit_code)
    if worst == NOT_ASKED:
        print("This says nothing about weaknesses: try again where an advisory source can be reached.")
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["requirements-device.txt", "constraints.txt"]))
