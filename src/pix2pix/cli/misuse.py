"""Explain an error of the parser in one sentence, with a suggestion for words of version 0.1."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import pairwise

from cyclopts import (
    CoercionError,
    CycloptsError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)
from pydantic import ValidationError as SettingsError

from pix2pix.cli.public_options import suggest_option
from pix2pix.config.io import explain
from pix2pix.config.legacy import explain_removal, suggest_name
from pix2pix.errors import ConfigError

OLD_COMMANDS = {"bench": "`make bench` in a clone of the repository measures the speed"}
"""Command of version 0.1 -> what to use instead."""
_TRANSLATE = "`pix2pix translate MODEL images --output DIR` makes the outputs"
OTHER_COMMANDS = {
    "test": f"{_TRANSLATE}, and `pix2pix evaluate MODEL DATA` measures the test split",
    "predict": _TRANSLATE,
    "infer": _TRANSLATE,
}
"""Command of other programs -> what to use here."""
ALIKE = 0.8
"""Ratio of `SequenceMatcher` from which an option that exists is suggested."""


def refuse_empty_words(words: Sequence[str]) -> None:
    """Raise ConfigError for an empty word, which as a path would mean the current folder."""
    for before, word in pairwise(["pix2pix", *words]):
        if not word or re.fullmatch(r"--[\w.-]+=", word):
            raise ConfigError(
                f"the word after `{word.removesuffix('=') or before}` is empty: give a value, or leave it out; if a "
                "variable of the shell stands there, it is not set"
            )


def explain_misuse(error: CycloptsError) -> str:
    """Explain an error of the parser in one sentence, and name the help."""
    message = _suggest(error) or _describe(error)
    return f"{message}{'' if message[-1] in '.?!' else '.'} See `pix2pix --help`."


def _describe(error: CycloptsError) -> str:
    if isinstance(error, ValidationError) and isinstance(error.__cause__, SettingsError):
        return explain(error.__cause__)
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        words = " ".join(f"`{word}`" for word in error.unused_tokens)
        many = "is a word" if len(error.unused_tokens) == 1 else "are words"
        return f"{words} {many} too many; a size is one word, as 128x128, and a name with spaces needs quotes"
    message = " ".join(str(error).split())
    if isinstance(error, CoercionError) and error.token is not None and error.token.keyword == "--seeds":
        example = "as in `pix2pix study losses DATA --seeds 0 1`"
        message += f"; if {error.token.value} is DATA, put it before --seeds, {example}"
    return message


def _suggest(error: CycloptsError) -> str | None:
    """Return what to use instead of a command or flag of version 0.1 or the public code; None for other words."""
    if isinstance(error, UnknownCommandError) and error.unused_tokens:
        command = error.unused_tokens[0]
        if command in OLD_COMMANDS:
            return f"There is no command `{command}` any more; {OLD_COMMANDS[command]}"
        return f"There is no command `{command}`; {OTHER_COMMANDS[command]}" if command in OTHER_COMMANDS else None
    if not isinstance(error, UnknownOptionError):
        return None
    flag = (error.token.keyword or error.token.value).partition("=")[0]
    first, dot, rest = flag.removeprefix("--").partition(".")
    setting = first.replace("-", "_")
    if reason := explain_removal(setting):
        return f"There is no option {flag} any more: {reason}"
    if new := suggest_name(setting):
        return f"Unknown option: {flag}. Did you mean --{new.replace('_', '-')}{dot}{rest}?"
    if known := suggest_option(setting):
        return f"Unknown option: {flag}; instead: {known}"
    return _without_far_guess(flag, str(error))


def _without_far_guess(flag: str, message: str) -> str:
    """Leave out an option that the parser suggests, unless it is spelt nearly alike."""
    words = " ".join(message.split())
    guess = re.search(r" Did you mean (\S+)\?$", words)
    far = guess and SequenceMatcher(None, flag, guess[1]).ratio() < ALIKE
    return words[: guess.start()] if guess and far else words
