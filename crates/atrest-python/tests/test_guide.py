"""The code of docs/python.md and of the package's page runs as it stands."""

import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

from common import InFolder

ROOT = Path(__file__).parents[3]


class Guide(InFolder):
    def test_the_pages_code_runs(self):
        for page, least in [("docs/python.md", 5), ("crates/atrest-python/README.md", 1)]:
            blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
            self.assertGreaterEqual(len(blocks), least)
            folder = self.folder / Path(page).stem
            folder.mkdir()
            command = [sys.executable, "-W", "error", "-c", "".join(blocks)]
            ran = subprocess.run(command, cwd=folder, env=dict(os.environ), capture_output=True, text=True, timeout=120)
            self.assertEqual(ran.returncode, 0, f"{page}: {ran.stderr}")


if __name__ == "__main__":
    unittest.main()
