"""Print the lowest version that pyproject.toml allows of each dependency, and pytest's, as requirements for pip."""

import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
testing = [name for name in project["optional-dependencies"]["test"] if name.startswith("pytest")]
for requirement in [*project["dependencies"], *testing]:
    print(requirement.replace(">=", "==") + ".*")
