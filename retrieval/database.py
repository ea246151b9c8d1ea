"""The one place that imports sqlite-utils: without pandas, which it would load wherever it is installed.

Ray brings pandas; loading it costs 0.3 s and 60 MB, and it is not used here.
"""

import sys

_absent = "pandas" not in sys.modules
if _absent:
    sys.modules["pandas"] = None  # type: ignore[assignment]  # importing it now fails as if it were missing
try:
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations
finally:
    if _absent:
        del sys.modules["pandas"]

__all__ = ["Database", "Migrations"]
