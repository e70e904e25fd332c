"""Options from a TOML file, and a TOML file from options: both read off the command's own parameters."""

from __future__ import annotations

import json
import re
import textwrap
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from xh2cm.cli.options import Entry
from xh2cm.disk.atomic import replace
from xh2cm.errors import Finding, InputError, closest

__all__ = ["Config", "Configured", "WriteConfig"]

Config = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        metavar="FILE",
        rich_help_panel="Configuration",
        help="TOML file with options of this command; those on the command line win.",
    ),
]
WriteConfig = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        rich_help_panel="Configuration",
        help="Write such a file, with every option explained and those of this command line set, and do nothing else.",
    ),
]

MOST = 2**20
"""Bytes of the longest file of options that is read."""

ABOUT_ITSELF = ("config", "write_config", "as_json", "help")
"""Options that a file cannot hold."""


class Configured(TyperCommand):
    """A command whose options may stand in a TOML file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read options that the command line does not give from the file, or write one."""
        trial = self.tried(ctx, args)
        if file := trial.params.get("config"):
            given = {name for name in trial.params if is_given(trial, name, ["COMMANDLINE"])}
            ctx.default_map = read(file, self, trial, given)
            trial = self.tried(ctx, args)
        if (out := trial.params.get("write_config")) and not ctx.resilient_parsing:
            values = {
                name: v for name, v in trial.params.items() if is_given(trial, name, ["COMMANDLINE", "DEFAULT_MAP"])
            }
            if any(value is None for value in values.values()):
                return super().parse_args(ctx, args)  # which says what is wrong with it
            if out.exists() and not trial.params["overwrite"]:
                raise typer.BadParameter(
                    f"{out} exists: --overwrite to replace it", ctx=ctx, param_hint="--write-config"
                )
            try:
                replace(out, written(self, ctx, values).encode())
            except OSError as error:
                raise typer.BadParameter(
                    f"{out} cannot be written: {error}", ctx=ctx, param_hint="--write-config"
                ) from None
            typer.echo(f"{ctx.command_path} --config {out}")
            raise typer.Exit
        return super().parse_args(ctx, args)

    def tried(self, ctx: Any, args: Sequence[str]) -> Any:
        """Parse without insisting on anything; what cannot be read is None."""
        trial = type(ctx)(
            self, info_name=ctx.info_name, parent=ctx.parent, resilient_parsing=True, default_map=ctx.default_map
        )
        super().parse_args(trial, [*args])
        return trial


def is_given(ctx: Any, name: str, sources: Collection[str]) -> bool:
    """Return whether an option has a value from one of these sources."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name in sources


def parameters(command: Any) -> dict[str, Any]:
    """Parameters that a file can hold, by their names."""
    return {p.name: p for p in command.params if p.name not in ABOUT_ITSELF}


def takes_table(parameter: Any) -> bool:
    """Return whether an option takes ``NAME=VALUE``."""
    return "=" in (parameter.metavar or "")


# -- reading ---------------------------------------------------------------------------------------------------------


def read(file: Path, command: Any, ctx: Any, given: Collection[str]) -> dict[str, Any]:
    """Read options from a file.

    Parameters
    ----------
    file : Path
    command : TyperCommand
    ctx : Context
    given : collection of str
        Options of the command line, whose values in the file do not matter.

    Returns
    -------
    dict
        As a command line would give them, by parameter.

    Raises
    ------
    InputError
        All that is wrong with it, each with its line.
    """
    if file.stat().st_size > MOST:
        raise InputError([Finding(str(file), f"is longer than {MOST:,} bytes", "give a file of options")])
    try:
        text = file.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except RecursionError:
        raise InputError([Finding(str(file), "is nested too deeply", "mend it there, see https://toml.io")]) from None
    except (OSError, ValueError) as error:
        raise InputError([Finding(str(file), f"is no TOML: {error}", "mend it there, see https://toml.io")]) from None
    known, values, findings = parameters(command), {}, []
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known:
            problem = f"{key!r} is not an option of {ctx.command_path}"
            findings.append(Finding(where(file, text, key), problem, closest(name, known)))
        elif name not in given:
            values[name], wrong = as_told(known[name], value, ctx)
            remedy = f"{known[name].opts[0]}: {known[name].help}"
            findings += [
                Finding(f"{where(file, text, key, *inner)}, {'.'.join([name, *inner])}", problem, remedy)
                for *inner, problem in wrong
            ]
    if findings:
        raise InputError(findings)
    return values


def as_told(parameter: Any, value: Any, ctx: Any) -> tuple[Any, list[tuple[str, ...]]]:
    """A value as the command line would give it; and what is wrong with it, after the key within a table."""
    if getattr(parameter, "is_flag", False):
        return value, [] if isinstance(value, bool) else [(f"{value!r} is neither true nor false",)]
    if isinstance(value, bool) or (isinstance(value, dict) and not takes_table(parameter)):
        return None, [(f"{json.dumps(value, default=str)} is no value of it",)]
    if isinstance(value, dict):
        entries = {key: f"{key}={','.join(map(str, v)) if isinstance(v, list) else v}" for key, v in value.items()}
        return [*entries.values()], [(key, said) for key, e in entries.items() for said in refused(parameter, [e], ctx)]
    if takes_more(parameter):
        told = [str(one) for one in (value if isinstance(value, list) else [value])]
        return told, [(said,) for one in told for said in refused(parameter, [one], ctx)]
    return str(value), [(said,) for said in refused(parameter, str(value), ctx)]


def takes_more(parameter: Any) -> bool:
    """Return whether an option may be repeated."""
    return bool(getattr(parameter, "multiple", False)) or parameter.nargs != 1


def refused(parameter: Any, value: Any, ctx: Any) -> list[str]:
    """Return the message of the command about a value, if it is refused."""
    try:
        parameter.process_value(ctx, value)
    except typer.BadParameter as error:
        said = error.message.rstrip(".").removeprefix("Value error, ")
        told = value[0] if isinstance(value, list) else value
        return [said if told in said else f"{told!r}: {said}"]
    return []


def where(file: Path, text: str, key: str, inner: str = "") -> str:
    """File and line of a key, which `tomllib` does not tell."""
    lines = text.splitlines()
    quoted = f"[\"']?{re.escape(key)}[\"']?"
    at = next(
        (n for n, line in enumerate(lines) if re.match(rf"\s*(\[+\s*{quoted}\s*[].]|{quoted}\s*[=.])", line)), None
    )
    if at is not None and inner:
        within = rf"\s*({quoted}\s*\.\s*)?[\"']?{re.escape(inner)}[\"']?\s*="
        at = next((n for n in range(at, len(lines)) if re.match(within, lines[n])), at)
    return f"{file}, line {at + 1}" if at is not None else str(file)


# -- writing ---------------------------------------------------------------------------------------------------------


def written(command: Any, ctx: Any, values: Mapping[str, Any]) -> str:
    """A file with every option of a command, its help, and its default as a comment unless it has a value."""
    head = (
        f"# Options of {ctx.command_path}, for {ctx.command_path} --config FILE; the command line wins over the file.\n"
        "# What stands behind a # is not set: the default, or what a value looks like. Text stands in quotes.\n"
    )
    blocks: dict[str, list[str]] = {}
    tables: list[str] = []  # a table ends only where the next one begins, so all of them come last
    for name, parameter in parameters(command).items():
        about = textwrap.fill(parameter.help, 116, initial_indent="# ", subsequent_indent="# ")
        as_table, text = lines_of(parameter, values.get(name))
        panel = getattr(parameter, "rich_help_panel", None) or "Arguments"
        (tables if as_table else blocks.setdefault(panel, [])).append(f"{about}\n{text}\n")
    lines = [head]
    for title, texts in {**blocks, "Tables": tables}.items():
        if texts:
            lines += [f"\n# -- {title} {'-' * (114 - len(title))}\n", *texts]
    return "\n".join(lines)


def lines_of(parameter: Any, value: Any) -> tuple[bool, str]:
    """An option as TOML, and whether that is a table."""
    name, metavar = parameter.name, parameter.metavar or ""
    entries = [one for one in value if isinstance(one, Entry)] if isinstance(value, list | tuple) else []
    if entries and all(one.value is not None for one in entries):
        return True, "\n".join([f"[{name}]", *(f"{toml_key(one.name)} = {toml(one.value)}" for one in entries)])
    if value is None and takes_table(parameter) and "[" not in metavar:
        key, _, of = metavar.partition("=")
        return True, f"# [{name}]\n# {key} = {of}"
    if value is not None:
        return False, f"{name} = {toml(value)}"
    default = parameter.default
    return False, f"# {name} = {toml(default) if default is not None else example(parameter)}"


def example(parameter: Any) -> str:
    """Return an example of a value for an option without a default."""
    one = (parameter.metavar or "...").partition("[")[0]
    return f'["{one}", ...]' if takes_more(parameter) else one


def toml_key(name: str) -> str:
    """A key, quoted where it must be."""
    return name if re.fullmatch(r"[\w-]+", name, re.ASCII) else json.dumps(name, ensure_ascii=False)


def toml(value: Any) -> str:
    """A value; strings of JSON are strings of TOML."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, Entry):
        return toml(value.name)
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False)
