"""Build the sdist and the wheel into dist/ and check them as far as possible without publishing: make package."""

import email
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

from packaging.requirements import Requirement

import xh2cm

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
tools = Path(sys.executable).parent

shutil.rmtree(DIST, ignore_errors=True)
subprocess.run([tools / "uv", "build", "--quiet", "--out-dir", DIST, ROOT], check=True)  # the wheel from the sdist

version = xh2cm.__version__
sdist, wheel = DIST / f"xh2cm-{version}.tar.gz", DIST / f"xh2cm-{version}-py3-none-any.whl"
built = {path.name for path in DIST.iterdir()} - {".gitignore"}
assert built == {sdist.name, wheel.name}, f"dist/ holds {sorted(built)}"

listing = ["git", "ls-files", "xh2cm"]
tracked = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
package = set(tracked.stdout.split())
with tarfile.open(sdist) as archive:
    source = {name.partition("/")[2] for name in archive.getnames()}
with zipfile.ZipFile(wheel) as archive:
    installed = set(archive.namelist())
    about = f"xh2cm-{version}.dist-info"
    metadata = email.message_from_bytes(archive.read(f"{about}/METADATA"))
    commands = archive.read(f"{about}/entry_points.txt").decode()
assert package <= source, f"the sdist lacks {sorted(package - source)}"
assert package <= installed, f"the wheel lacks {sorted(package - installed)}"
assert {"README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "pyproject.toml"} <= source
assert f"{about}/licenses/LICENSE" in installed
assert not [name for name in installed if not name.startswith(("xh2cm/", about))], "the wheel installs more than xh2cm"

project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
required = {Requirement(text) for text in metadata.get_all("Requires-Dist")}
assert {each for each in required if each.marker is None} == set(map(Requirement, project["dependencies"]))
assert set(metadata.get_all("Provides-Extra")) == set(project["optional-dependencies"])
assert (metadata["Version"], metadata["Requires-Python"]) == (version, project["requires-python"])
assert "xh2cm = xh2cm.cli:main" in commands

subprocess.run([sys.executable, "-m", "twine", "check", "--strict", sdist, wheel], check=True)
