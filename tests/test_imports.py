import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("lab", "sidecar", "bench", "verbs", "sidelab")  # each may import those before it
# What turns files of a run into figures and answers; all that these import is meant too.
REPORTING = (
    *(
        "bench.report",
        "bench.analysis",
        "bench.answer",
        "bench.statistics",
        "bench.figures",
        "bench.page",
        "bench.history",
        "bench.summary",
    ),
    *("bench.verdict", "bench.present", "bench.gate", "bench.exports"),
)
SPEAK_NETLINK = ("lab.rtnetlink", "lab.nftables")


def modules() -> dict[str, Path]:
    """Find every module of the project but the studies, which are programs that nobody imports."""
    found = {"sidelab": ROOT / "sidelab.py"}
    for room in ROOMS[:-1]:
        for path in sorted((ROOT / room).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            if not name.startswith("bench.studies"):
                found[name] = path
    return found


def named(tree: ast.AST, *, for_types: bool = True) -> set[str]:
    """Return every dotted name that an import at any depth may mean, with or without those under `if TYPE_CHECKING`."""
    names = set()
    todo = [tree]
    while todo:
        node = todo.pop()
        if for_types or not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            todo += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("light", "import_module")):
            names |= {each.value for each in node.args if isinstance(each, ast.Constant)}
    return names


TREES = {name: ast.parse(path.read_text()) for name, path in modules().items()}
IMPORTS = {name: named(tree) for name, tree in TREES.items()}
NEEDED = {name: named(tree, for_types=False) for name, tree in TREES.items()}


def within(name: str, packages: tuple[str, ...]) -> bool:
    """Tell whether `name` is one of `packages` or inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def reach(*starts: str) -> set[str]:
    """Return the project's modules that running everything in `starts` brings along, their packages included."""
    seen: set[str] = set()
    todo = [name for name in NEEDED if within(name, starts)]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            package = name.rpartition(".")[0]
            todo += (NEEDED[name] | {package}) & NEEDED.keys()
    return seen


def test_every_room_imports_only_what_stands_before_it():
    """`lab ← sidecar ← bench ← verbs ← sidelab.py`, imports inside functions included."""
    wrong = [
        (name, imported)
        for name, imports in IMPORTS.items()
        for imported in imports
        if within(imported, ROOMS[ROOMS.index(name.split(".")[0]) + 1 :])
    ]
    assert [] == wrong


def test_reporting_knows_neither_labs_nor_sidecars():
    """Nothing of lab is reached from there but its errors and how text is read and shown, and nothing of sidecar."""
    assert {"lab", "lab.errors", "lab.escapes", "lab.shown", "lab.textfile"} == {
        name for name in reach(*REPORTING) if within(name, ("lab", "sidecar"))
    }


def test_only_what_speaks_netlink_uses_pyroute2():
    """pyroute2 is imported in `lab.rtnetlink` and `lab.nftables` at most."""
    users = {name for name, imports in IMPORTS.items() if any(within(each, ("pyroute2",)) for each in imports)}
    assert users
    assert [] == [name for name in users if not within(name, SPEAK_NETLINK)]


def test_no_module_imports_a_study():
    """`bench/studies` are programs: nothing depends on them."""
    assert [] == [
        name for name, imports in IMPORTS.items() if any(within(each, ("bench.studies",)) for each in imports)
    ]


def test_fork_servers_start_without_the_heavy_modules():
    """What every container is forked from reaches neither manifests, nor netlink, nor any package from elsewhere."""
    reached = reach("lab.forkserver", "lab.programs")
    assert [] == [name for name in reached if within(name, ("lab.manifest", *SPEAK_NETLINK))]
