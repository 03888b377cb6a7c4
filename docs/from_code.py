"""Parts of pages that are made from the code, so that they cannot go stale.

A page marks the place with a comment, ``<!-- made from code: NAME -->``.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from typer.main import get_command

from layerscope.interfaces.cli import app as command_line
from layerscope.measures.table import MEASURES

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MARK = re.compile(r"<!-- made from code: ([a-z ]+) -->")


def setup(app: "Sphinx") -> dict[str, bool]:
    """Let Sphinx fill the marked places, and keep per cent signs beside their numbers."""
    app.connect("source-read", lambda _app, _page, source: _fill(source))
    app.connect("autodoc-process-signature", _without_fields)
    return {"parallel_read_safe": True}


def _fill(source: list[str]) -> None:
    text = MARK.sub(lambda mark: PARTS[mark[1]](), source[0])
    source[0] = re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text)


def _without_fields(
    _app: object, _what: str, _name: str, found: object, *_: object
) -> tuple[str, str] | None:
    """Results are read and never built by a user: their fields say all."""
    return ("", "") if inspect.isclass(found) and is_dataclass(found) else None


def commands() -> str:
    """Every command with its arguments and options, as Markdown."""
    root: Any = get_command(command_line)
    return "\n\n".join(
        "\n\n".join(_command(name, command)) for name, command in root.commands.items()
    )


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    hints = get_type_hints(inspect.unwrap(command.callback))
    yield f"## {name}"
    yield _escaped(" ".join(str(command.help).split()))
    usage = " ".join(["layerscope", name, *(each.metavar for each in arguments), "[OPTIONS]"])
    yield f"```text\n{usage}\n```"
    yield f":::{{program}} layerscope {name}\n:::"
    for each in arguments:
        yield f":::{{option}} {each.metavar}\n{_escaped(each.help)}\n:::"
    for each in options:
        names = ", ".join(f"{opt}{_value(each, hints[each.name])}" for opt in each.opts)
        yield f":::{{option}} {names}\n{_escaped(each.help)}{_default(each)}\n:::"


def _value(option: Any, hint: Any) -> str:
    """What an option takes, with a blank before it; nothing for a switch."""
    if option.is_flag:
        return ""
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    return f" {option.metavar or '|'.join(map(str, choices))}"


def _default(parameter: Any) -> str:
    """The default, where it says something and the help does not."""
    value = parameter.default
    if value in (None, "", False) or "Default:" in parameter.help or parameter.required:
        return ""
    return f" Default: `{value}`."


def _escaped(text: str) -> str:
    """Plain text as Markdown; options in it are set as code."""
    text = re.sub(r"([\\`*_<>\[\]#|])", r"\\\1", text)
    return re.sub(r"(?<!\S)(--?[a-z][a-z-]*)", r"`\1`", text)


def measures() -> str:
    """Everything that is measured of a map, as a list."""
    return "\n".join(
        f"- `{one.name}`: {_escaped(one.what)} *Low*: {_escaped(one.low)}. *High*: "
        f"{_escaped(one.high)}."
        for one in MEASURES
    )


PARTS: dict[str, Callable[[], str]] = {"commands": commands, "measures": measures}
