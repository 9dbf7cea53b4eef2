"""Manifests for tests of injection, written as a user would, and the results of injecting them."""

from textwrap import dedent

from sidelab.lab.manifest import Container, Deployment, Manifest, Pod, decode
from sidelab.sidecar.inject import inject

PLAIN = "{name: nginx, image: nginx, ports: [{containerPort: 80}]}"


def manifest(text: str) -> Manifest:
    """Return the manifest in this YAML."""
    return decode([("test.yaml", dedent(text))])


def pod(annotations: str = "", *containers: str, spec: str = "", labels: str = "") -> Pod:
    """Return a pod named web that asks for a sidecar; everything is given in YAML's flow style."""
    (found,) = manifest(
        f"""
        apiVersion: v1
        kind: Pod
        metadata:
          name: web
          labels: {{sidecar.istio.io/inject: "true", {labels}}}
          annotations: {{{annotations}}}
        spec: {{containers: [{", ".join(containers or (PLAIN,))}], {spec}}}
        """
    ).pods
    return found


def injected(annotations: str = "", *containers: str, spec: str = "", labels: str = "") -> Pod:
    """Return `pod` of the same arguments with its sidecar."""
    (found,) = inject(Manifest(pods=(pod(annotations, *containers, spec=spec, labels=labels),))).pods
    return found


def deployment(annotations: str = "") -> Deployment:
    """Return a Deployment named shop whose template asks for a sidecar."""
    (found,) = manifest(
        f"""
        apiVersion: apps/v1
        kind: Deployment
        metadata: {{name: shop, namespace: market, annotations: {{{annotations}}}}}
        spec:
          replicas: 2
          selector: {{matchLabels: {{tier: web}}}}
          template:
            metadata: {{labels: {{tier: web, sidecar.istio.io/inject: "true"}}}}
            spec: {{containers: [{PLAIN}]}}
        """
    ).deployments
    return found


def variables(container: Container) -> dict[str, str]:
    """Return a container's variables that have a value."""
    return {each.name: each.value for each in container.env if each.value_from is None}


def proxy(of: Pod) -> Container:
    """Return a pod's istio-proxy."""
    return of.container("istio-proxy")


def options(of: Pod) -> dict[str, str]:
    """Return istio-init's arguments, by flag."""
    words = of.container("istio-init").args[1:]
    return dict(zip(words[::2], words[1::2], strict=True))
