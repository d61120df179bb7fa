"""Writes ``docs/reference/`` from the declarations in the code; ``make docs`` runs it.

The pages on metrics and on the SleepRecord are made where those are declared.
"""

import ast
import sys
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final

import click

from metrics.instruments import metrics_reference
from sleeper.cli.app import cli
from sleeper.cli.exits import MEANING as EXIT_MEANING
from sleeper.cli.exits import ExitCode
from sleeper.config.reading import ENVIRONMENT_PREFIX, listed_section, setting_fields
from sleeper.config.settings import Config
from sleeper.config.values import form_of, show_value
from sleeper.core.databases import DATABASES
from sleeper.core.names import ANNOTATIONS, LABEL_TENANT, LOCAL_DATA, TENANT_FORM
from sleeper.core.reasons import MEANING as REASON_MEANING
from sleeper.kube.crd import reference as sleeprecord_reference

REFERENCE: Final = Path(__file__).parent / "reference"
FAULTS: Final = Path(__file__).parent / "faults.toml"
ROOT: Final = Path(__file__).parents[1]


def configuration() -> str:
    """``configuration.md``."""
    lines = _head("Configuration", "sleeper/config/settings.py")
    lines += [
        (
            "`sleeper run --config FILE` reads a YAML file. Every setting outside lists can also be "
            f"given as an environment variable, which wins: `{ENVIRONMENT_PREFIX}API__PORT=9090` is "
            "`api.port`. An unknown setting, or settings that contradict each other, are refused at "
            "start; `sleeper config check` names every problem, `sleeper config show` every effective "
            "value and who set it."
        ),
        "",
    ]
    lines += _section(Config, "", "General")
    return _page(lines)


def _section(section: type, prefix: str, title: str) -> list[str]:
    nested: list[str] = []
    lines = [f"## {title}", "", f"{section.__doc__}", ""]
    lines += ["| setting | value | default | meaning |", "|---|---|---|---|"]
    for declared, wanted in setting_fields(section):
        name = prefix + declared.name
        item = listed_section(wanted)
        if is_dataclass(wanted):
            nested += _section(_as_class(wanted), f"{name}.", f"`{name}`")
        elif item is not None:
            lines.append(_row(name, "list of mappings, see below", declared))
            nested += _section(item, f"{name}[].", f"`{name}[]`")
        else:
            lines.append(_row(name, form_of(wanted) + _bounds(declared.metadata), declared))
    return [*lines, "", *nested]


def _row(name: str, form: str, declared: Field[Any]) -> str:
    return f"| `{name}` | {form} | {_default(declared)} | {declared.metadata['meaning']} |"


def _default(declared: Field[Any]) -> str:
    if declared.default is MISSING:
        return "required"
    if declared.default is None:
        return "not set"
    value = show_value(declared.default)
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, list):
        return ", ".join(f"`{item}`" for item in value) or "none"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _bounds(bounds: Mapping[str, Any]) -> str:
    said = [
        f"{word} {bounds[key]:.10g}"
        for key, word in (("at_least", "at least"), ("above", "more than"), ("at_most", "at most"))
        if bounds[key] is not None
    ]
    return "".join(f", {part}" for part in said)


def annotations() -> str:
    """``annotations.md``."""
    lines = _head("Annotations and labels", "sleeper/core/names.py")
    lines += [
        (
            f"A namespace with the label `{LABEL_TENANT}=<name>` is a Space; the label names who pays. The "
            f"name is {TENANT_FORM}; with any other value (an empty one too) the namespace is no Space: a warning "
            "says so, it never sleeps, it is not metered, and what is asleep in it is brought back. "
            "It is the only label: every other key here is an annotation, and has no effect as a label. "
            "A value that cannot be read never makes a Space sleep sooner: the Space abstains and a "
            "warning names key, value and expected form."
        ),
        "",
    ]
    for title, by_us in (("Written by the owner", False), ("Written by sleeper", True)):
        lines += [f"## {title}", "", "| key | on | value | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{spec.key}` | {', '.join(spec.targets)} | {spec.form} | {spec.help} |"
            for spec in ANNOTATIONS
            if spec.by_us is by_us
        ]
        lines.append("")
    return _page(lines)


def reasons() -> str:
    """``reasons.md``."""
    lines = _head("Reasons", "sleeper/core/reasons.py")
    lines += [
        (
            "Each appears unchanged in the namespace's `reason` annotation, in Events, in metric "
            "labels, in logs and in `sleeper explain`."
        ),
        "",
        "| reason | meaning |",
        "|---|---|",
    ]
    lines += [f"| `{reason}` | {meaning} |" for reason, meaning in REASON_MEANING.items()]
    return _page(lines)


def local_data() -> str:
    """``local-data.md``."""
    lines = _head("Databases whose data is looked after", "sleeper/core/databases.py")
    lines += [
        (
            "A Pod that goes takes its own layer and its `emptyDir` volumes with it. Where a database "
            "keeps its data there, its Space is held awake (`LocalData`), unless "
            f"`{LOCAL_DATA}: disposable` on the workload or the namespace, or "
            "`defaults.local_data: disposable` in the configuration, lets it go. An image is known by the "
            "last parts of its name, whatever registry, mirror, tag or digest it has. Its data stays if a "
            "volume that outlives the Pod (a claim, NFS and the like; `hostPath` only with a node "
            "selector `kubernetes.io/hostname`; not `ephemeral` and `csi`, which inside a Pod end with it) "
            "is mounted at its directory or a parent of it, and no volume of the Pod's own inside. A "
            "parent does not do (*exactly there*) where the image itself declares a volume: containerd "
            "then mounts one there that goes with the container. "
            "Whatever its image is called, a container tells a database by an `emptyDir` at one of the "
            "directories that can be nothing else's, such as `/var/lib/mysql`. Init containers do not "
            "count, sidecars do."
        ),
        "",
        "| images | data in | moved by |",
        "|---|---|---|",
    ]
    for one in DATABASES:
        where = (
            " and ".join(_codes(one.directories))
            if one.all_used
            else ", or ".join(_codes(one.directories))
        )
        if one.anywhere:
            where += (", or " if where else "") + "any volume that outlives the Pod"
        if one.declared:
            where += "; exactly there"
        if one.up_to is not None:
            where += f"; with a tag that names version {one.up_to} or an earlier one"
        if one.only_with:
            where += f"; only with {' or '.join(_codes(one.only_with))}"
        if one.never_with:
            where += f"; not with {' or '.join(_codes(one.never_with))}"
        moved = ", ".join(_codes((*one.variables, *one.flags))) or "-"
        lines.append(f"| {', '.join(_codes(one.images))} | {where} | {moved} |")
    lines += [
        "",
        (
            "What moves the data in a configuration file is not seen: such a Space is held although its "
            "data may be safe, or the other way round."
        ),
    ]
    return _page(lines)


def _codes(words: tuple[str, ...]) -> list[str]:
    return [f"`{word}`" for word in words]


def exit_codes() -> str:
    """``exit-codes.md``."""
    lines = _head("Exit codes", "sleeper/cli/exits.py")
    lines += ["| code | name | meaning |", "|---|---|---|"]
    lines += [f"| {code.value} | `{code.name}` | {EXIT_MEANING[code]} |" for code in ExitCode]
    return _page(lines)


def command_line() -> str:
    """``cli.md``."""
    lines = _head("Command line", "sleeper/cli/")
    lines += [
        (
            "The same program answers as `sleeper` and as `kubectl sleeper`. "
            "[Exit codes](exit-codes.md) are the same for all commands."
        ),
        "",
    ]
    for context in _contexts(cli, "sleeper", None):
        lines += [f"## `{context.command_path}`", "", "```text", context.get_help(), "```", ""]
    return _page(lines)


def faults() -> str:
    """``faults.md``: what was found and mended, and the tests that show it."""
    lines = _head("Faults that were found and mended", "docs/faults.toml")
    lines += [
        (
            "What sleeper lost, leaked or told wrongly when it was tried against public bug "
            "reports, published applications and random walks on the real cluster. The tests "
            "carry the number as a mark. Number 14 is not among them, for it is not mended yet: an "
            "API server that the configuration does not name, and that sends us no audit events, "
            "is not noticed."
        ),
        "",
        "| fault | what was | what is | tests |",
        "|---|---|---|---|",
    ]
    shown = marked_tests()
    for fault in tomllib.loads(FAULTS.read_text())["fault"]:
        tests = ", ".join(f"`{test}`" for test in shown.get(fault["number"], ()))
        lines.append(f"| {fault['number']} | {fault['was']} | {fault['now']} | {tests} |")
    return _page(lines)


def marked_tests() -> Mapping[int, Sequence[str]]:
    """Number of a fault → the tests that carry it as a mark, in the order of their files."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name, number in _marks(ast.parse(path.read_text())):
            found[number].append(f"{path.relative_to(ROOT)}::{name}")
    return found


def _marks(module: ast.Module) -> Iterator[tuple[str, int]]:
    """Names of tests with the numbers that they carry, by themselves or by their module."""
    by_module = [
        number
        for node in module.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
        for number in _numbers(node)
    ]
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
            "test"
        ):
            own = (number for mark in node.decorator_list for number in _numbers(mark))
            yield from ((node.name, number) for number in sorted({*by_module, *own}))


def _numbers(node: ast.AST) -> Iterator[int]:
    for mark in ast.walk(node):
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
            yield ast.literal_eval(mark.args[0])


def _contexts(
    command: click.Command, name: str, parent: click.Context | None
) -> Iterator[click.Context]:
    """The command and all below it; each inherits what its group says, such as ``-h``."""
    context = click.Context(
        command,
        info_name=name,
        parent=parent,
        terminal_width=88,
        max_content_width=88,
        **command.context_settings,
    )
    yield context
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            child = command.get_command(context, below)
            assert child is not None
            yield from _contexts(child, below, context)


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "annotations.md": annotations,
    "cli.md": command_line,
    "configuration.md": configuration,
    "exit-codes.md": exit_codes,
    "faults.md": faults,
    "local-data.md": local_data,
    "metrics.md": metrics_reference,
    "reasons.md": reasons,
    "sleeprecord.md": sleeprecord_reference,
}


def main() -> None:
    """Write every page."""
    REFERENCE.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        (REFERENCE / name).write_text(make(), encoding="utf-8")
        sys.stdout.write(f"docs/reference/{name}\n")


def _head(title: str, source: str) -> list[str]:
    return [f"# {title}", "", f"Generated from `{source}`; do not edit.", ""]


def _page(lines: list[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


def _as_class(wanted: Any) -> type:
    assert isinstance(wanted, type)
    assert fields(wanted)
    return wanted


if __name__ == "__main__":
    main()
