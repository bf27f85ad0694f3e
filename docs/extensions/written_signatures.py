"""Signatures in the generated reference as they are written: from the sources, and for the extension from its stub.

``Signatures`` reads files by ``ast`` and imports nothing, so tests use it without Sphinx. What a file does not write
(the ``__init__`` of a dataclass, a class without one) is left to autodoc. A class that cannot be made by hand (its
stub takes Never) has no signature.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

EXTENSION = "web._core"
SOURCES = Path(__file__).parents[2] / "src"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def functions(module: str) -> dict[str, list[Function]]:
    """Qualified name -> its definitions (several: overloads) in a module, from the stub where there is one."""
    path = SOURCES / module.replace(".", "/")
    files = [path.with_suffix(".pyi"), path.with_suffix(".py"), path / "__init__.py"]
    file = next((one for one in files if one.exists()), None)
    found: dict[str, list[Function]] = {}
    if file is not None:
        _collect(ast.parse(file.read_text()).body, "", found)
    return found


def _collect(body: list[ast.stmt], prefix: str, found: dict[str, list[Function]]) -> None:
    for node in body:
        if isinstance(node, Function):
            found.setdefault(prefix + node.name, []).append(node)
        elif isinstance(node, ast.ClassDef):
            _collect(node.body, f"{prefix}{node.name}.", found)


def written(module: str, name: str) -> tuple[str, str | None] | None:
    """(arguments in parentheses, what is returned) of a function, a method or a class; None: it is not written."""
    defined = functions(module)
    is_class = f"{name}.__init__" in defined or f"{name}.__new__" in defined
    nodes = defined.get(f"{name}.__init__") or defined.get(f"{name}.__new__") or defined.get(name)
    if nodes is None:
        return None
    node = nodes[-1]
    arguments = node.args
    decorators = {ast.unparse(one) for one in node.decorator_list}
    if is_class or ("." in name and "staticmethod" not in decorators):
        arguments = _without_first(arguments)
    text = "" if "Never" in ast.unparse(arguments) else f"({ast.unparse(arguments)})"
    returned = None if is_class or node.returns is None else ast.unparse(node.returns)
    return text, returned


def returned_by(module: str, name: str) -> str | None:
    """What a property of a class is, as it is written; None: there is none of that name."""
    nodes = functions(module).get(name)
    return ast.unparse(nodes[-1].returns) if nodes and nodes[-1].returns is not None else None


def _without_first(arguments: ast.arguments) -> ast.arguments:
    """Without self or cls."""
    rest = ast.arguments(**dict(ast.iter_fields(arguments)))
    if rest.posonlyargs:
        rest.posonlyargs = rest.posonlyargs[1:]
    else:
        rest.args = rest.args[1:]
    return rest


def put(
    app: Sphinx, what: str, name: str, thing: Any, options: object, signature: str | None, returned: str | None
) -> tuple[str, str | None] | None:
    """autodoc-process-signature."""
    module, qualified = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if what == "method" and module is None:  # a method of the extension names its class, and no module
        module = EXTENSION
    if signature is None or not isinstance(module, str) or not isinstance(qualified, str):
        return None
    return written(module, qualified) or (("", None) if module == EXTENSION else None)


def _placeholder(cls: type) -> None:
    """Stands for the ``__new__`` of a class of the extension: autodoc takes what ``put`` says where there is one."""


def get_attribute(thing: type, name: str, *default: Any) -> Any:
    """How autodoc reads attributes of classes."""
    if name == "__new__" and thing.__module__ == EXTENSION:
        return _placeholder
    return getattr(thing, name, *default)


def setup(app: Sphinx) -> dict[str, bool]:
    """The extension of Sphinx."""
    app.add_autodoc_attrgetter(type, get_attribute)
    app.connect("autodoc-process-signature", put)
    return {"parallel_read_safe": True}
