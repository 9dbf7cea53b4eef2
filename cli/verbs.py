"""All verbs of the command line, in the order of its help."""

from sidelab.cli.commands import (
    bench_commands,
    completion,
    demo_command,
    doctor_command,
    lab_commands,
    manifest_commands,
    object_commands,
    pod_commands,
    results_commands,
    rules_commands,
    up_command,
)

VERBS = (
    *demo_command.VERBS,
    *doctor_command.VERBS,
    *up_command.VERBS,
    *lab_commands.VERBS,
    *pod_commands.VERBS,
    *manifest_commands.VERBS,
    *object_commands.VERBS,
    *rules_commands.VERBS,
    *bench_commands.VERBS,
    *results_commands.VERBS,
    *completion.VERBS,
)
