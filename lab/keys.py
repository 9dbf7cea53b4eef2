"""What identifies an object of a lab: its namespace and its name, and its kind before them where kinds are mixed."""

ObjectKey = tuple[str, str]
PodKey = ObjectKey
ServiceKey = ObjectKey
ObjectIdentity = tuple[str, str, str]
