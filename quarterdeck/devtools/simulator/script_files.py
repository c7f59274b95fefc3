"""Scripts from files: YAML, or Python with a `script` or a function `reply`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from quarterdeck.core.errors import InvalidInput, Misconfigured
from quarterdeck.devtools.simulator.scripts import Script
from quarterdeck.store.strict_yaml import read_yaml

__all__ = ["load_script", "read_script"]

_SCRIPT = TypeAdapter(Script)


def load_script(path: Path) -> Script:
    """The script in a file.

    Raises:
        Misconfigured: There is no such file, or it is no script; every mistake with its line.
    """
    if not path.is_file():
        raise Misconfigured(f"{path}: there is no such script")
    if path.suffix == ".py":
        return _from_python(path)
    return read_script(path.read_text(encoding="utf-8"), str(path))


def read_script(text: str, source: str = "script") -> Script:
    """The script in a YAML (or JSON) text."""
    document = read_yaml(text, source)
    data = document.data if document.data is not None else {}
    if isinstance(data, list):
        data = {"steps": data}
    if not isinstance(data, dict):
        raise Misconfigured(f"{source}:1: a script is a mapping with steps, or a list of steps")
    for step in data.get("steps") or ():
        _unfold(step)
    try:
        return _SCRIPT.validate_python(data)
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_url=False, include_context=False):
            place = [part for part in problem["loc"] if part not in ("Step", "callable")]  # which kind of step was tried
            lines.append(f"{document.place(place)}: {'.'.join(map(str, place))}: {problem['msg']}")
        raise Misconfigured("\n".join(dict.fromkeys(lines))) from error
    except InvalidInput as error:
        raise Misconfigured(f"{source}: {error}") from error


def _unfold(step: Any) -> None:
    """``call: {...}`` is the short form of one of ``calls``."""
    if isinstance(step, dict) and isinstance(step.get("call"), dict):
        step["calls"] = [step.pop("call"), *step.get("calls", ())]


def _from_python(path: Path) -> Script:
    spec = importlib.util.spec_from_file_location("quarterdeck_simulator_script", path)
    if spec is None or spec.loader is None:
        raise Misconfigured(f"{path}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    script = getattr(module, "script", None)
    if isinstance(script, Script):
        return script
    reply = getattr(module, "reply", None)
    if callable(reply):
        return Script(steps=(reply,))
    raise Misconfigured(f"{path}: defines neither `script = Script(...)` nor `def reply(ask)`")
