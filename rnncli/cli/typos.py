"""Mistakes in a command line: near names, words of other programs, and dashes."""

import os
import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest

import click

from rnncli.model.errors import did_you_mean
from rnncli.model.formats.load import is_model
from rnncli.writers.formats import FORMATS

# Options as other programs call them.
_OPTIONS = {
    **dict.fromkeys(("model", "net", "network", "model-file", "checkpoint"), "--weights"),
    **dict.fromkeys(("units", "hidden-size", "hidden-units", "layers"), "--hidden"),
    **dict.fromkeys(("input", "file", "data"), "FILE without an option"),
    **dict.fromkeys(("key", "by", "group"), "--group-by"),
    **dict.fromkeys(("cols", "features", "fields", "select"), "--columns"),
    **dict.fromkeys(("sep", "separator"), "--delimiter"),
    **dict.fromkeys(("sequence", "steps"), "--seq"),
    **dict.fromkeys(("out", "outfile", "save", "output-dir", "outdir"), "--output"),
    **dict.fromkeys(("json-lines", "jsonlines"), "--format jsonl"),
    **dict.fromkeys(("tolerance", "tol"), "--atol"),
    **dict.fromkeys(("forecast", "horizon", "predict"), "--ahead"),
    **dict.fromkeys(("dtype", "float"), "--precision"),
    **dict.fromkeys(("silent", "no-notes"), "--quiet"),
    **dict.fromkeys(("threads", "workers", "processes"), "--jobs"),
    **dict.fromkeys(("overwrite", "rerun"), "--force"),
}
# Commands as other programs call them.
_COMMANDS = {
    **dict.fromkeys(("version", "-v", "-V"), "--version"),
    **dict.fromkeys(("predict", "forward", "score", "forecast"), "run"),
    **dict.fromkeys(("show", "info", "describe", "summary"), "inspect"),
    **dict.fromkeys(("check", "compare", "diff"), "verify"),
    **dict.fromkeys(("convert", "export"), "weights"),
}
_TYPOGRAPHIC = "[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]+"


class Choice(click.Choice[str]):
    """One of some names; its error names a near one."""

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the name that a text is."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            hint = did_you_mean(str(value), [*map(str, self.choices)])
            self.fail(f"{error.message.rstrip('.')}; {hint}" if hint else error.message, param, ctx)


def check_dashes(args: Sequence[str], params: Iterable[click.Parameter]) -> None:
    """Refuse an option with one dash in place of two, or with another mark in place of dashes."""
    options = [param for param in params if isinstance(param, click.Option)]
    names = {name for option in options for name in option.opts}
    with_value = {name for option in options if not option.is_flag for name in option.opts}
    for arg, after in zip_longest(args, args[1:], fillvalue=""):
        if arg == "--":
            return
        if arg in with_value and after in names:
            raise click.UsageError(f"Option {arg!r} requires an argument, got the option {after}")
        word = arg.partition("=")[0]
        if match := re.match(_TYPOGRAPHIC, word):
            name = word[match.end() :]
            dashed = f"-{name}" if len(name) == 1 else f"--{name}"
            if dashed in names:
                what = f"{word} begins with a typographic dash: type {dashed}"
                raise click.UsageError(what)
        elif word[1:] in FORMATS and "--format" in names and word.startswith("-"):
            raise click.UsageError(f"{word}: did you mean --format {word[1:]}?")
        elif re.fullmatch(r"-[a-z][a-z-]+", word) and f"-{word}" in names:
            raise click.UsageError(f"{word}: did you mean -{word}?")


def describe_option(wrong: str, command: click.Command, commands: Iterable[click.Command]) -> str:
    """Describe an option that a command does not have."""
    names = _names_of(command)
    word = wrong.lstrip("-").lower()
    known = "rnn --version" if word == "version" else _OPTIONS.get(word, "")
    if known.startswith("-") and known.split()[0] not in names:
        known = ""
    near = [name for name in (f"--{word}s", f"--{word.removesuffix('s')}") if name in names]
    near += [known] * bool(known)
    if word in ("format", "f") and "--json" in names:
        near += ["--json, or -o FILE with an extension" if "--output" in names else "--json"]
    for param in command.params:  # a value in place of its option
        if isinstance(param.type, Choice) and word in param.type.choices:
            near.append(f"{param.opts[-1]} {word}")
    if near:
        return f"No such option {wrong!r}; did you mean {near[0]}?"
    for each in commands:
        if wrong in _names_of(each):
            return f"No such option {wrong!r}; rnn {each.name} has it"
    hint = did_you_mean(word, [name.lstrip("-") for name in names])
    return f"No such option {wrong!r}" + re.sub("'([^']+)'", r"--\1", f"; {hint}") * bool(hint)


def describe_command(wrong: str, names: Iterable[str]) -> str:
    """Describe a command that there is not."""
    known = _COMMANDS.get(wrong.lower(), "")
    if os.path.isfile(wrong) or os.path.splitext(wrong)[1]:
        known = f"{'inspect' if is_model(wrong) else 'run'} {wrong}"
    hint = f"did you mean rnn {known}?" if known else did_you_mean(wrong, names)
    return f"No such command {wrong!r}" + f"; {hint}" * bool(hint)


def _names_of(command: click.Command) -> list[str]:
    """List the long names of the options of a command."""
    options = [param for param in command.params if isinstance(param, click.Option)]
    return [name for each in options for name in each.opts if name.startswith("--")]
