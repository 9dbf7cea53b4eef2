"""The table of what a manifest's fields mean here: every field is honoured, inert here, or rejected.

A field that a type of the model declares, and that has no row here, is honoured. A row says otherwise, with its
reason: `Inert` fields are accepted, kept and listed as a caveat; `Rejected` ones stop the manifest, with the cure,
because the pod would otherwise behave differently from the same pod on a cluster without anybody noticing. What is in
neither is unknown. Field names are those of the Kubernetes API (reference documentation v1.33, core/v1).
"""

from collections.abc import Mapping
from typing import Any

import msgspec


class Inert(msgspec.Struct, frozen=True):
    """Accepted without effect, for `reason`; a value in `harmless` means what happens here anyway: no caveat."""

    reason: str
    harmless: tuple[Any, ...] = ()


class Rejected(msgspec.Struct, frozen=True):
    """Refused, for `reason`, with the `cure`; a value in `harmless` says what happens here anyway, and is accepted."""

    reason: str
    cure: str
    harmless: tuple[Any, ...] = (False, [], 0)


Rows = Mapping[str, Inert | Rejected]

_ONE_NODE = Inert("a lab has one node, and nothing is scheduled")
_NO_IMAGES = Inert("no image is pulled: its name selects the program")
_SERVER_SIDE = Inert("it is written by a cluster's API server")
_NO_LIMITS = Inert("nothing is limited or reserved yet")
_NO_SECURITY_MODULES = Inert("security modules, filters and user namespaces are the lab's own for all pods")
_NO_TERMINAL = Inert("containers have no terminal and no input: use `sidelab exec`")
_HOST_FILES = Inert("the files are the host's, read-only, and keep their owners")

_NO_VOLUMES = Rejected("volumes are not made here", "remove it; /tmp and /run are each pod's own, empty and writable")
_OWN_NAMESPACES = Rejected("a pod of a lab never shares the host's namespaces", "remove it")
_PLAIN_VALUES = Rejected("ConfigMaps, Secrets and resources are not read here", "write the `value`", ())
_NOT_YET = Rejected("it is not carried out yet", "remove it")

OBJECT: Rows = {"status": _SERVER_SIDE}

METADATA: Rows = {
    **dict.fromkeys(
        (
            *("creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers", "generation"),
            *("managedFields", "ownerReferences", "resourceVersion", "selfLink", "uid"),
        ),
        _SERVER_SIDE,
    ),
    "generateName": Rejected("no API server makes up a name here", "give the object a `name`", ("",)),
}

NAMESPACE: Rows = {**OBJECT, "spec": Inert("a namespace is only a name here")}

POD: Rows = OBJECT

POD_SPEC: Rows = {
    **dict.fromkeys(
        (
            *("affinity", "nodeName", "nodeSelector", "preemptionPolicy", "priority", "priorityClassName"),
            *("runtimeClassName", "schedulerName", "tolerations", "topologySpreadConstraints"),
        ),
        _ONE_NODE,
    ),
    **dict.fromkeys(("overhead", "resources"), _NO_LIMITS),
    **dict.fromkeys(("hostIPC", "hostNetwork", "hostPID"), _OWN_NAMESPACES),
    "activeDeadlineSeconds": Rejected("pods are not stopped by age here", "remove it; `sidelab down` ends the lab"),
    "automountServiceAccountToken": Inert("there is no API server, so there are no tokens", (False,)),
    "enableServiceLinks": Inert("no variables are set for Services", (False,)),
    "ephemeralContainers": Rejected("they are added to running pods only", "remove it, and use `sidelab exec`"),
    "hostUsers": _NO_SECURITY_MODULES,
    "hostnameOverride": Rejected("it is not carried out", "use `hostname`"),
    "imagePullSecrets": _NO_IMAGES,
    "os": Inert("pods run on this machine's Linux", ({"name": "linux"},)),
    "readinessGates": Rejected("nothing sets pod conditions here, so it would never be ready", "remove it"),
    "resourceClaims": Rejected("devices are not allocated here", "remove it"),
    "schedulingGates": Rejected("nothing removes the gates here", "remove it"),
    "serviceAccount": Inert("it is the old name of `serviceAccountName`, which counts"),
    "setHostnameAsFQDN": Rejected("the host name is the short one", "remove it"),
    "volumes": _NO_VOLUMES,
}

_SECURITY: Rows = {
    **dict.fromkeys(
        ("appArmorProfile", "seLinuxOptions", "seccompProfile", "windowsOptions"),
        _NO_SECURITY_MODULES,
    ),
}

POD_SECURITY_CONTEXT: Rows = {
    **_SECURITY,
    **dict.fromkeys(("fsGroup", "fsGroupChangePolicy"), _HOST_FILES),
    **dict.fromkeys(
        ("supplementalGroups", "supplementalGroupsPolicy"), Inert("a process has no supplementary groups here")
    ),
    "seLinuxChangePolicy": _NO_SECURITY_MODULES,
    "sysctls": Rejected("it would change the pod's network unseen", "remove it"),
}

SECURITY_CONTEXT: Rows = {
    **_SECURITY,
    "allowPrivilegeEscalation": Inert("no container may gain privileges here (no_new_privs)", (False,)),
    "privileged": Rejected("no container gets all privileges here", "name what it needs in `capabilities.add`"),
    "procMount": _NO_SECURITY_MODULES,
    "readOnlyRootFilesystem": Inert("every container's root is read-only here", (True,)),
}

CONTAINER: Rows = {
    **dict.fromkeys(("resizePolicy", "resources"), _NO_LIMITS),
    **dict.fromkeys(("stdin", "stdinOnce", "tty"), msgspec.structs.replace(_NO_TERMINAL, harmless=(False,))),
    **dict.fromkeys(
        ("terminationMessagePath", "terminationMessagePolicy"), Inert("why a container ended is in its log and status")
    ),
    **dict.fromkeys(("volumeDevices", "volumeMounts"), _NO_VOLUMES),
    "envFrom": Rejected("ConfigMaps and Secrets are not read here", "write the variables in `env`"),
    "imagePullPolicy": _NO_IMAGES,
    "restartPolicyRules": Rejected("containers follow the pod's own policy", "remove it"),
}

CONTAINER_PORT: Rows = {
    "hostIP": Rejected("a lab never touches the host's own network", "use the pod's address", ("",)),
    "hostPort": Rejected("a lab never touches the host's own network", "use the pod's address"),
}

ENV_SOURCE: Rows = dict.fromkeys(("configMapKeyRef", "fileKeyRef", "resourceFieldRef", "secretKeyRef"), _PLAIN_VALUES)

PROBE: Rows = {}

LIFECYCLE: Rows = {"stopSignal": Rejected("SIGTERM is what asks a container to end", "remove it", ("SIGTERM",))}

TEMPLATE_METADATA: Rows = {
    **METADATA,
    **dict.fromkeys(("name", "namespace"), Inert("pods are named after their Deployment, and are where it is")),
}

LABEL_SELECTOR: Rows = {"matchExpressions": Rejected("only `matchLabels` are matched here", "write those instead")}

DEPLOYMENT: Rows = OBJECT

DEPLOYMENT_SPEC: Rows = {
    **dict.fromkeys(
        ("minReadySeconds", "progressDeadlineSeconds", "revisionHistoryLimit", "strategy"),
        Inert("nothing is rolled out: all pods start with the lab"),
    ),
    "paused": Rejected("nothing is rolled out, and so nothing can wait", "remove it, or write `replicas: 0`"),
}

SERVICE_ACCOUNT: Rows = {
    **OBJECT,
    "automountServiceAccountToken": Inert("there is no API server, so there are no tokens", (False,)),
    "imagePullSecrets": _NO_IMAGES,
    "secrets": Inert("there is no API server, so there are no tokens"),
}

SERVICE: Rows = OBJECT

SERVICE_SPEC: Rows = {
    **dict.fromkeys(
        (
            *("allocateLoadBalancerNodePorts", "externalTrafficPolicy", "healthCheckNodePort"),
            *("internalTrafficPolicy", "loadBalancerClass", "loadBalancerIP", "loadBalancerSourceRanges"),
            *("sessionAffinityConfig", "trafficDistribution"),
        ),
        Inert("there is one node and no load balancer"),
    ),
    "clusterIPs": Inert("the lab chooses addresses of its own"),
    "externalIPs": Rejected("a lab is reached from inside only", "remove it"),
    "externalName": Rejected("names outside the lab are not resolved", "use addresses", ("",)),
    "sessionAffinity": msgspec.structs.replace(_NOT_YET, harmless=("None", "")),
}

SERVICE_PORT: Rows = {
    "nodePort": Rejected("a lab never touches the host's own network", "use `port`"),
}
