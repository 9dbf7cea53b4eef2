"""The verdict as JUnit XML: one test case per row, so that every CI system can show it.

JUnit has no official schema; this keeps to what Ant's and Jenkins' readers have in common: `testsuites`, `testsuite`
with its counts, `properties`, `testcase` with `failure` or `skipped`. Inconclusive rows are skipped: neither red nor
green. Each doubt is a skipped test case of its own.
"""

import re
from xml.etree import ElementTree as ET

from sidelab.bench.judge.gate.gate import GateResult, GateRow
from sidelab.bench.judge.summary import microseconds
from sidelab.bench.judge.verdict import GateOutcome

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot represent (section 2.2, production Char)."""


def render(result: GateResult) -> str:
    """Write one suite with a case per row and doubt."""
    counts = {
        "tests": str(len(result.rows) + len(result.doubts)),
        "failures": str(len(result.of(GateOutcome.REGRESSION))),
        "errors": "0",
        "skipped": str(len(result.of(GateOutcome.INCONCLUSIVE)) + len(result.doubts)),
        "time": "0",
    }
    top = ET.Element("testsuites", {"name": "sidelab gate", **counts})
    suite = ET.SubElement(top, "testsuite", {"name": _text(f"sidelab gate {result.run}"), **counts})
    properties = ET.SubElement(suite, "properties")
    said = {"run": result.run, "standard": result.standard, "verdict": result.verdict, "sentence": result.sentence}
    for name, value in (*said.items(), *(("caveat", str(each)) for each in result.caveats)):
        ET.SubElement(properties, "property", {"name": name, "value": _text(value)})
    for row in result.rows:
        _case(suite, row)
    for doubt in result.doubts:
        case = ET.SubElement(suite, "testcase", {"classname": "sidelab.run", "name": _text(doubt.what), "time": "0"})
        ET.SubElement(case, "skipped", {"message": _text(doubt.cure)})
    ET.indent(top)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(top, encoding="unicode") + "\n"


def _case(suite: ET.Element, row: GateRow) -> None:
    name = _text(f"{row.connection} {row.phase} against {row.against}")
    case = ET.SubElement(suite, "testcase", {"classname": f"sidelab.{row.arm}", "name": name, "time": "0"})
    message = _text(f"{row.interval}, {row.limit}; {microseconds(row.smallest_visible_us)} µs more would have shown")
    if row.verdict is GateOutcome.REGRESSION:
        ET.SubElement(case, "failure", {"message": message, "type": "regression"}).text = message
    elif row.verdict is GateOutcome.INCONCLUSIVE:
        ET.SubElement(case, "skipped", {"message": f"inconclusive: {message}"})
    else:
        ET.SubElement(case, "system-out").text = message


def _text(value: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", value)
