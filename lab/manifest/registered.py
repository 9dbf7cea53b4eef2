"""Kinds of objects as the caller of `lab` registers them: the seam by which anything travels from a manifest to a pod.

`lab` stores, publishes, applies, deletes and shows objects of a registered kind and knows of it only what stands here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from sidelab.lab.errors import InputError
from sidelab.lab.manifest.kinds import Object
from sidelab.lab.manifest.manifest import Manifest, title
from sidelab.lab.manifest.pod import Pod


class KindColumn(NamedTuple):
    """A column of a kind's table; `wide` ones are shown only by `-o wide`.

    `text` is called with an object and with what whoever acts on the kind says of it (see `lab.cluster.acting`).
    """

    heading: str
    text: Callable[[Any, Mapping[str, str]], str]
    wide: bool = False


def in_its_namespace(value: Object, pod: Pod) -> bool:
    """Return whether a pod is in the object's namespace."""
    return value.namespace == pod.namespace


def _no_problem(*_: Any) -> Iterable[str]:
    return ()


class RegisteredKind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind: its type, its names, and what `lab` has to know to carry its objects.

    `versions` are the apiVersions that mean it, the preferred one first. `plural` and `short` are its other names on
    the command line, as kubectl has them. Functions get whole, valid values:

    `check(object, manifest)` yields what is wrong with an object beside the others of `manifest`.
    `doubt(object, manifest)` yields what is worth a warning there, such as a selector that selects no pod.
    `fixed(before, after)` yields what a running lab can't change.
    `concerns(object, pod)` tells whether a pod may read an object; without it no pod reads any.

    What they yield is a message without the object's title, such as `spec.host: …; …`. `acts` names a function as
    `module:function`, which the supervisor calls for who acts on the kind's objects: see `lab.cluster.acting`.
    """

    kind: str
    versions: tuple[str, ...]
    object_type: type[Object]
    plural: str
    short: tuple[str, ...] = ()
    namespaced: bool = True
    check: Callable[[Any, Manifest], Iterable[str]] = _no_problem
    doubt: Callable[[Any, Manifest], Iterable[str]] = _no_problem
    fixed: Callable[[Any, Any], Iterable[str]] = _no_problem
    concerns: Callable[[Any, Pod], bool] | None = in_its_namespace
    acts: str = ""
    columns: tuple[KindColumn, ...] = ()

    @property
    def resource(self) -> str:
        """What kubectl calls objects of this kind in messages: `services`, `gates.example.org`."""
        return _in_group(self.plural, self.versions[0])

    @property
    def words(self) -> tuple[str, ...]:
        """What the command line may call the kind, in lower case."""
        name = self.kind.lower()
        return (self.plural, name, *self.short, self.resource, _in_group(name, self.versions[0]))


def reference(value: Object) -> str:
    """Return an object's kind and name as kubectl prints them: `service/web`, `gate.example.org/g`."""
    return f"{_in_group(value.kind.lower(), value.api_version)}/{value.name}"


def not_found(kind: RegisteredKind, name: str) -> str:
    """Return kubectl's message for an object that is not there, with the cure."""
    return (
        f'Error from server (NotFound): {kind.resource} "{name[:253]}" not found: '
        f"`sidelab get {kind.plural} -A` lists those that there are"
    )


def _in_group(word: str, version: str) -> str:
    group, slash, _ = version.partition("/")
    return f"{word}.{group}" if slash else word


class KnownKinds:
    """Kinds by their names: those that can be looked at, of which those in `stored` come and go in a running lab.

    `types` has the types by apiVersion and kind, as `decode` takes them.
    """

    def __init__(self, stored: Iterable[RegisteredKind], shown: Iterable[RegisteredKind] = ()) -> None:
        """`shown` can only be looked at. Raises `ValueError` where two kinds have a name in common."""
        self.stored = {each.kind: each for each in stored}
        self._all = {each.kind: each for each in (*self.stored.values(), *shown)}
        self.types = {(version, each.kind): each.object_type for each in self for version in each.versions}
        self._words: dict[str, RegisteredKind] = {}
        for each in self:
            for word in dict.fromkeys(each.words):
                if word in self._words:
                    raise ValueError(f"the kinds {self._words[word].kind} and {each.kind} are both called {word!r}")
                self._words[word] = each

    def __iter__(self) -> Iterator[RegisteredKind]:
        return iter(self._all.values())

    def plus(self, registered: Iterable[RegisteredKind]) -> "KnownKinds":
        """Return these kinds and those that a caller registers; raises as the constructor."""
        shown = [each for each in self if each.kind not in self.stored]
        return KnownKinds((*self.stored.values(), *registered), shown)

    def of(self, kind: str) -> RegisteredKind:
        """Return the kind that objects call `kind`."""
        return self._all[kind]

    def named(self, word: str) -> RegisteredKind:
        """Return the kind that the command line calls `word`, in any case; raises `InputError`."""
        found = self._words.get(word.lower())
        if found is None:
            known = ", ".join("/".join((each.plural, *each.short)) for each in self)
            raise InputError(f"the lab doesn't have a resource type {word[:80]!r}: it has {known}")
        return found

    def stored_in(self, manifest: Manifest) -> tuple[Object, ...]:
        """Return the objects of `manifest` that come and go in a running lab."""
        return tuple(each for each in manifest.objects if each.kind in self.stored)

    def decoded(self, plain: Mapping[str, Any]) -> Object:
        """Return the object that was encoded by `msgspec.to_builtins`; raises `InputError` for what is none.

        It is the way in for what comes over a socket, so everything that a constructor checks is checked again.
        """
        version, kind = str(plain.get("apiVersion")), str(plain.get("kind"))
        found = self.types.get((version, kind))
        if found is None:
            raise InputError(f"{kind[:80]} ({version[:80]}) is not a kind that this lab was started with: remove it")
        try:
            return msgspec.convert(plain, found)
        except msgspec.ValidationError as error:
            raise InputError(f"{kind}: {error}: the lab and this command must be of one version") from None


def problems(objects: Iterable[Object], manifest: Manifest, kinds: KnownKinds) -> list[str]:
    """Return all that is wrong with `objects` of stored kinds beside the others of `manifest`, which has them, too."""
    stored = [(each, kinds.stored[each.kind]) for each in objects if each.kind in kinds.stored]
    return [f"{title(value)}: {problem}" for value, kind in stored for problem in kind.check(value, manifest)]


def doubts(objects: Iterable[Object], manifest: Manifest, kinds: KnownKinds) -> list[str]:
    """Return all warnings about `objects` of stored kinds beside the others of `manifest`, which has them, too."""
    stored = [(each, kinds.stored[each.kind]) for each in objects if each.kind in kinds.stored]
    return [f"{title(value)}: {doubt}" for value, kind in stored for doubt in kind.doubt(value, manifest)]
