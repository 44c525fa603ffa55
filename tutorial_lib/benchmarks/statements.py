"""A function of the library run as it is written, with a mark after each of its statements."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

Mark = Callable[[str], None]


def marked(function: Callable[..., Any], part: str, mark: Mark) -> Callable[..., Any]:
    """The function with ``mark("part: statement")`` after each of its top-level statements."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    body: list[ast.stmt] = []
    for statement in definition.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # the docstring
        after = ast.parse(f"_mark({f'{part}: {ast.unparse(statement)}'!r})").body
        if isinstance(statement, ast.Return):
            result = ast.Assign([ast.Name("_result", ast.Store())], statement.value)
            body += [result, *after, ast.Return(ast.Name("_result", ast.Load()))]
        else:
            body += [statement, *after]
    definition.body = body
    names = dict(function.__globals__, _mark=mark)
    exec(compile(ast.fix_missing_locations(tree), inspect.getfile(function), "exec"), names)
    return names[definition.name]
