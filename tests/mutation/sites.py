"""Where a module of the core can be mutated, and how: small changes that a test should notice.

A mutant is one site of one module changed in one way: a comparison turned round, a condition that
always holds, a number one larger. Texts, annotations and what only renders are left alone.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATIONS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
OPPOSITES = {
    "min": "max",
    "max": "min",
    "floor": "ceil",
    "ceil": "floor",
    "all": "any",
    "any": "all",
}
UNTOUCHED_FIELDS = frozenset({"annotation", "returns", "decorator_list"})
RENDERING = ("str", "repr", "words", "describe", "render", "explain", "format")
"""Functions whose names begin so, underscores aside, make words for people: no verdict changes."""


class Mutation(msgspec.Struct, frozen=True):
    """`change` alters the node in place, or returns the node to put in its stead."""

    what: str
    change: Callable[[ast.AST], ast.AST | None]


class Mutant(msgspec.Struct, frozen=True):
    """A module's text with one site changed, and what was there before."""

    module: Path
    line: int
    what: str
    before: str
    after: str
    text: str


def list_mutants(module: Path, lines: frozenset[int] | None = None) -> Iterator[Mutant]:
    """Every mutant of `module`, or those whose site begins on one of `lines`."""
    source = module.read_text()
    sites = list(_walk(ast.parse(source)))
    for index, (line, mutation) in enumerate(sites):
        if lines is None or line in lines:
            yield _make(module, source, index, mutation)


def _make(module: Path, source: str, index: int, mutation: Mutation) -> Mutant:
    """A tree of its own for each mutant, since a change is made in place."""
    tree: ast.AST = ast.parse(source)
    node, change = _find_site(tree, index)
    before = _first_line(node)
    changed = change(node)
    if changed is not None:
        tree = _Replacement(node, changed).visit(tree)
    after = _first_line(changed or node)
    text = ast.unparse(ast.fix_missing_locations(tree))
    return Mutant(module, _get_line(node), mutation.what, before, after, text)


def _walk(tree: ast.AST) -> Iterator[tuple[int, Mutation]]:
    for node in _walk_nodes(tree):
        for mutation in _list_mutations(node):
            yield _get_line(node), mutation


def _find_site(tree: ast.AST, index: int) -> tuple[ast.AST, Callable[[ast.AST], ast.AST | None]]:
    """The node that `_walk` gives as number `index`, and what to do with it."""
    left = index
    for node in _walk_nodes(tree):
        mutations = list(_list_mutations(node))
        if left < len(mutations):
            return node, mutations[left].change
        left -= len(mutations)
    raise IndexError("there is no such site")


def _walk_nodes(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.JoinedStr):
        return
    if isinstance(node, ast.FunctionDef) and node.name.strip("_").startswith(RENDERING):
        return
    if _is_for_type_checkers(node):
        return
    yield node
    if isinstance(node, ast.Raise):
        return
    for field, value in ast.iter_fields(node):
        if field in UNTOUCHED_FIELDS:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk_nodes(child)


def _list_mutations(node: ast.AST) -> Iterator[Mutation]:
    match node:
        case ast.Compare():
            yield from _list_comparisons(node)
        case ast.BoolOp():
            yield Mutation("and for or", _swap_bool)
            for place in range(len(node.values)):
                yield Mutation("drop a condition", _make_drop(place))
        case ast.BinOp(op=operation) if type(operation) in OPERATIONS and not _is_text(node):
            yield Mutation("another operator", _swap_operator)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield Mutation("drop a sign", _drop_sign)
        case ast.Constant(value=value):
            yield from _list_constants(value)
        case ast.Call(func=ast.Name(id=name)) if name in OPPOSITES:
            yield Mutation(f"{OPPOSITES[name]} for {name}", _swap_call)
        case ast.Return(value=ast.Call() | ast.Name() | ast.Attribute() | ast.Subscript()):
            yield Mutation("return None", lambda _: ast.Return(ast.Constant(None)))
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise():
            yield Mutation("drop a statement", lambda _: ast.Pass())
        case ast.If():
            yield Mutation("always", _make_condition(True))
            yield Mutation("never", _make_condition(False))
        case ast.IfExp():
            yield Mutation("the other branch", _swap_branches)
        case _:
            return


def _list_comparisons(node: ast.Compare) -> Iterator[Mutation]:
    for place, operator in enumerate(node.ops):
        for other in COMPARISONS[type(operator)]:
            yield Mutation("another comparison", _make_comparison(place, other))


def _list_constants(value: object) -> Iterator[Mutation]:
    if isinstance(value, bool):
        yield Mutation("not", lambda _: ast.Constant(not value))
    elif isinstance(value, int):
        yield Mutation("one more", lambda _: ast.Constant(value + 1))
        yield Mutation("one less", lambda _: ast.Constant(value - 1))
    elif isinstance(value, float):
        yield Mutation("twice as much", lambda _: ast.Constant(2 * value + 1))
    elif isinstance(value, bytes) and value:
        yield Mutation("other bytes", lambda _: ast.Constant(bytes([value[0] ^ 1]) + value[1:]))


def _make_comparison(place: int, other: type[ast.cmpop]) -> Callable[[ast.AST], None]:
    def change(node: ast.AST) -> None:
        assert isinstance(node, ast.Compare)
        node.ops[place] = other()

    return change


def _make_drop(place: int) -> Callable[[ast.AST], ast.AST]:
    def change(node: ast.AST) -> ast.AST:
        assert isinstance(node, ast.BoolOp)
        left = [value for index, value in enumerate(node.values) if index != place]
        return left[0] if len(left) == 1 else ast.BoolOp(node.op, left)

    return change


def _make_condition(value: bool) -> Callable[[ast.AST], None]:
    def change(node: ast.AST) -> None:
        assert isinstance(node, ast.If)
        node.test = ast.Constant(value)

    return change


def _drop_sign(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.UnaryOp)
    return node.operand


def _swap_bool(node: ast.AST) -> None:
    assert isinstance(node, ast.BoolOp)
    node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()


def _swap_operator(node: ast.AST) -> None:
    assert isinstance(node, ast.BinOp)
    node.op = OPERATIONS[type(node.op)]()


def _swap_call(node: ast.AST) -> None:
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    node.func.id = OPPOSITES[node.func.id]


def _swap_branches(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.IfExp)
    return ast.IfExp(node.test, node.orelse, node.body)


def _is_for_type_checkers(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def _is_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(side, ast.JoinedStr)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in (node.left, node.right)
    )


def _get_line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 0))


def _first_line(node: ast.AST) -> str:
    return ast.unparse(node).partition("\n")[0]


class _Replacement(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old = old
        self._new = new

    def visit(self, node: ast.AST) -> ast.AST:
        return self._new if node is self._old else super().visit(node)
