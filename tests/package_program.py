"""Runs in the unpacked package with nothing else to import from but the standard library and Microsoft's worker.

Indexes and loads the app through the worker, then imports everything that the app's sources import anywhere, uses
what is loaded by name or from data files, and prints as JSON what was indexed and where modules came from.
"""

import ast
import asyncio
import json
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def imported_anywhere(sources: list[Path]) -> set[str]:
    """Modules that the sources import, in whatever function."""
    names: set[str] = set()
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module or "")
    return names


def main(app: Path) -> dict[str, Any]:
    from tests.worker_program import bindings, index

    indexed = bindings(asyncio.run(index(str(app))))
    sources = [app / "function_app.py", *sorted((app / "connector").rglob("*.py"))]
    modules = sorted(imported_anywhere(sources) - {"__future__"})
    for name in modules:
        import_module(name)

    from babel.dates import format_skeleton
    from phonenumbers import PhoneNumberType, number_type, parse

    from connector import clock, languages, web
    from connector.adapters.cerner.clean import clean

    read = (app / "connector" / "adapters" / "cerner" / "parse.py").read_text("utf-8")
    kinds = sorted(set(re.findall(r'clean\(\s*"(\w+)"', read)))
    return {
        "bindings": indexed,
        "modules": len(modules),
        "outside": sorted(name for name, module in sys.modules.items() if not _own(module, app)),
        "kinds": [clean(kind, {"resourceType": kind, "id": "1"}, {"id": str}, _REQUIRED.get(kind))[0].id
                  for kind in kinds],
        "dates": [
            format_skeleton("MMMEd", clock.now(), locale=languages.locale_of(tag, "Europe/London"))
            for tag in languages.OFFERED["patient"]
        ],
        "mobile": number_type(parse("+447911123456")) == PhoneNumberType.MOBILE,
        "page": web.page("home.html").status_code,
    }


def _own(module: Any, app: Path) -> bool:
    """Of the package, the standard library, the worker, or this program."""
    file = Path(getattr(module, "__file__", None) or app)
    inside = file.is_relative_to(app) or file.is_relative_to(sys.base_prefix)
    return inside or not {"worker", "tests"}.isdisjoint(file.parts)


_REQUIRED = {
    "Appointment": {"status": "booked", "participant": [{"status": "accepted"}]},
    "Encounter": {"status": "planned", "class": {"code": "VR"}},
}

if __name__ == "__main__":
    root, package, worker = (Path(argument) for argument in sys.argv[1:])
    sys.path[:0] = [str(package), str(package / ".python_packages" / "lib" / "site-packages"), str(worker)]
    sys.path.append(str(root))  # for tests.worker_program; the app imports nothing of it
    sys.stdout.write(json.dumps(main(package)))
