"""Attack saved fits and compiled code with random damage, and count what held.

    python benchmarks/attacks.py fits --draw 5000
    python benchmarks/attacks.py code --draw 200

``fits``: a file of a saved fit is changed at random and the list of checksums written anew, as a forger would; loading
must be refused with a FitError, or give a whole fit, within ten seconds. ``code``: compiled code is cut or a bit of it
flipped; it must be compiled again, and give the right number.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

PATIENCE = 10.0
"""Seconds that reading a file may take."""


def spoilt(content: bytes, dice: random.Random) -> bytes:
    """Change some bytes."""
    data = bytearray(content)
    for _ in range(dice.choice((1, 1, 1, 2, 8))):
        at = dice.randrange(len(data) + 1)
        how = dice.choice(("flip", "flip", "set", "cut", "insert", "repeat", "number"))
        if how == "cut":
            del data[at : at + dice.choice((1, 4, 64, len(data)))]
        elif how == "insert":
            data[at:at] = dice.randbytes(dice.choice((1, 8, 256)))
        elif how == "repeat":
            data[at:at] = data[at : at + 64]
        elif how == "number":
            data[at : at + 8] = dice.choice((0, 1, 2**31, 2**63, 2**64 - 1)).to_bytes(8, "little")
        elif at < len(data):
            data[at] = (
                data[at] ^ (1 << dice.randrange(8)) if how == "flip" else dice.choice((0, 0x22, 0x30, 0x7D, 0xFF))
            )
    return bytes(data)


def value(dice: random.Random) -> object:
    """Make up a value of JSON."""
    return dice.choice(
        [
            None,
            True,
            0,
            -1,
            2**31,
            10**30,
            1e308,
            float("nan"),
            "",
            "x" * 99,
            "\x1b[2J",
            [],
            [[]],
            {},
            {"a": 1},
            [1, "a"],
        ]
    )


def forged(about: object, dice: random.Random) -> object:
    """Change one value in a description."""
    if isinstance(about, dict) and about and dice.random() < 0.9:
        key = dice.choice([*about])
        changed = dict(about)
        changed[key] = forged(about[key], dice)
        return changed
    if isinstance(about, list) and about and dice.random() < 0.8:
        at = dice.randrange(len(about))
        return [*about[:at], forged(about[at], dice), *about[at + 1 :]]
    return value(dice)


def attack_fits(connection: Connection, folder: Path) -> None:
    """Answer how each attack ended, by its number."""
    import xh2cm
    from xh2cm.io.checksums import SUMS, seal

    names = sorted(path.name for path in (folder / "fit").iterdir() if path.name != SUMS)
    while True:
        number = connection.recv()
        dice = random.Random(number)  # noqa: S311
        place = folder / f"attacked-{os.getpid()}"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder / "fit", place)
        file = place / dice.choice(names)
        if file.suffix == ".json" and dice.random() < 0.7:
            file.write_text(json.dumps(forged(json.loads(file.read_text()), dice)))
        else:
            file.write_bytes(spoilt(file.read_bytes(), dice))
        (place / SUMS).unlink()
        seal(place)
        try:
            fit = xh2cm.load_fit(place)
            repr(fit), fit._repr_html_(), fit.fingerprint
            connection.send("whole")
        except xh2cm.FitError:
            connection.send("refused")
        except BaseException as error:
            connection.send(f"{type(error).__name__} in {file.name}")


def attack_code(connection: Connection, folder: Path) -> None:
    """Answer how each attack ended, by its number."""
    from xh2cm.loop import cache

    os.environ["XH2CM_CACHE"] = str(folder / "cache")
    cache.FLAGS = ("-O0", "-shared", "-fPIC")
    source = 'extern "C" int answer() { return 42; }'
    cache.library(source)
    while True:
        dice = random.Random(connection.recv())  # noqa: S311
        (path,) = cache.folder().iterdir()
        right = path.read_bytes()
        fresh = path.with_name("fresh")
        fresh.write_bytes(right[: dice.randrange(len(right))] if dice.random() < 0.3 else spoilt(right, dice))
        fresh.chmod(0o600)
        fresh.replace(path)
        cache.library.cache_clear()
        whole = cache.library(source).answer() == 42 and path.read_bytes() == right
        connection.send("compiled again" if whole else "wrong")


def prepared(folder: Path) -> None:
    """Save a small fit."""
    import xh2cm

    ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 60), month=slice(0, 2))
    pins = {"q10": 1.5}
    fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=4, pin=pins, loop="plain", progress=False)
    fit.save(folder / "fit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["fits", "code"])
    parser.add_argument("--draw", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    ended: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if given.what == "fits":
            prepared(folder)
        here, process = None, None
        for number in range(given.seed * 10**6, given.seed * 10**6 + given.draw):
            if process is None:
                here, there = multiprocessing.get_context("spawn").Pipe()
                target = attack_fits if given.what == "fits" else attack_code
                process = multiprocessing.get_context("spawn").Process(target=target, args=(there, folder), daemon=True)
                process.start()
                there.close()
                waits = 10 * PATIENCE  # it imports first
            here.send(number)
            try:
                how = here.recv() if here.poll(waits) else "hung"
            except EOFError:
                how = "crashed"
            waits = PATIENCE
            ended[how] += 1
            if how in ("hung", "crashed"):
                process.kill()
                process.join()
                process = None
            if how not in ("refused", "whole", "compiled again"):
                print(f"{number}: {how}", file=sys.stderr)
        if process is not None:
            process.kill()
            process.join()
    print(", ".join(f"{count} {how}" for how, count in ended.most_common()))
    print(f"at most {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
