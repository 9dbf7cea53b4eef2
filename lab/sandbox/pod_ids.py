"""Choose the ids of the users of a lab's pods: a range that nobody else uses, mapped into the pods' user namespace.

Pure. The pods of a lab are in a user namespace below that of the supervisor, in which the ids 0…65534 stand for others
outside: a container's root is neither the machine's root nor the user that started the lab.
Sources: user_namespaces(7); which ids distributions leave unused: systemd, docs/UIDS-GIDS.md.
"""

COUNT = 65_535
"""How many ids a pod has: 0…65534, so that any uid of a manifest up to nobody's exists."""

_UNUSED = range(0x70000000, 0x7FFE0000)
_SPACING = 1 << 16


def first_id(uid_map: str, number: int) -> int:
    """Return the id, in the user namespace whose map is `uid_map`, that is a pod's 0; COUNT of them follow it.

    If all ids exist, as outside of containers, it is that of a range which no distribution assigns, chosen by the lab's
    `number`. In a namespace of few ids, such as that of an ordinary user's lab, the pods get all but its 0.
    `uid_map` is the text of /proc/self/uid_map (or gid_map).
    """
    if exists(uid_map, _UNUSED[-1]):
        return _UNUSED[number * _SPACING % len(_UNUSED)]
    return 1


def exists(id_map: str, number: int) -> bool:
    """Return whether the id `number` is in a map (the text of /proc/self/uid_map or gid_map)."""
    lines = ([int(word) for word in line.split()] for line in id_map.splitlines())
    return any(first <= number < first + count for first, _, count in lines)
