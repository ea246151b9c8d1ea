"""What the commands of one run share."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrieval.workspace import Workspace


@dataclass(slots=True)
class Session:
    """The workspace that a command works on, and what to say when it is interrupted."""

    root: Path = Path("workspace")
    on_interrupt: str = ""
    _workspace: "Workspace | None" = field(default=None, repr=False)

    def workspace(self, *, create: bool = False) -> "Workspace":
        """Open the workspace, once.

        Raises:
            UnusableWorkspace: if there is none (and `create` is false), or it is damaged.
        """
        if self._workspace is None:
            from retrieval.workspace import Workspace

            self._workspace = Workspace(self.root, create=create)
        return self._workspace

    @property
    def exists(self) -> bool:
        """Whether there is a workspace to open."""
        return (self.root / "twinspire.db").exists()

    def close(self) -> None:
        """Close the workspace if it was opened."""
        if self._workspace is not None:
            self._workspace.close()
            self._workspace = None
