import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("lab", "sidecar", "evidence", "bench", "cli", "sidelab")  # each may import those before it
# The modules that turn a run's files into figures and answers; the rule includes all that they import.
REPORTING = (
    *(
        "bench.report.report",
        "bench.judge.analysis",
        "bench.judge.answer",
        "bench.judge.statistics",
        "bench.report.figures",
        "bench.report.page",
        "bench.report.history",
        "bench.judge.summary",
    ),
    *("bench.judge.verdict", "bench.report.present", "bench.judge.gate.gate", "bench.report.exports"),
)
SPEAK_NETLINK = ("lab.netlink.route", "lab.netlink.nftables")


def modules() -> dict[str, Path]:
    """Find every module of the project but the studies, which are programs that nothing imports."""
    found = {"sidelab": ROOT / "sidelab.py"}
    for room in ROOMS[:-1]:
        for path in sorted((ROOT / room).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            if not name.startswith("bench.studies"):
                found[name] = path
    return found


def named(tree: ast.AST, *, for_types: bool = True) -> set[str]:
    """Return every dotted name that an import at any depth may name; `for_types` includes `if TYPE_CHECKING` blocks."""
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
    return {name.removeprefix("sidelab.") for name in names}


TREES = {name: ast.parse(path.read_text()) for name, path in modules().items()}
IMPORTS = {name: named(tree) for name, tree in TREES.items()}
NEEDED = {name: named(tree, for_types=False) for name, tree in TREES.items()}


def within(name: str, packages: tuple[str, ...]) -> bool:
    """Return whether `name` is one of `packages` or inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def reach(*starts: str) -> set[str]:
    """Return the project's modules that are imported when all of `starts` run, with their packages."""
    seen: set[str] = set()
    todo = [name for name in NEEDED if within(name, starts)]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            package = name.rpartition(".")[0]
            todo += (NEEDED[name] | {package}) & NEEDED.keys()
    return seen


def test_everything_is_imported_as_one_package():
    """The rooms are `sidelab.lab` and so on; by its short name a checkout would have every module a second time."""
    python = [path for folder in (*ROOMS[:-1], "tests") for path in (ROOT / folder).rglob("*.py")]
    wrong = [
        f"{path.relative_to(ROOT)}: {each.module if isinstance(each, ast.ImportFrom) else each.names[0].name}"
        for path in python
        for each in ast.walk(ast.parse(path.read_text()))
        if (isinstance(each, ast.ImportFrom) and within(str(each.module), ROOMS[:-1]))
        or (isinstance(each, ast.Import) and any(within(alias.name, ROOMS[:-1]) for alias in each.names))
    ]
    assert python
    assert [] == wrong


def test_every_room_imports_only_what_stands_before_it():
    """`lab ← sidecar ← evidence ← bench ← cli ← sidelab.py`, imports inside functions included."""
    wrong = [
        (name, imported)
        for name, imports in IMPORTS.items()
        for imported in imports
        if within(imported, ROOMS[ROOMS.index(name.split(".")[0]) + 1 :])
    ]
    assert [] == wrong


def test_reporting_knows_neither_labs_nor_sidecars():
    """Reporting reaches nothing of lab but errors, files and text, and nothing of sidecar."""
    assert {
        "lab",
        "lab.base",
        "lab.base.replace_file",
        "lab.base.text",
        "lab.errors",
        "lab.base.text.escapes",
        "lab.base.text.escaping_stream",
        "lab.base.text.textfile",
    } == {name for name in reach(*REPORTING) if within(name, ("lab", "sidecar"))}


def test_netlink_is_received_in_one_place():
    """The layout of netlink's header is in `lab.netlink.header`, and its answers are read in `lab.netlink.receive`."""
    texts = {name: ast.unparse(tree) for name, tree in TREES.items()}
    assert ["lab.netlink.header"] == [name for name, text in texts.items() if "IHHII" in text]
    near = {
        name for name, imports in IMPORTS.items() if within(name, ("lab.netlink",)) or "lab.netlink.header" in imports
    }
    assert ["lab.netlink.receive"] == [name for name in sorted(near) if ".recv" in texts[name]]


def test_only_links_and_routes_are_encoded_by_pyroute2():
    """It is imported in `lab.netlink.route`, without the package around its messages."""
    users = {name for name, imports in IMPORTS.items() if any(within(each, ("pyroute2",)) for each in imports)}
    assert {"lab.netlink.route"} == users


def test_no_module_imports_a_study():
    """`bench/studies` are programs: nothing depends on them."""
    assert [] == [
        name for name, imports in IMPORTS.items() if any(within(each, ("bench.studies",)) for each in imports)
    ]


def test_fork_servers_start_without_the_heavy_modules():
    """The servers that containers are forked from import neither manifests, nor netlink, nor third-party packages."""
    standins = {name for name in NEEDED if name.startswith("lab.standins.")} - {"lab.standins.standin_images"}
    assert standins
    reached = reach("lab.runtime.forkserver", *standins)
    assert [] == [name for name in reached if within(name, ("lab.manifest", *SPEAK_NETLINK))]


def test_folders_know_each_other_one_way_at_every_level():
    """No two folders in one folder need each other, whichever of their files import.

    Imports inside functions and under TYPE_CHECKING count.
    """
    folders = {  # a package's own file is in it
        name: name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
        for name, path in modules().items()
    }
    needed: dict[str, dict[str, set[str]]] = {}
    for name, imports in IMPORTS.items():
        for imported in imports & IMPORTS.keys():
            ours, theirs = folders[name], folders[imported]
            depth = next((at for at, pair in enumerate(zip(ours, theirs, strict=False)) if len({*pair}) > 1), None)
            if depth is not None:
                level = needed.setdefault(".".join(ours[:depth]), {})
                level.setdefault(ours[depth], set()).add(theirs[depth])
    assert {"", "lab", "sidecar.proxy"} <= needed.keys()
    for level in needed.values():
        TopologicalSorter(level).prepare()


def test_no_file_needs_itself():
    """Imports between files have no cycles either; those inside functions and under TYPE_CHECKING count."""
    packages = {name for name, path in modules().items() if path.name == "__init__.py"}
    TopologicalSorter({name: (IMPORTS[name] & IMPORTS.keys()) - packages for name in IMPORTS}).prepare()


def test_no_module_imports_more_than_fourteen_others():
    """Only our own modules count; the listed exceptions put others together, and may not grow."""
    many = {
        "cli.commands.demo_command": 15,
        "cli.commands.up_command": 15,
        "lab.cluster.live": 15,
        "lab.doctor.trials": 15,
        "lab.runtime.supervision.control": 16,
        "sidecar.agent.main": 16,
    }
    assert many == {name: count for name in TREES if (count := _imported(TREES[name])) > 14}


def _imported(tree: ast.Module) -> int:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("sidelab."):
            names = {f"{node.module}.{alias.name}".removeprefix("sidelab.") for alias in node.names}
            found |= {name if name in TREES else str(node.module).removeprefix("sidelab.") for name in names}
    return len(found)


def test_public_types_have_names_of_their_own():
    """A type's name tells which one it is, in any room."""
    names = Counter(
        node.name
        for tree in TREES.values()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {} == {name: count for name, count in names.items() if count > 1}


def test_no_function_is_longer_than_fifty_lines():
    """Nor is any file longer than four hundred."""
    functions = [
        (name, node.name, node.end_lineno - node.lineno + 1)
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None
    ]
    assert [] == [each for each in functions if each[2] > 50]
    assert [] == [name for name, path in modules().items() if len(path.read_text().splitlines()) > 400]


def test_no_folder_has_more_than_a_dozen_files():
    """Figures, which are many of a kind, and studies, which are programs, aside."""
    sizes = Counter(
        name.rpartition(".")[0]
        for name, path in modules().items()
        if path.name != "__init__.py" and not name.startswith("bench.report.figures.")
    )
    assert {} == {folder: size for folder, size in sizes.items() if size > 12}


def test_no_two_files_have_one_name():
    """A search for a file by its name finds one; only programs share the name `main`."""
    names = Counter(path.stem for path in modules().values() if path.stem not in ("__init__", "__main__", "main"))
    assert {} == {name: count for name, count in names.items() if count > 1}
