"""``python -m xh2cm``."""

from __future__ import annotations

from xh2cm.cli import main

if __name__ == "__main__":
    main()
