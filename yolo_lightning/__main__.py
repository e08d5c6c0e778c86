"""``python -m yolo_lightning`` is ``yolo-lightning``."""

import sys

from yolo_lightning.cli import main

if __name__ == "__main__":
    sys.exit(main())
