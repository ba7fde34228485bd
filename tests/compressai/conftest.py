"""Cases that CompressAI itself made, once; bundles made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import compressai_environment as environment
import numpy as np
import pytest
import torch

REFERENCE = Path(__file__).with_name("reference.py")


@dataclass(frozen=True)
class Case:
    """A model's state and what CompressAI made of a picture."""

    name: str
    state: dict[str, Any]
    picture: np.ndarray
    results: dict[int, dict[str, Any]]


@pytest.fixture(scope="session")
def case_of() -> Any:
    """Makes a `Case` of a class of CompressAI's."""

    def make(name: str) -> Case:
        target = environment.BUILD / f"{name}.pth"
        try:
            environment.site()
        except environment.AbsentError as fault:
            pytest.skip(f"CompressAI cannot be had here: {fault}")
        if not target.exists() or target.stat().st_mtime < REFERENCE.stat().st_mtime:
            environment.run([str(REFERENCE), name, str(target)])
        found = torch.load(target, weights_only=True)
        return Case(name, found["state"], found["picture"].numpy(), found["results"])

    return make
