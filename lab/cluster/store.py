"""The objects of registered kinds that a lab has, and which of them each pod may read. Pure; a change makes another."""

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

import msgspec

from sidelab.lab.errors import InputError
from sidelab.lab.keys import ObjectIdentity, PodKey
from sidelab.lab.manifest import Object, Pod, plain, title
from sidelab.lab.manifest.registered import KnownKinds

MAX_OBJECT_BYTES = 1_000_000
"""The limit for one object as JSON; etcd's is 1.5 MB."""

MAX_READ_BYTES = 8_000_000
"""The limit for all objects together that pods may read."""

_encode = msgspec.json.Encoder().encode


class _Stored(msgspec.Struct, frozen=True):
    """An object, and its JSON where pods may read it; `json` is made once."""

    value: Object
    json: bytes
    readers: frozenset[PodKey]


class Store:
    """Objects in the order in which they came."""

    def __init__(
        self,
        kinds: KnownKinds,
        objects: Iterable[Object],
        pods: Iterable[Pod],
        kept: Mapping[ObjectIdentity, _Stored] = MappingProxyType({}),
    ) -> None:
        """Begin with `objects`, and with those `kept` unchanged from another store.

        Raises `InputError` for an object that is too large, and if all of them together are.
        """
        self._kinds = kinds
        self._pods = {pod.key: pod for pod in pods}
        self._stored = dict(kept)
        for each in objects:
            self._stored[each.identity] = self._entry(each)
        self._read = [each for each in self._stored.values() if each.readers]
        total = sum(len(each.json) for each in self._read)
        if total > MAX_READ_BYTES:
            raise InputError(
                f"objects that pods read would have {total} bytes together, and {MAX_READ_BYTES} is the most: "
                "delete some first, or start several labs"
            )

    def changed(self, put: Iterable[Object], removed: Collection[ObjectIdentity], pods: Collection[Pod]) -> "Store":
        """Return the store with other objects, without some, and with pods that have other labels.

        Raises what the constructor raises.
        """
        kept = {identity: each for identity, each in self._stored.items() if identity not in removed}
        again = [each.value for each in kept.values() if pods and self._kinds.stored[each.value.kind].concerns]
        relabelled = {**self._pods, **{pod.key: pod for pod in pods}}
        return Store(self._kinds, (*again, *put), relabelled.values(), kept)

    @property
    def objects(self) -> tuple[Object, ...]:
        """All objects."""
        return tuple(each.value for each in self._stored.values())

    def of(self, kind: str) -> tuple[Object, ...]:
        """Return the objects of a kind."""
        return tuple(each.value for each in self._stored.values() if each.value.kind == kind)

    def read_by(self, pod: PodKey) -> tuple[bytes, ...]:
        """Return what a pod may read: objects as JSON, as in a manifest."""
        return tuple(each.json for each in self._read if pod in each.readers)

    def _readers(self, value: Object) -> frozenset[PodKey]:
        concerns = self._kinds.stored[value.kind].concerns
        if concerns is None:
            return frozenset()
        return frozenset(key for key, pod in self._pods.items() if concerns(value, pod))

    def _entry(self, value: Object) -> _Stored:
        readers = self._readers(value)
        data = _encode(plain(value)) if readers else b""
        if len(data) > MAX_OBJECT_BYTES:
            raise InputError(f"{title(value)}: it has {len(data)} bytes, and {MAX_OBJECT_BYTES} is the most: split it")
        return _Stored(value, data, readers)
