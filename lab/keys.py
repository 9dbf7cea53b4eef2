"""What identifies an object of a lab: its namespace and its name."""

ObjectKey = tuple[str, str]
PodKey = ObjectKey
ServiceKey = ObjectKey
